"""``qubes.VMShell``, ``qubes.VMRootShell``, ``qubes.VMExec``, ``qubes.VMExecGUI``, ``qubes.VMRootExec``: run a command.

Source: Qubes core-agent-linux (handlers) and ``qubesadmin.vm`` (how a shell gets its command: the text, ``; exit``
and a line's end, then the command's own input).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vminterface.channel.qrexec import STDOUT_LIMIT, TIMEOUT, Input, Qrexec
from vminterface.dom0.services.answer import Kept
from vminterface.errors import CallRefused, InvalidValue, ServiceFailed, ServiceNotFound, printable
from vminterface.wire import vmexec

SHELL, ROOT_SHELL = "qubes.VMShell", "qubes.VMRootShell"
EXEC, EXEC_GUI, ROOT_EXEC = "qubes.VMExec", "qubes.VMExecGUI", "qubes.VMRootExec"
_WAIT = "WaitForSession"
#: qrexec's own statuses: it failed, it refused, it found no service. A command may end with the last two as well.
_BROKEN, _REFUSED, _NOT_FOUND = 125, 126, 127
_REFUSAL = "Request refused"


@dataclass(frozen=True, slots=True)
class Output:
    """How a command in a VM ended. *stderr* is printable ASCII, its first 4096 bytes."""

    what: str
    status: int
    untrusted_stdout: bytes
    stderr: str

    def checked(self) -> Output:
        """Return this if the status is 0. Raises ServiceFailed."""
        if self.status:
            said = printable(" / ".join(line for line in self.stderr.splitlines() if line.strip()))
            raise ServiceFailed(
                f"{self.what}: exit status {self.status}{said and ': '}{said}", self.status, self.stderr
            )
        return self


def shell(
    qrexec: Qrexec,
    vm: str,
    script: str,
    *,
    root: bool = False,
    wait_for_session: bool = False,
    stdin: bytes = b"",
    stdout_limit: int = STDOUT_LIMIT,
    timeout: float = TIMEOUT,
) -> Output:
    """Run *script* in the shell of *vm*, as its user or as *root*; *stdin* is for the script's commands.

    Raises InvalidValue, OutputTooLarge, else as :meth:`Qrexec.call`; the script's exit status is in the result.
    """
    script = checked_script(script)
    if root and wait_for_session:
        raise InvalidValue("a shell of root waits for no user's session")
    service, argument = (ROOT_SHELL if root else SHELL), (_WAIT if wait_for_session else "")
    prefix = f"{script}; exit\n".encode("utf-8", "surrogateescape")
    return _run(qrexec, vm, service, argument, prefix + stdin, stdout_limit, timeout, f"{service} in {vm}")


def checked_script(script: str) -> str:
    """Return *script* without empty lines at its end if a shell can be given it. Raises InvalidValue."""
    script = script.rstrip("\n")
    if not script.strip() or "\0" in script:
        raise InvalidValue(f"'{printable(script, 60)}' is no command (expected some text without NUL bytes)")
    return script


def execute(
    qrexec: Qrexec,
    vm: str,
    argv: Sequence[str | bytes],
    *,
    gui: bool = False,
    root: bool = False,
    stdin: Input = b"",
    stdout_limit: int = STDOUT_LIMIT,
    timeout: float = TIMEOUT,
    name: str | None = None,
) -> Output:
    """Run *argv* in *vm* without a shell; with *gui* as soon as the user's session is up, with *root* as root.

    *name* is what errors call it, None: the program. Raises as :func:`shell`.
    """
    if gui and root:
        raise InvalidValue("a command of root waits for no user's session")
    service = EXEC_GUI if gui else ROOT_EXEC if root else EXEC
    argument = vmexec.encode(argv)
    what = f"{printable(argv[0], 60) if name is None else name} in {vm}"
    return _run(qrexec, vm, service, argument, stdin, stdout_limit, timeout, what)


def _run(
    qrexec: Qrexec, vm: str, service: str, argument: str, stdin: Input, stdout_limit: int, timeout: float, what: str
) -> Output:
    kept = Kept()
    try:
        answer = qrexec.call(
            vm, service, argument, stdin=stdin, stdout_limit=stdout_limit, stdout_to=kept, timeout=timeout,
            accept=(0, _REFUSED, _NOT_FOUND),
        )  # fmt: skip
    except ServiceFailed as error:
        if error.status == _BROKEN:
            raise
        return Output(what, error.status, kept.untrusted_data, error.stderr)
    # qrexec says nothing where there is no service, a shell or command always names what it has not found.
    silent = not kept.untrusted_data and not answer.stderr.strip()
    if answer.status == _NOT_FOUND and silent:
        raise ServiceNotFound(f"{service} in {vm}: there is no such service")
    if answer.status == _REFUSED and (silent or answer.stderr.startswith(_REFUSAL)):
        raise CallRefused(f"{service} in {vm}: the call was refused")
    return Output(what, answer.status, kept.untrusted_data, answer.stderr)
