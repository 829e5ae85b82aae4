"""One VM on its way through a push, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vminterface.dom0.diff import Change
from vminterface.dom0.settings import VMSettings
from vminterface.dom0.state import VMState
from vminterface.dom0.targets import Target
from vminterface.errors import VMInterfaceError, printable


@dataclass(slots=True)
class Outcome:
    """What came of one VM's settings. ``changes`` is empty when nothing was (or, in a diff, would be) changed."""

    vm: str
    changes: dict[str, Change] = field(default_factory=dict)
    error: VMInterfaceError | None = None
    running: bool = True
    #: Whether qubesd keeps for its next start what it can.
    kept: bool = False
    #: What the VM's agent, or its provider's firewall service, had to do with it; empty where there is nothing to say.
    note: str = ""
    #: What is left out or will not last, and why: said in every comment but an error's.
    remarks: tuple[str, ...] = ()
    #: Whether there was no agent in the VM that could have acknowledged the settings.
    unheard: bool = False
    #: Whether what it had before was put back after the error; None: nothing had to be.
    restored: bool | None = None
    #: What the VM has, by field, of what takes effect at its next start; it is no difference.
    waiting: dict[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether the VM has (or, in a diff, could be given) what was asked for."""
        return self.error is None

    def add_note(self, note: str) -> None:
        """Add *note* to what is to be said of its success."""
        self.note = "; ".join(filter(None, (self.note, note)))

    def comment(self, *, test: bool = False) -> str:
        """Return one sentence for the admin."""
        if self.error is not None:
            return f"{self.error}{'; former values restored' if self.restored else ''}"
        return "; ".join((self._success(test=test), *map(self._wait, sorted(self.waiting)), *self.remarks))

    def _success(self, *, test: bool) -> str:
        note = self.note and f"; {self.note}"
        if not self.running:
            lasting = f"{count(self.changes)} {'would be set' if test else 'set'}{note}; " if self.changes else ""
            later = "its settings take effect with a push after its next start"
            if self.kept:
                later = "qubesd gives it what it keeps at its next start, the rest takes a push after that"
            return f"{self.vm} is not running: {lasting}{later}"
        if not self.changes:
            return f"{self.vm} is already as configured"
        if test:
            return f"{self.vm}: {count(self.changes)} would be set"
        return f"{self.vm}: {count(self.changes)} set{note}"

    def _wait(self, name: str) -> str:
        return f"{name} takes effect at the VM's next start, until then it has {printable(self.waiting[name], 60)}"


def count(changes: Mapping[str, Change]) -> str:
    """Return the names of the fields that change, or how many they are."""
    return ", ".join(sorted(changes)) if len(changes) <= 3 else f"{len(changes)} keys"


@dataclass(slots=True)
class Work:
    """One VM on its way through a push."""

    settings: VMSettings
    target: Target
    state: VMState
    outcome: Outcome
    #: Whether this push gave the VM its node for answers, so that an agent may yet announce itself.
    introduced: bool = False
    #: Whether its agent had not acknowledged the push before this one, which did not wait for it either.
    unread: bool = False
    #: Whether its former values have been put back, or were tried to.
    restored: bool = False

    def fail(self, error: VMInterfaceError) -> None:
        """Note the first error; it ends this VM's way."""
        if self.outcome.error is None:
            self.outcome.error = error
