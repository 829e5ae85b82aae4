"""One object that is ensured in a VM: the changes, and the action that makes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vminterface.dom0.services import commands
from vminterface.errors import VerificationFailed, VMInterfaceError
from vminterface.values.change import Change

#: By what is ensured, in the words that people read.
Changes = Mapping[str, Change[Any]]
#: What a VM sent, by the stream.
Facts = Mapping[str, str]

#: The status of a probe in a VM where the object does not exist.
NOT_THERE = 3


@dataclass(frozen=True, slots=True)
class Step:
    """The result of a probe of *vm*. ``changes`` is empty if *what* needs no action.

    ``do`` acts and returns the output of the VM; it raises VMInterfaceError.
    """

    vm: str
    what: str
    changes: Changes = field(default_factory=dict)
    do: Callable[[], Facts | None] = lambda: None
    #: The sentence's end where something was, or would be, done.
    done: str = "set"
    #: The same where nothing is to be done.
    already: str = "is already set"

    def run(self, *, test: bool) -> tuple[Mapping[str, Change[Any] | str], str]:
        """Act unless in *test* mode; return the changes, with the output of the VM, and one sentence."""
        if not self.changes:
            return {}, f"{self.vm}: {self.what} {self.already}"
        if test:
            return self.changes, f"{self.vm}: {self.what} would be {self.done}"
        more = self.do()
        return {**self.changes, **(more or {})}, f"{self.vm}: {self.what} {self.done}"


def there(output: commands.Output) -> bool:
    """Return whether the object exists in the VM. Raises ServiceFailed for any other failure."""
    if output.status == NOT_THERE:
        return False
    output.checked()
    return True


def not_so(vm: str, what: str) -> VMInterfaceError:
    """Return the error for a change that the VM reported as done, but that a second probe does not confirm."""
    return VerificationFailed(f"{vm}: the VM reported success, but {what} did not change")
