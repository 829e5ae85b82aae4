"""One thing that a VM shall have: what would change, and how it is brought about."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from vminterface.dom0.services import commands
from vminterface.errors import VerificationFailed, VMInterfaceError

Changes = Mapping[str, object]

#: The status by which a look at a VM says that the thing is not there.
NOT_THERE = 3


@dataclass(frozen=True, slots=True)
class Step:
    """The result of a look at *vm*. ``changes`` is empty if *what* is as it shall be.

    ``do`` brings it about and returns what there is to tell besides; it raises VMInterfaceError.
    """

    vm: str
    what: str
    changes: Changes = field(default_factory=dict)
    do: Callable[[], Changes | None] = lambda: None
    #: The sentence's end where something was, or would be, done.
    done: str = "set"
    #: The same where nothing is to be done.
    already: str = "is already as asked for"

    def run(self, *, test: bool) -> tuple[Changes, str]:
        """Do it unless in *test* mode; return the changes and one sentence."""
        if not self.changes:
            return {}, f"{self.vm}: {self.what} {self.already}"
        if test:
            return self.changes, f"{self.vm}: {self.what} would be {self.done}"
        more = self.do()
        return {**self.changes, **(more or {})}, f"{self.vm}: {self.what} {self.done}"


def there(output: commands.Output) -> bool:
    """Whether the look that gave *output* found the thing. Raises ServiceFailed for any other failure."""
    if output.status == NOT_THERE:
        return False
    output.checked()
    return True


def not_so(vm: str, what: str) -> VMInterfaceError:
    """Return the error for a change that went well and is not to be seen afterwards."""
    return VerificationFailed(f"{vm}: {what} is not as asked for afterwards, although the VM said that all went well")
