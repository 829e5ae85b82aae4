"""Push settings into many VMs at once: lock, compare, persist, write, verify, confirm, and restore where one fails.

Everything that waits, waits for all VMs together: a VM that hangs costs its own deadline, not the others' time.
Within one VM a push is all or nothing. The XenStore has transactions for that; in a QubesDB the keys are written one by
one, those that tell the VM to look at others last.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from vminterface.deadline import Deadline
from vminterface.dom0 import answers, groups, interrupt, persist, state, turns
from vminterface.dom0.firewall import Firewalls
from vminterface.dom0.onestore import Push
from vminterface.dom0.outcome import Outcome
from vminterface.dom0.routed import Routed
from vminterface.dom0.settings import VMSettings
from vminterface.dom0.targets import Target, Targets
from vminterface.errors import InvalidValue, VMInterfaceError, VMNotRunning, VMStarting


def diff(settings: Iterable[VMSettings], targets: Targets) -> list[Outcome]:
    """Return for each VM what a push would change. Writes nothing."""
    return persist.diff(list(settings), lambda some, routed: _diff(some, targets, routed))


def push(settings: Iterable[VMSettings], targets: Targets, *, stop: threading.Event | None = None) -> list[Outcome]:
    """Bring every running VM to its settings and return what came of each, in the order of *settings*.

    No other push of this host writes to a VM meanwhile. Never raises for what befalls a single VM: that is in its
    outcome. Raises ConnectionLost or DeadlineExceeded when the XenStore cannot be reached at all, LockUnavailable. At
    Ctrl-C or SIGTERM what no agent has acknowledged is taken back; the exception then has the outcomes as its text.
    The same is done, without an exception, when a caller that takes signals itself sets its *stop*.
    """
    wanted = list(settings)

    def run(stop: threading.Event) -> list[Outcome]:
        return turns.run(wanted, targets, stop, lambda some, where: _push(some, where, stop))

    if stop is not None:
        return run(stop)
    return interrupt.run(run, lambda outcomes: "\n".join(outcome.comment() for outcome in outcomes))


def _diff(settings: Sequence[VMSettings], targets: Targets, routed: Mapping[str, Routed]) -> list[Outcome]:
    def check(part: _Part) -> None:
        try:
            for work in part.push.works:
                if work.outcome.ok and not work.outcome.changes:
                    answers.check(work)
            part.firewalls.note()
        finally:
            part.firewalls.close()

    return _outcomes(settings, targets, routed, threading.Event(), check, lambda left: None)


def _push(settings: Sequence[VMSettings], targets: Targets, stop: threading.Event) -> list[Outcome]:
    """Do it for VMs whose locks are held."""
    return persist.push(
        list(settings),
        lambda some, routed: _diff(some, targets, routed),
        lambda some, routed: _push_keys(some, targets, routed, stop),
        targets,
    )


def _push_keys(
    settings: Sequence[VMSettings], targets: Targets, routed: Mapping[str, Routed], stop: threading.Event
) -> list[Outcome]:
    def speak(part: _Part) -> _Part | None:
        part.push.write()
        if not part.push.settled or part.firewalls.clients:
            return part
        part.push.note()
        part.firewalls.close()
        return None

    def wait(part: _Part) -> None:
        try:
            part.push.confirm()
            part.push.note()
            part.push.restore()
            # Last, as they are in other VMs' stores; without rules a provider lets nothing of a client through.
            part.firewalls.push()
            part.push.restore()
        finally:
            part.firewalls.close()

    outcomes = _outcomes(settings, targets, routed, stop, speak, wait)
    for outcome in outcomes:
        # What was taken back has not changed.
        if outcome.error is not None:
            outcome.changes = {}
    return outcomes


@dataclass(frozen=True, slots=True)
class _Part:
    """The VMs of one store, or those that are not running, and their firewalls."""

    push: Push
    firewalls: Firewalls


def _outcomes(
    settings: Sequence[VMSettings],
    targets: Targets,
    routed: Mapping[str, Routed],
    stop: threading.Event,
    speak: Callable[[_Part], _Part | None],
    wait: Callable[[_Part], None],
) -> list[Outcome]:
    """Let *speak* and then *wait* have each part of the VMs, compared, all at once as :func:`groups.run` does it.

    Where this process has not the descriptors for all of them, they have their turns one after the other.
    """
    wanted = {one.vm: one for one in settings}
    # A VM's own store; with a firewall, its provider's store and the XenStore beside it.
    cost = 3 if any(one.firewall is not None for one in settings) else 1
    outcomes: dict[str, Outcome] = {}
    for part in targets.waves(wanted, cost):
        outcomes.update(_wave({vm: wanted[vm] for vm in part}, targets, routed, stop, speak, wait))
    return list(outcomes.values())


def _wave(
    wanted: dict[str, VMSettings],
    targets: Targets,
    routed: Mapping[str, Routed],
    stop: threading.Event,
    speak: Callable[[_Part], _Part | None],
    wait: Callable[[_Part], None],
) -> dict[str, Outcome]:
    errors: dict[str, VMInterfaceError] = {}
    found = targets.find(wanted, wanted, errors)
    starting = [vm for vm, error in errors.items() if isinstance(error, VMStarting)]
    outcomes = {
        vm: Outcome(vm, running=vm in found or vm in errors, kept=bool(one.persist)) for vm, one in wanted.items()
    }
    for vm, one in wanted.items():
        if vm in errors and vm not in starting:
            outcomes[vm].error = errors[vm]
        elif not outcomes[vm].running and one.require_running:
            outcomes[vm].error = VMNotRunning(f"{vm} is not running, and its settings ask for it (require_running)")
        elif not outcomes[vm].running:
            try:
                routed[vm].check_halted(one)
            except InvalidValue as error:
                outcomes[vm].error = error
    parts = [[target.vm for target in group] for group in state.by_store(found.values())]
    absent = [vm for vm, one in wanted.items() if not outcomes[vm].running and one.firewall is not None]
    lost: dict[str, VMInterfaceError] = {}

    def begin(vms: Sequence[str]) -> _Part | None:
        for vm in vms:
            if vm in starting:
                deadline = Deadline.after(wanted[vm].wait_before_writing)
                try:
                    found[vm] = targets.wait_for(wanted[vm], stop, deadline)
                except VMInterfaceError as error:
                    outcomes[vm].error = error
                wanted[vm] = wanted[vm].after_wait(deadline.seconds - deadline.remaining)
        push = Push(_of(vms, found, outcomes), wanted, outcomes, targets, routed, stop)
        push.observe()
        push.compare()
        # A VM whose firewall cannot be has nothing else begun.
        here = {vm: wanted[vm] for vm in vms} | {work.target.vm: work.settings for work in push.works}
        firewalls = Firewalls(vms, here, outcomes, targets, lost, routed, stop)
        try:
            return speak(_Part(push, firewalls))
        except BaseException:
            firewalls.close()
            raise

    parts += [[vm] for vm in starting]
    groups.run([*parts, absent] if absent else parts, begin, wait)
    return outcomes


def _of(vms: Sequence[str], found: Mapping[str, Target], outcomes: Mapping[str, Outcome]) -> list[Target]:
    return [found[vm] for vm in vms if vm in found and outcomes[vm].ok]
