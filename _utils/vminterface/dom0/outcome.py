"""One VM on its way through a push, and what came of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from vminterface import keys
from vminterface.dom0.diff import Change
from vminterface.dom0.persistplaces import MEMINFO_WRITER, place_of
from vminterface.dom0.settings import VMSettings
from vminterface.dom0.state import VMState
from vminterface.dom0.targets import Target
from vminterface.errors import VMInterfaceError, printable
from vminterface.values.announcement import Announcement

NO_AGENT = "no agent is running there"
#: Keys of ours in which qubesd gives the VM what is another field's.
_DOUBLES = "lasting:"


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
    #: Whether the acknowledgement of an agent was awaited, and the agent that is running in the VM then, if one is.
    awaited: bool = False
    agent: Announcement | None = None
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
        unapplied = self._unapplied()
        return f"{self.vm}: {count(self.changes)} set{unapplied and f'; {unapplied}'}{note}"

    def _unapplied(self) -> str:
        """Return what of the changed keys nobody in the VM applies, and what becomes of it; empty text if nothing."""
        live = [name for name in self.changes if keys.is_field(name)]
        if not self.awaited or not live:
            return ""
        reason = NO_AGENT
        if self.agent is not None:
            settings = keys.settings_of(live) - self.agent.settings
            live = [name for name in live if keys.for_field(name).setting in settings]
            reason = f"its agent (version {self.agent.version}) does not apply {', '.join(sorted(settings))}"
        if not live:
            return ""
        if self.kept:
            # Without a netvm it has none then either; with one there is a remark of its own.
            live = [name for name in live if not (name.startswith("network:") and self.changes[name].new is None)]
        later = at_next_start(live, kept=self.kept)
        return f"{reason}: {later}" if later else reason

    def _wait(self, name: str) -> str:
        return f"{name} takes effect at the VM's next start, until then it has {printable(self.waiting[name], 60)}"


def count(changes: Collection[str]) -> str:
    """Return the names of the fields that change, or how many they are."""
    return ", ".join(sorted(changes)) if len(changes) <= 3 else f"{len(changes)} keys"


def at_next_start(fields: Iterable[str], *, kept: bool) -> str:
    """Return what becomes of *fields*, which nobody in the running VM applies, at its next start, or empty text.

    The keys die with the domain. With *kept* qubesd writes those again that it has a place for; where there is no
    qubesd, and of the other fields, only another push does.
    """
    fields = {name for name in fields if not name.startswith(_DOUBLES)}
    if kept:
        # What qubesd makes of the VM's memory settings; that has a remark of its own.
        fields.discard(MEMINFO_WRITER)
    again = "at the VM's next start, for which qubesd keeps"
    gone = "gone at the VM's next start, unless it is pushed again (`vminterface watch` does)"
    lasting = {name for name in fields if kept and place_of(name) is not None}
    lost = fields - lasting
    if lasting and lost:
        return f"{count(lasting)} takes effect {again} it; {count(lost)} is {gone}"
    if lasting:
        return f"it takes effect {again} it"
    return f"it is {gone}" if lost else ""


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
    #: Whether some of its new values may have been written; and whether all of them have been.
    begun: bool = False
    written: bool = False

    def fail(self, error: VMInterfaceError) -> None:
        """Note the first error; it ends this VM's way."""
        if self.outcome.error is None:
            self.outcome.error = error
