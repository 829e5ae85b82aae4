"""Steps that are all tried, even if others fail, within one deadline; their errors are reported at the end."""

from __future__ import annotations

import time

from vminterface.deadline import Deadline
from vminterface.errors import DeadlineExceeded, VMInterfaceError
from vminterface.vm.handlers.runtime.programs import Program
from vminterface.vm.machine.machine import Machine

TYPE_CHECKING = False  # as the type checker takes it; importing typing would cost each call time
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: Seconds that one step has.
STEP = 10.0
_PAUSE = 0.1


class Steps:
    """Steps on *machine* that have *seconds* together."""

    def __init__(self, machine: Machine, seconds: float) -> None:
        self.machine = machine
        #: Whether the last program was given up: what it asked of the kernel may yet be done.
        self.given_up = False
        self._deadline = Deadline.after(seconds)
        self._errors: list[str] = []

    def run(self, argv: Sequence[str], *, input: bytes = b"", seconds: float = STEP) -> bool:
        """Run a program; whether it ended with status 0 in time. If not, that is a fault."""
        error = self.attempt(argv, input=input, seconds=seconds)
        if error:
            self.error(error)
        return not error

    def attempt(self, argv: Sequence[str], *, input: bytes = b"", seconds: float = STEP) -> str:
        """Run a program and return why it failed, empty if it has not."""
        self.given_up = False
        try:
            left = self._deadline.check("the steps")
            self.machine.run(argv, input=input, timeout=min(seconds, left))
        except VMInterfaceError as error:
            self.given_up = isinstance(error, DeadlineExceeded)
            return str(error)
        return ""

    def wait(self, is_so: Callable[[], bool], seconds: float) -> bool:
        """Wait until it *is_so*, *seconds* at most and half the time that all steps have left; return whether it is.

        It is not an error if it does not.
        """
        deadline = Deadline.after(min(seconds, self._deadline.remaining / 2))
        while not is_so():
            if deadline.remaining < _PAUSE:
                return False
            time.sleep(_PAUSE)
        return True

    def write(self, path: str, text: str) -> bool:
        """Write to a file of the kernel's; whether it took that. If not, that is a fault.

        A program does it: drivers may take any time over such a write, and hold whoever writes.
        """
        return self.run(["tee", "--", self.machine.path(path)], input=text.encode("ascii"))

    def hook(self, path: str) -> None:
        """Run an admin's program, and leave alone what it starts in the background."""
        try:
            left = self._deadline.check("the programs before it")
            with Program([self.machine.path(path)]) as program:
                status = program.wait(timeout=left)
        except VMInterfaceError as error:
            self.error(f"{path}: {error}")
            return
        if status:
            self.error(f"{path} ended with status {status}")

    def error(self, text: str) -> None:
        """Remember a fault."""
        self._errors.append(text)

    def finish(self) -> None:
        """Raise VMInterfaceError with all the faults, if there is one."""
        if self._errors:
            raise VMInterfaceError("; ".join(self._errors))
