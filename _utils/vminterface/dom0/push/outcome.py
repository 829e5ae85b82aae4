"""One VM on its way through a push, and the result."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from vminterface import keys
from vminterface.dom0.desired import words
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.inventory.observed import VMState
from vminterface.dom0.inventory.targets import Target
from vminterface.dom0.push.persist.places import MEMINFO_WRITER, place_of
from vminterface.dom0.push.unaccepted import Unaccepted, sentences
from vminterface.errors import VMInterfaceError, printable
from vminterface.values.announcement import Announcement
from vminterface.values.change import Change

NO_AGENT = "no agent is running in the VM"


@dataclass(slots=True)
class Outcome:
    """The result of one VM's settings. ``changes`` is empty when nothing was (or, in a diff, would be) changed."""

    vm: str
    #: By field of the key; what qubesd keeps has ``persistent:`` before that.
    changes: dict[str, Change[Any]] = field(default_factory=dict)
    #: Values of keys that stay and share a field of the pillar with one that changes.
    same: dict[str, Any] = field(default_factory=dict)
    #: The changes that a push which failed has tried to make: they have been taken back, or were never made.
    tried: dict[str, Change[Any]] = field(default_factory=dict)
    error: VMInterfaceError | None = None
    running: bool = True
    #: Whether qubesd keeps for its next start what it can.
    persistent: bool = False
    #: What the VM's agent, or its provider's firewall service, had to do with it; empty where there is nothing to say.
    note: str = ""
    #: Whether the acknowledgement of an agent was awaited, and the agent that is running in the VM then, if one is.
    awaited: bool = False
    agent: Announcement | None = None
    #: What is left out or will not last, and why: in every comment but an error's.
    remarks: tuple[str, ...] = ()
    #: What the agent has acknowledged and let be, and why: there the VM is not as its store says.
    unchanged: tuple[str, ...] = ()
    #: Whether there was no agent in the VM that could have acknowledged the settings.
    unheard: bool = False
    #: Whether what it had before was put back after the error; None: nothing had to be.
    restored: bool | None = None
    #: What the VM has, by field, of what takes effect at its next start; it is no difference.
    waiting: dict[str, Any] = field(default_factory=dict)
    #: What the VM's owner does not accept, by setting; all else was (or, in a diff, would be) pushed.
    unaccepted: dict[str, Unaccepted] = field(default_factory=dict)
    #: Why nothing was read and nothing done; empty where something was.
    left_out: str = ""
    #: When all was done with this VM (monotonic), be it that the push waited for others still; None: not known.
    ended: float | None = field(default=None, compare=False)

    @property
    def ok(self) -> bool:
        """Whether nothing failed; what the VM's owner does not accept does not count as a failure of the push."""
        return self.error is None

    @property
    def as_asked(self) -> bool:
        """Whether the VM has (or, in a diff, could be given) what was asked for and has to be accepted."""
        return self.ok and not any(one.is_error for one in self.unaccepted.values())

    @property
    def fields(self) -> dict[str, Change[Any]]:
        """The changes as the pillar's fields and words."""
        return words.changes(self.changes, self.same)

    @property
    def is_plain(self) -> bool:
        """Whether the VM runs and its changes, if any, have been made, with nothing left out or still to come."""
        said = self.remarks or self.unchanged or self.note
        more = self.left_out or self.unaccepted or self.waiting or said or self._unapplied()
        return self.ok and self.running and not more

    def add_note(self, note: str) -> None:
        """Add *note* to the comment on its success."""
        self.note = "; ".join(filter(None, (self.note, note)))

    def comment(self, *, test: bool = False) -> str:
        """Return one sentence for the admin."""
        if self.error is not None:
            return f"{self.error}{'; former values restored' if self.restored else ''}"
        if self.left_out:
            return f"{self.vm} is left out: {self.left_out}"
        refused = sentences(self.vm, self.unaccepted.values())
        waiting = map(self._wait, sorted(self.waiting))
        return "; ".join((*refused, self._success(test=test), *self.unchanged, *waiting, *self.remarks))

    def _success(self, *, test: bool) -> str:
        note = self.note and f"; {self.note}"
        if not self.running:
            restored = f"{count(self.fields)} {'would be set' if test else 'set'}{note}; " if self.changes else ""
            later = "its settings need a push after the next start"
            if self.persistent:
                later = "qubesd applies the persistent settings at the next start; the rest needs another push"
            return f"{self.vm} is not running: {restored}{later}"
        if not self.changes:
            return f"{self.vm} is {'otherwise' if self.unaccepted else 'already'} as configured"
        if test:
            return f"{self.vm}: {count(self.fields)} would be set"
        unapplied = self._unapplied()
        return f"{self.vm}: {count(self.fields)} set{unapplied and f'; {unapplied}'}{note}"

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
        if self.persistent:
            # Without a netvm it has none then either; with one there is a remark of its own.
            live = [name for name in live if not (name.startswith("network:") and self.changes[name].new is None)]
        later = at_next_start(live, persistent=self.persistent)
        return f"{reason}: {later}" if later else reason

    def _wait(self, name: str) -> str:
        has = printable(words.text(name, self.waiting[name]), 60)
        return f"{name} takes effect at the VM's next start (until then: {has})"


def count(changes: Collection[str]) -> str:
    """Return the names of the fields that change, or how many they are."""
    return ", ".join(sorted(changes)) if len(changes) <= 3 else f"{len(changes)} fields"


def at_next_start(fields: Iterable[str], *, persistent: bool) -> str:
    """Return what becomes of *fields*, which nobody in the running VM applies, at its next start, or empty text.

    The keys die with the domain. With *persistent* qubesd writes those again that it has a place for; where there is no
    qubesd, and of the other fields, only another push does.
    """
    fields = {name for name in fields if name != words.PERSISTENT_TIMEZONE}
    if persistent:
        # What qubesd makes of the VM's memory settings; that has a remark of its own.
        fields.discard(MEMINFO_WRITER)
    again = "at the VM's next start, for which qubesd stores"
    gone = "lost at the VM's next start unless pushed again (`vminterface watch` does)"
    persistent_fields = {name for name in fields if persistent and place_of(name) is not None}
    # What it keeps of a field of several keys is all that there is to it.
    restored = words.names(persistent_fields)
    lost = [name for name in words.names(fields) if name not in restored]
    if restored and lost:
        return f"{count(restored)} takes effect {again} it; {count(lost)} is {gone}"
    if restored:
        return f"it takes effect {again} it"
    return f"it is {gone}" if lost else ""


@dataclass(slots=True)
class Work:
    """One VM on its way through a push."""

    settings: VMSettings
    target: Target
    state: VMState
    outcome: Outcome
    #: Settings of which qubesd has written keys on behalf of this push.
    by_qubesd: frozenset[str] = frozenset()
    #: Whether this push gave the VM its node for answers, so that an agent may yet announce itself.
    introduced: bool = False
    #: Whether its agent had not acknowledged the push before this one, which did not wait for it either.
    unread: bool = False
    #: Whether its former values have been put back, or were tried to.
    restored: bool = False
    #: The outcome's changes as exact texts of the keys, None for no key.
    texts: dict[str, Change[str]] = field(default_factory=dict)
    #: Whether some of its new values may have been written; and whether all of them have been.
    begun: bool = False
    written: bool = False

    def fail(self, error: VMInterfaceError) -> None:
        """Note the first error; it ends this VM's way."""
        if self.outcome.error is None:
            self.outcome.error = error
