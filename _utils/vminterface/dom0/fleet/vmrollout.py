"""A rollout over the VMs of this host: each wave is one push, and what it changes is kept before it begins."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from vminterface import runtime
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.fleet import rollout, waves
from vminterface.dom0.fleet.journal import DONE, FAILED, LEFT, UNSURE, Journal, NoSuchRollout, Unit
from vminterface.dom0.inventory.targets import Targets
from vminterface.dom0.push.push import diff, push
from vminterface.dom0.push.takeback import Former, take_back

OpenTargets = Callable[[], Targets]


def begin(
    name: str,
    settings: Sequence[VMSettings],
    *,
    canary: Sequence[str] = (),
    sizes: Sequence[object] = waves.DEFAULT,
    failures: int = 1,
    again: bool = False,
    open_targets: OpenTargets = Targets,
) -> dict[str, Any]:
    """Roll *settings* out, the VMs of *canary* first, and return the result: :meth:`Journal.as_data`.

    With *again* a former rollout of that name is taken back before, as far as it was not. Raises InvalidValue for a
    canary, a size or a name that is none, RolloutExists for a name that was taken, and what affects the XenStore as a
    whole; the rollout can then be resumed or taken back.
    """
    plan = waves.plan([one.vm for one in settings], canary, sizes)
    if again:
        with suppress(NoSuchRollout), Journal.open(name) as former:
            rollout.restore(former, _steps(settings, open_targets)[2])
            if not succeeded(data := former.as_data()):
                return data
            former.forget()
    with Journal.begin(name, plan) as journal:
        rollout.run(journal, *_steps(settings, open_targets), failures=failures)
        return journal.as_data()


def resume(
    name: str, settings: Sequence[VMSettings], *, failures: int = 1, open_targets: OpenTargets = Targets
) -> dict[str, Any]:
    """Go on with a rollout that was killed or has stopped, as :func:`begin`."""
    with Journal.open(name) as journal:
        rollout.resume(journal, *_steps(settings, open_targets), failures=failures)
        return journal.as_data()


def restore(name: str, settings: Sequence[VMSettings], *, open_targets: OpenTargets = Targets) -> dict[str, Any]:
    """Give all VMs back what they had before the rollout called *name*, as far as they still have what it gave them."""
    with Journal.open(name) as journal:
        rollout.restore(journal, _steps(settings, open_targets)[2])
        return journal.as_data()


def succeeded(data: Mapping[str, Any]) -> bool:
    """Whether *data*, what one of these functions has returned, is of a rollout that did what it was asked for."""
    left = any(one["state"] in (LEFT, UNSURE) for one in data["units"].values())
    return data["ended"] in (rollout.COMPLETE, rollout.TAKEN_BACK, rollout.NEVER_BEGUN) and not left


def _steps(
    settings: Sequence[VMSettings], open_targets: OpenTargets
) -> tuple[rollout.Observe, rollout.Give, rollout.Take]:
    by_vm = {one.vm: one for one in settings}

    def missing(wave: Sequence[str]) -> dict[str, str]:
        return {vm: f"{vm}: the VM is not in the pillar any more" for vm in wave if vm not in by_vm}

    def observe(wave: Sequence[str]) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        with open_targets() as targets:
            outcomes = diff([by_vm[vm] for vm in wave if vm in by_vm], targets)
        failed = {one.vm: one.comment(test=True) for one in outcomes if not one.as_asked}
        former = {one.vm: Former.of(one).as_data() for one in outcomes if one.ok and one.changes}
        return former, {**failed, **missing(wave)}

    def give(wave: Sequence[str]) -> Mapping[str, Unit]:
        with open_targets() as targets:
            outcomes = push([by_vm[vm] for vm in wave if vm in by_vm], targets)
        results = {one.vm: Unit(DONE if one.as_asked else FAILED, one.comment()) for one in outcomes}
        return {**results, **{vm: Unit(FAILED, text) for vm, text in missing(wave).items()}}

    def take(former: Mapping[str, Any]) -> Mapping[str, str]:
        formers = [Former.parse(vm, data) for vm, data in former.items()]
        with open_targets() as targets:
            errors = take_back(formers, by_vm, targets, stop=runtime.event())
        return {vm: str(error) for vm, error in errors.items() if error is not None}

    return observe, give, take
