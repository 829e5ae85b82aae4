"""What lasts over a VM's restart: on Qubes R4, qubesd keeps it as features and properties and writes the keys anew.

Compared first; one call for each difference. It comes before the push of the keys themselves, and is taken back where
that fails, so that a VM has all of it or nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from vminterface import keys
from vminterface.dom0.desired import hints, persistent
from vminterface.dom0.desired.persistent import CHECK_UPDATES, FEATURES, PROVIDES_NETWORK, UPDATE_CHECK, feature_of
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.desired.words import NETVM, PERSISTENT, PERSISTENT_TIMEZONE
from vminterface.dom0.inventory import vmnames
from vminterface.dom0.inventory.qubesd import Qubesd
from vminterface.dom0.inventory.targets import Targets
from vminterface.dom0.push import unaccepted
from vminterface.dom0.push.outcome import Outcome
from vminterface.dom0.push.persist import attach, changes, routed
from vminterface.dom0.push.persist.changes import NotPersisted, Taken
from vminterface.dom0.push.persist.live import adapt, later
from vminterface.dom0.push.persist.routed import FAKE, Routed
from vminterface.errors import InvalidValue, SettingRefused, VMInterfaceError, VMNotFound
from vminterface.keys import DEFAULT
from vminterface.values.change import Change
from vminterface.values.vmtype import VMType

_NOT_PERSISTED = "nothing is persistent, because qubesd does not run"


@dataclass(slots=True)
class Plan:
    """What is to be done for one VM; *foreseen* is what would change of its keys, where qubesd has a part in that."""

    #: What the keys of a running VM are to hold.
    live: VMSettings
    qubesd: Qubesd
    #: What qubesd has to change, by field.
    changes: dict[str, Change[Any]] = field(default_factory=dict)
    #: What qubesd says of its network and firewall.
    routed: Routed = field(default_factory=Routed)
    error: VMInterfaceError | None = None
    #: What is left out or will not last, and why.
    remarks: tuple[str, ...] = ()
    #: Fields of the changes that nobody asked for, or that come out the same.
    untold: frozenset[str] = frozenset()
    foreseen: Outcome | None = None
    #: Whether the running VM is attached with other addresses.
    moves: bool = False
    #: Whether qubesd writes all keys of the running VM anew, as it does when it attaches its network.
    rewritten: bool = False

    @classmethod
    def of(cls, settings: VMSettings, qubesd: Qubesd) -> Self:
        """Return what *settings* mean on this host, compared with what qubesd has. A failure of that is its error."""
        one = _decided(settings, qubesd)
        plan = cls(one, qubesd)
        try:
            adapted = adapt(one, qubesd)
            lost = (_NOT_PERSISTED,) if settings.persist is None and qubesd.expected and not one.persist else ()
            one, plan.live = adapted.persistent, adapted.live
            plan.remarks = (*hints.of(settings), *lost, *adapted.remarks)
            if qubesd.expected or one.persist:
                plan.live, plan.routed, remarks = routed.read(qubesd, plan.live)
                plan.remarks += remarks
            if one.persist:
                values = {name: value for name, value in _persistent(one).items() if not plan.routed.is_fake(name)}
                plan.changes = changes.compare(qubesd, one.vm, values, one.path)
                plan.untold = frozenset(n for n, c in plan.changes.items() if n not in values or c.old == c.new)
                plan.routed.attached_anew = attach.planned(qubesd, one, plan.changes)
            elif alone := [*([NETVM] if one.netvm is not None else ()), *persistent.alone(one.desired, one.persistent)]:
                names = f"{', '.join(alone)} {'is' if len(alone) == 1 else 'are'}"
                where = "does not run" if qubesd.expected else "this host does not have (no qubesadmin)"
                raise InvalidValue(f"{one.vm}: {names} only stored by qubesd, which {where}")
            vmnames.check(plan.live, qubesd)
        except VMNotFound as error:
            # qubesd itself says nothing of the name that was probably meant.
            plan.error = vmnames.unknown(one.vm, one.where or one.vm, qubesd) or error
        except VMInterfaceError as error:
            plan.error = error
        return plan

    @property
    def involves_qubesd(self) -> bool:
        """Whether qubesd writes keys of the VM, if it runs, or is given something to keep."""
        return bool(self.changes) or self.routed.attached_anew

    @property
    def _sets_netvm(self) -> bool:
        """Whether qubesd is given another netvm, and then attaches a VM that runs."""
        return NETVM in self.changes

    @property
    def turn(self) -> int:
        """When its turn is among other VMs: those that begin to provide network first, those that cease last."""
        change = self.changes.get(PROVIDES_NETWORK)
        return 0 if change is None else -1 if change.new else 1

    @property
    def written(self) -> frozenset[str]:
        """Settings of the VM's agent whose keys qubesd writes: they do not count as changes of the push itself."""
        foreseen = {} if self.foreseen is None else self.foreseen.changes
        return frozenset(keys.settings_of(name for name in foreseen if keys.is_field(name)))

    def note(self, outcome: Outcome) -> None:
        """Add to what would change of the VM's keys what qubesd would have to change."""
        # A name that is wrong is the reason of what follows from it.
        outcome.error = self.error or outcome.error
        self.foresee(outcome)
        outcome.changes = {} if outcome.error else self._with_persistent(outcome.changes)
        outcome.remarks = self._remarks_of(outcome)

    def foresee(self, outcome: Outcome) -> None:
        """Take from *outcome* the VM's state before anything is changed."""
        self.foreseen = outcome
        self._leave_out(outcome.unaccepted)
        attached = outcome.running and self.routed.attached_anew
        self.moves = attached and self.routed.changed(outcome.changes)
        self.rewritten = attached and (self.moves or self._sets_netvm)

    def keep(self, targets: Targets, stop: threading.Event) -> Taken | None:
        """Let qubesd keep it, and attach the network again if needed. Return the result of restoring it, if it was
        restored.

        Once *stop* is set nothing is waited for.
        """
        vm = self.live.vm
        try:
            changes.make(self.qubesd, vm, self.changes)
        except NotPersisted as failed:
            return self._attached_again(failed.taken) if self._sets_netvm else failed.taken
        try:
            if self.moves and not self._sets_netvm:
                attach.anew(self.qubesd, vm)
            if self.moves:
                attach.check(self.qubesd, targets, self.live, self.routed.hidden_ip, stop)
        except VMInterfaceError as error:
            return self._take_back(self.changes, error)
        return None

    def conclude(self, outcome: Outcome) -> None:
        """Put back in qubesd what *outcome*, of the VM's keys, has not; add to its changes what is kept."""
        before = self.foreseen or Outcome(outcome.vm)
        if (self.changes or self.moves) and outcome.error is not None:
            taken = self._take_back(self.changes, outcome.error)
            outcome.error = taken.error
            if taken.restored is not None and outcome.restored is not False:
                outcome.restored = taken.restored
        elif left := self._leave_out(outcome.unaccepted):
            # Its owner has changed the file since it was read; the rest stays.
            taken = self._take_back(left, SettingRefused(outcome.comment()))
            if taken.restored is False:
                outcome.error, outcome.restored = taken.error, False
            else:
                live = unaccepted.without({**before.changes, **outcome.changes}, outcome.unaccepted)
                outcome.changes = self._with_persistent(live)
        elif self.rewritten:
            # What qubesd has written over is as it was before.
            outcome.changes = self._with_persistent(before.changes)
        elif self.changes:
            outcome.changes = self._with_persistent({**before.changes, **outcome.changes})
        outcome.same = {**before.same, **outcome.same}
        outcome.remarks = self._remarks_of(outcome)

    @property
    def _asked(self) -> dict[str, Change[Any]]:
        """The changes that somebody asked for."""
        return {name: change for name, change in self.changes.items() if name not in self.untold}

    def _remarks_of(self, outcome: Outcome) -> tuple[str, ...]:
        """Return the notes about *outcome* beside its changes."""
        late = [] if outcome.error is not None or not outcome.running else later(self._asked, rewritten=self.rewritten)
        word = "takes" if len(late) == 1 else "take"
        return (*self.remarks, f"{', '.join(late)} {word} effect at the VM's next start") if late else self.remarks

    def _leave_out(self, settings: Collection[str]) -> dict[str, Change[Any]]:
        """Let qubesd keep nothing of *settings*; return what it would have been."""
        left = unaccepted.part(self.changes, settings)
        self.changes = unaccepted.without(self.changes, settings)
        return left

    def _take_back(self, asked: Mapping[str, Change[Any]], first: VMInterfaceError) -> Taken:
        """Put back what qubesd had before it was *asked* that, because *first* has happened."""
        with self.qubesd.turn:
            return self._attached_again(changes.take_back(self.qubesd, self.live.vm, asked, first))

    def _attached_again(self, taken: Taken) -> Taken:
        """Attach the network with the former addresses, where it may have been attached with others."""
        matches = self.rewritten and any(feature_of(name).startswith(FAKE) for name in self.changes)
        if not (self.moves or matches):
            return taken
        try:
            attach.anew(self.qubesd, self.live.vm)
        except VMInterfaceError as error:
            more = f"{taken.error}; and the former network could not be attached again: {error}"
            return Taken(type(taken.error)(more), False)
        return taken

    def _with_persistent(self, live: Mapping[str, Change[Any]]) -> dict[str, Change[Any]]:
        persistent = {f"{PERSISTENT}{name}": change for name, change in self._asked.items()}
        persisted_already = {PERSISTENT_TIMEZONE} if "timezone" in self.changes else set()
        return {**persistent, **{name: change for name, change in live.items() if name not in persisted_already}}


def _decided(settings: VMSettings, qubesd: Qubesd) -> VMSettings:
    """Return *settings* in which ``persist`` is decided: where the pillar leaves it open, it is whether it can be done.

    Where it is switched off, what qubesd alone has is no part of the push.
    """
    if settings.persist is None:
        return replace(settings, persist=qubesd.available)
    return settings if settings.persist else replace(settings, netvm=None, persistent={})


def _persistent(settings: VMSettings) -> dict[str, Any]:
    """Return what qubesd is to keep of *settings*, by field, in the order of the calls."""
    values = {
        **{name: value for name, value in settings.persistent.items() if not feature_of(name)},
        **settings.desired,
    }
    values.update({name: value for name, value in settings.persistent.items() if feature_of(name)})
    if UPDATE_CHECK in settings.desired:
        values.pop(CHECK_UPDATES, None)
    if {UPDATE_CHECK, CHECK_UPDATES} & values.keys():
        # A value by this name would contradict the switch, or do the same.
        values[f"{FEATURES}:service.qubes-update-check"] = None
    if values.get("type") is VMType.NET_VM:
        # It has no keys of a client, but an address, which is its clients' gateway.
        for name in routed.PROPERTIES:
            values.pop(name, None)
    if settings.netvm is not None:
        values[NETVM] = None if settings.netvm == DEFAULT else settings.netvm
    return values
