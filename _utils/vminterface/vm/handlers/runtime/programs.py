"""Programs that a handler hands over to, or that a user works with for as long as it pleases.

For programs that only give an answer there is ``Machine.run``.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal

from vminterface.deadline import Deadline
from vminterface.errors import OutputTooLarge, ProgramFailed, ProgramMissing, ServiceFailed, ServiceNotFound, printable

TYPE_CHECKING = False  # as the type checker takes it; importing typing would cost each call time
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Mapping, Sequence
    from typing import NoReturn

    from vminterface.vm.handlers.runtime.caller import Caller

#: POSIX shells' status for a program that is there and cannot be started.
NOT_EXECUTABLE = 126
#: Seconds between asking a program to end and killing it.
GRACE = 2.0
#: The descriptor of this program's own messages.
STDERR = 2
_CHUNK = 65536
_LC_CTYPE = "LC_CTYPE"


def become(argv: list[bytes]) -> NoReturn:
    """Replace this program by *argv*, searched in PATH: it gets the call's streams and environment.

    Raises ServiceNotFound if the program does not exist, ServiceFailed if it cannot be started.
    """
    # Python ignores these, and a program would inherit that: a writer to a caller that is gone would never end.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    name = printable(argv[0], 120)
    try:
        os.execvpe(argv[0], argv, environment())
    except (FileNotFoundError, NotADirectoryError):
        raise ServiceNotFound(f"the program '{name}' does not exist") from None
    except OSError as error:
        raise ServiceFailed(f"'{name}' cannot be started: {error.strerror}", NOT_EXECUTABLE) from None


def environment() -> dict[str, str]:
    """Return the environment without what Python itself has put there: ``LC_CTYPE``, for want of a locale (PEP 538)."""
    environment = dict(os.environ)
    with contextlib.suppress(OSError):
        # The kernel shows what the process was started with.
        with open("/proc/self/environ", "rb") as file:
            started = file.read().split(b"\0")
        environment.pop(_LC_CTYPE, None)
        for entry in started:
            name, equals, value = os.fsdecode(entry).partition("=")
            if name == _LC_CTYPE and equals:
                environment[name] = value
                break
    return environment


class Program:
    """A program in a session of its own. Leaving the ``with`` block before its end ends it and all that it started.

    With *leave* the end of the block ends nothing. Enter it at once: until then, signals that would end this program
    wait.

    *stdin*, *stdout* and *stderr* are descriptors, None: nothing to read, nowhere to write. That its messages go where
    this program's go is to be asked for: a child left behind that holds them would keep the call from its end. *env*
    is added to this program's environment, or *environment* is in place of it. *folder* is where it starts.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        env: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        folder: str | None = None,
        leave: bool = False,
    ) -> None:
        import subprocess

        from vminterface.channel.interruptions import start

        self.name = printable(argv[0], 120)
        nothing = subprocess.DEVNULL
        self._leave = leave
        self._process: subprocess.Popen[bytes]
        try:
            self._process, self._held = start(
                argv,
                stdin=nothing if stdin is None else stdin,
                stdout=nothing if stdout is None else stdout,
                stderr=nothing if stderr is None else stderr,
                env={**(os.environ if environment is None else environment), **(env or {})},
                cwd=folder,
                start_new_session=True,
            )
        except OSError as error:
            raise ProgramMissing(f"{self.name} cannot be started: {error.strerror}") from None
        try:
            self._ended = os.pidfd_open(self._process.pid)
        except OSError as error:
            # As where this program may open nothing more.
            self._signal(signal.SIGKILL)
            self._process.wait()
            self._held.release()
            raise ProgramFailed(f"{self.name} cannot be waited for: {error.strerror}") from None

    def __enter__(self) -> Program:
        try:
            self._held.release()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        # The group's number is ours until the program is reaped.
        if self._process.returncode is None and not self._leave:
            self._signal(signal.SIGTERM)
            if not self._wait(Deadline.after(GRACE)):
                self._signal(signal.SIGKILL)
                self._wait(Deadline.after(GRACE))
            self._signal(signal.SIGKILL)
            self._process.poll()
        os.close(self._ended)

    def fileno(self) -> int:
        """Return a descriptor that can be read once the program has ended."""
        return self._ended

    def wait(self, *, timeout: float | None = None, deadline: Deadline | None = None) -> int:
        """Return the exit status, 128+n after signal n. Neither: however long it takes. Raises DeadlineExceeded."""
        deadline = deadline if timeout is None else Deadline.after(timeout)
        if not self._wait(deadline):
            assert deadline is not None
            deadline.check(self.name)
        return self._status()

    def reply(self, output: int, caller: Caller, *, limit: int, deadline: Deadline | None = None) -> tuple[int, bytes]:
        """Return the exit status and all that comes from *output*, a pipe's end, for as long as *caller* is there.

        Raises ConnectionLost when the caller closed the connection, OutputTooLarge, DeadlineExceeded.
        """
        said = b""
        while True:
            if not caller.wait(output, seconds=None if deadline is None else deadline.check(self.name)):
                continue
            piece = os.read(output, _CHUNK)
            said += piece
            if len(said) > limit:
                raise OutputTooLarge(f"{self.name}: wrote more than {limit} bytes (the limit)")
            if not piece:
                return self.wait(timeout=GRACE), said

    def _status(self) -> int:
        status = self._process.wait()
        return 128 - status if status < 0 else status

    def _wait(self, deadline: Deadline | None) -> bool:
        """Wait for the end without reaping; False if the deadline came first."""
        waiting = select.poll()
        waiting.register(self._ended, select.POLLIN)
        return bool(waiting.poll(None if deadline is None else 1000 * deadline.remaining))

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)
