"""What lasts over a VM's restart: on Qubes R4, qubesd keeps it as features and properties and writes the keys anew.

Compared first; one call for each difference. It comes before the push of the keys themselves, and is taken back where
that fails, so that a VM has all of it or nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from vminterface.dom0 import persistchanges
from vminterface.dom0.diff import PERSISTENT, Change
from vminterface.dom0.fields import DEFAULT
from vminterface.dom0.outcome import Outcome
from vminterface.dom0.persistlive import adapt
from vminterface.dom0.persistzone import PERSISTENT_TIMEZONE
from vminterface.dom0.qubesd import Qubesd
from vminterface.dom0.settings import NETVM, VMSettings
from vminterface.errors import InvalidValue, VMInterfaceError

_NOT_KEPT = "nothing of it is kept for the VM's next start, as qubesd does not run"

Run = Callable[[Sequence[VMSettings]], list[Outcome]]


@dataclass(slots=True)
class _Plan:
    """What is to be done for one VM."""

    #: What the keys of a running VM are to hold.
    live: VMSettings
    #: What qubesd has to change, by field.
    changes: dict[str, Change] = field(default_factory=dict)
    error: VMInterfaceError | None = None
    #: What is left out or will not last, and why.
    remarks: tuple[str, ...] = ()


def diff(settings: Sequence[VMSettings], look: Run) -> list[Outcome]:
    """Return what *look* finds for *settings*, and what qubesd would have to change."""
    plans = _plans(settings, Qubesd())
    outcomes = look([plan.live for plan in plans.values()])
    for outcome in outcomes:
        plan = plans[outcome.vm]
        outcome.error = outcome.error or plan.error
        outcome.remarks = plan.remarks
        outcome.changes = {} if outcome.error else _all_changes(plan, outcome.changes)
    return outcomes


def push(settings: Sequence[VMSettings], look: Run, write: Run) -> list[Outcome]:
    """Let qubesd keep what shall last, then let *write* push the keys. Outcomes are in the order of *settings*."""
    qubesd = Qubesd()
    plans = _plans(settings, qubesd)
    outcomes = {vm: Outcome(vm, error=plan.error) for vm, plan in plans.items() if plan.error}
    # qubesd writes keys of running VMs too, so what a push changes is known beforehand alone.
    foreseen = {o.vm: o for o in look([plan.live for plan in plans.values() if plan.changes])}
    for vm, outcome in foreseen.items():
        if outcome.error is not None:
            outcomes[vm] = Outcome(vm, error=outcome.error, running=outcome.running)
            continue
        try:
            persistchanges.make(qubesd, vm, plans[vm].changes)
        except persistchanges.NotKept as failed:
            taken = failed.taken
            outcomes[vm] = Outcome(vm, error=taken.error, running=outcome.running, restored=taken.restored)
    for outcome in write([plan.live for vm, plan in plans.items() if vm not in outcomes]):
        vm, plan = outcome.vm, plans[outcome.vm]
        if plan.changes and outcome.error is not None:
            taken = persistchanges.take_back(qubesd, vm, plan.changes, outcome.error)
            outcome.error = taken.error
            if taken.restored is not None and outcome.restored is not False:
                outcome.restored = taken.restored
        elif plan.changes:
            outcome.changes = _all_changes(plan, {**foreseen[vm].changes, **outcome.changes})
        outcome.remarks = plan.remarks
        outcomes[vm] = outcome
    return [outcomes[one.vm] for one in settings]


def _plans(settings: Sequence[VMSettings], qubesd: Qubesd) -> dict[str, _Plan]:
    plans = {}
    for one in settings:
        undecided, one = one.persist is None, _decided(one, qubesd)
        plans[one.vm] = plan = _Plan(one)
        try:
            adapted = adapt(one, qubesd)
            lost = (_NOT_KEPT,) if undecided and qubesd.expected and not one.persist else ()
            one, plan.live, plan.remarks = adapted.kept, adapted.live, (*lost, *adapted.remarks)
            if one.persist:
                plan.changes = persistchanges.compare(qubesd, one.vm, _texts(one), one.path)
            elif one.netvm is not None:
                raise InvalidValue(f"{one.vm}: netvm is kept by qubesd alone, which this host has not (no qubesadmin)")
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
