"""The programs of this machine: run without a shell, fed and read within bounds, ended at a deadline."""

from __future__ import annotations

import os

from vminterface.errors import ProgramFailed, ProgramMissing, printable

TYPE_CHECKING = False  # as the type checker takes it; importing typing would cost every short-lived program time
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vminterface.deadline import Deadline

#: Bytes of a program's output that are taken at most, unless the call says otherwise.
LIMIT = 1 << 20
#: Seconds that a program has unless the call says otherwise.
TIMEOUT = 10.0


class Programs:
    """What is installed here. Programs run as they are, also where a folder stands for the machine's files."""

    #: By when all programs must have ended, whatever time each is given.
    deadline: Deadline | None = None

    def which(self, program: str) -> str | None:
        """Return the path of *program*, None if it is not installed."""
        # The module that has a function for this loads three libraries for compression: an agent would keep them.
        folders = [""] if "/" in program else filter(None, os.get_exec_path())
        paths = (os.path.join(folder, program) for folder in folders)
        return next((path for path in paths if os.path.isfile(path) and os.access(path, os.X_OK)), None)

    def run(
        self,
        argv: Sequence[str],
        *,
        input: bytes = b"",
        timeout: float = TIMEOUT,
        env: Mapping[str, str] | None = None,
        limit: int = LIMIT,
    ) -> bytes:
        """Run a program, no shell, and return its standard output; *env* is added to this one's environment.

        Raises ProgramMissing, ProgramFailed (status other than 0), OutputTooLarge (more than *limit* bytes) and
        DeadlineExceeded after *timeout* seconds or at :attr:`deadline`, when the program and all that it started
        are ended.
        """
        # Here, not above: a program that answers one call and runs no other should not pay for these.
        from vminterface.channel import process
        from vminterface.deadline import Deadline

        name = printable(argv[0])
        if self.which(argv[0]) is None:
            raise ProgramMissing(f"the program {name} is not installed")
        own = {"LC_ALL": "C", **(env or {})}
        deadline = Deadline.after(timeout)
        if self.deadline is not None and self.deadline.check(name) < timeout:
            deadline = self.deadline
        told = process.Conversation(stdin=input, stdout_limit=limit)
        ended = process.run(argv, name, deadline, told, env=own)
        if ended.status:
            said = (ended.untrusted_stderr or ended.untrusted_stdout).decode("utf-8", "replace").strip()
            shown = printable(said.replace("\n", "; "), 300)
            message = f"{name} ended with status {ended.status}{': ' if shown else ''}{shown}"
            raise ProgramFailed(message, ended.status)
        return ended.untrusted_stdout
