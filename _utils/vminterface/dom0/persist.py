"""What lasts over a VM's restart: on Qubes R4, qubesd keeps it as features and properties and writes the keys anew.

Compared first; one call for each difference. It comes before the push of the keys themselves, and is taken back where
that fails, so that a VM has all of it or nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from vminterface.dom0 import attach, hints, persistchanges, routed, vmnames
from vminterface.dom0.diff import PERSISTENT, Change
from vminterface.dom0.fields import DEFAULT
from vminterface.dom0.outcome import Outcome
from vminterface.dom0.persistlive import adapt
from vminterface.dom0.persistzone import PERSISTENT_TIMEZONE
from vminterface.dom0.qubesd import Qubesd
from vminterface.dom0.routed import Routed
from vminterface.dom0.settings import NETVM, VMSettings
from vminterface.dom0.targets import Targets
from vminterface.errors import InvalidValue, VMInterfaceError

_NOT_KEPT = "nothing of it is kept for the VM's next start, as qubesd does not run"

Run = Callable[[Sequence[VMSettings], Mapping[str, Routed]], list[Outcome]]


@dataclass(slots=True)
class _Plan:
    """What is to be done for one VM."""

    #: What the keys of a running VM are to hold.
    live: VMSettings
    #: What qubesd has to change, by field.
    changes: dict[str, Change] = field(default_factory=dict)
    #: What qubesd says of its network and firewall.
    routed: Routed = field(default_factory=Routed)
    error: VMInterfaceError | None = None
    #: What is left out or will not last, and why.
    remarks: tuple[str, ...] = ()

    #: Whether the running VM is attached with other addresses.
    moves: bool = False
    #: Whether qubesd writes all keys of the running VM anew, as it does when it attaches its network.
    rewritten: bool = False

    @property
    def sets_netvm(self) -> bool:
        """Whether qubesd is given another netvm, and then attaches a VM that runs."""
        return NETVM in self.changes

    def foresee(self, outcome: Outcome) -> None:
        """Take what *outcome* says of the VM as it is before anything is changed."""
        attached = outcome.running and self.routed.attached_anew
        self.moves = attached and self.routed.changed(outcome.changes)
        self.rewritten = attached and (self.moves or self.sets_netvm)


def diff(settings: Sequence[VMSettings], look: Run) -> list[Outcome]:
    """Return what *look* finds for *settings*, and what qubesd would have to change."""
    plans = _plans(settings, Qubesd())
    outcomes = look([plan.live for plan in plans.values()], _routed(plans))
    for outcome in outcomes:
        plan = plans[outcome.vm]
        # A name that is wrong is the reason of what follows from it.
        outcome.error = plan.error or outcome.error
        outcome.remarks = plan.remarks
        outcome.changes = {} if outcome.error else _all_changes(plan, outcome.changes)
    return outcomes


def push(settings: Sequence[VMSettings], look: Run, write: Run, targets: Targets) -> list[Outcome]:
    """Let qubesd keep what shall last, then let *write* push the keys. Outcomes are in the order of *settings*."""
    qubesd = Qubesd()
    plans = _plans(settings, qubesd)
    outcomes = {vm: Outcome(vm, error=plan.error) for vm, plan in plans.items() if plan.error}
    # qubesd writes keys of running VMs too, so what a push changes is known beforehand alone.
    first = [plan.live for plan in plans.values() if not plan.error and (plan.changes or plan.routed.attached_anew)]
    foreseen = {o.vm: o for o in look(first, _routed(plans))}
    for vm, outcome in foreseen.items():
        plan = plans[vm]
        if outcome.error is not None:
            outcomes[vm] = Outcome(vm, error=outcome.error, running=outcome.running)
            continue
        plan.foresee(outcome)
        if (taken := _keep(qubesd, plan, targets)) is not None:
            outcomes[vm] = Outcome(vm, error=taken.error, running=outcome.running, restored=taken.restored)
    for outcome in write([plan.live for vm, plan in plans.items() if vm not in outcomes], _routed(plans)):
        vm, plan = outcome.vm, plans[outcome.vm]
        if (plan.changes or plan.moves) and outcome.error is not None:
            taken = _take_back(qubesd, plan, outcome.error)
            outcome.error = taken.error
            if taken.restored is not None and outcome.restored is not False:
                outcome.restored = taken.restored
        elif plan.rewritten:
            # What qubesd has written over is as it was before.
            outcome.changes = _all_changes(plan, foreseen[vm].changes)
        elif plan.changes:
            outcome.changes = _all_changes(plan, {**foreseen[vm].changes, **outcome.changes})
        outcome.remarks = plan.remarks
        outcomes[vm] = outcome
    return [outcomes[one.vm] for one in settings]


def _keep(qubesd: Qubesd, plan: _Plan, targets: Targets) -> persistchanges.Taken | None:
    """Let qubesd keep what is planned, and attach the network anew if need be; return what came of taking it back."""
    try:
        persistchanges.make(qubesd, plan.live.vm, plan.changes)
    except persistchanges.NotKept as failed:
        return _attached_again(qubesd, plan, failed.taken) if plan.sets_netvm else failed.taken
    try:
        if plan.moves and not plan.sets_netvm:
            attach.anew(qubesd, plan.live.vm)
        if plan.moves:
            attach.check(qubesd, targets, plan.live, plan.routed.hidden_ip)
    except VMInterfaceError as error:
        return _take_back(qubesd, plan, error)
    return None


def _take_back(qubesd: Qubesd, plan: _Plan, first: VMInterfaceError) -> persistchanges.Taken:
    """Put back what qubesd had, because *first* has happened."""
    return _attached_again(qubesd, plan, persistchanges.take_back(qubesd, plan.live.vm, plan.changes, first))


def _attached_again(qubesd: Qubesd, plan: _Plan, taken: persistchanges.Taken) -> persistchanges.Taken:
    """Attach the network with the former addresses, where it may have been attached with others."""
    if not plan.moves:
        return taken
    try:
        attach.anew(qubesd, plan.live.vm)
    except VMInterfaceError as error:
        more = f"{taken.error}; and the network could not be attached as it was: {error}"
        return persistchanges.Taken(type(taken.error)(more), False)
    return taken


def _routed(plans: Mapping[str, _Plan]) -> dict[str, Routed]:
    return {vm: plan.routed for vm, plan in plans.items()}


def _plans(settings: Sequence[VMSettings], qubesd: Qubesd) -> dict[str, _Plan]:
    plans = {}
    for one in settings:
        undecided, noted, one = one.persist is None, hints.of(one), _decided(one, qubesd)
        plans[one.vm] = plan = _Plan(one)
        try:
            adapted = adapt(one, qubesd)
            lost = (_NOT_KEPT,) if undecided and qubesd.expected and not one.persist else ()
            one, plan.live, plan.remarks = adapted.kept, adapted.live, (*noted, *lost, *adapted.remarks)
            if qubesd.expected or one.persist:
                plan.live, plan.routed, remarks = routed.read(qubesd, plan.live)
                plan.remarks += remarks
            if one.persist:
                kept = {name: text for name, text in _texts(one).items() if not plan.routed.is_fake(name)}
                plan.changes = persistchanges.compare(qubesd, one.vm, kept, one.path)
                plan.routed.attached_anew = attach.planned(qubesd, one, plan.changes)
            elif one.netvm is not None:
                raise InvalidValue(f"{one.vm}: netvm is kept by qubesd alone, which this host has not (no qubesadmin)")
            vmnames.check(plan.live, qubesd)
        except VMInterfaceError as error:
            plan.error = error
    return plans


def _decided(settings: VMSettings, qubesd: Qubesd) -> VMSettings:
    """Return *settings* in which ``persist`` is said: where the pillar leaves it open, it is whether it can be done.

    Where it is switched off, netvm is no part of the push, as qubesd alone has it.
    """
    if settings.persist is None:
        return replace(settings, persist=qubesd.available)
    return settings if settings.persist else replace(settings, netvm=None)


def _texts(settings: VMSettings) -> dict[str, str | None]:
    """Return what qubesd is to keep of *settings*, by field, as the text of the field's key."""
    texts = dict(settings.desired)
    if settings.netvm is not None:
        texts[NETVM] = None if settings.netvm == DEFAULT else settings.netvm
    return texts


def _all_changes(plan: _Plan, live: Mapping[str, Change]) -> dict[str, Change]:
    lasting = {f"{PERSISTENT}{name}": change for name, change in plan.changes.items()}
    told_already = {PERSISTENT_TIMEZONE} if "timezone" in plan.changes else set()
    return {**lasting, **{name: change for name, change in live.items() if name not in told_already}}
