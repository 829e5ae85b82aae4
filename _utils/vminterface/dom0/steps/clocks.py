"""Clocks of VMs: set only where they are wrong by more than the tolerance."""

from __future__ import annotations

from collections.abc import Sequence

from vminterface.channel.qrexec import Qrexec
from vminterface.dom0 import arguments, clocksync
from vminterface.dom0.clocksync import Clock
from vminterface.dom0.diff import Change
from vminterface.dom0.outcome import Outcome
from vminterface.dom0.steps.step import Step
from vminterface.dom0.targets import running_vms
from vminterface.errors import InvalidValue, VMInterfaceError, VMNotRunning, printable_value


def clock_set(qrexec: Qrexec, vm: str) -> Step:
    """Bring the clock of *vm* to dom0's."""
    right = clocksync.host_time()
    found = _one(qrexec, right, vm, look=True)
    if not found.set:
        return Step(vm, "the clock", already=f"is right ({shown(found)})")
    changes = {"clock": {"old": shown(found), "new": "right"}}

    def set_it() -> None:
        _one(qrexec, right, vm, look=False)

    return Step(vm, "the clock", changes, set_it)


def clock_synced(
    qrexec: Qrexec,
    *,
    clock_vm: str | None = None,
    network_vm: str | None = None,
    vms: Sequence[str] | None = None,
    test: bool,
) -> list[Outcome]:
    """Bring the clocks of *vms*, by default of all that run, to that of *clock_vm*, by default dom0's.

    In *test* mode *clock_vm* does not ask the network. Raises InvalidValue, else as :func:`clocksync.right_time` and
    :func:`running_vms`.
    """
    vms = _names(vms)
    for name, vm in (("clock_vm", clock_vm), ("network_vm", network_vm)):
        if vm is not None:
            arguments.text(vm, name)
    right = _right(qrexec, clock_vm, network_vm, test)
    others = [vm for vm in vms if vm != clock_vm]
    return [_outcome(found) for found in clocksync.set_all(qrexec, right, others, look=test)]


def shown(clock: Clock) -> str:
    """Return in words by how much *clock* is wrong."""
    if clock.drift is None:
        return "unknown"
    return f"{abs(clock.drift):.1f} s {'ahead' if clock.drift > 0 else 'behind'}"


def _names(vms: Sequence[str] | None) -> list[str]:
    if vms is None:
        return running_vms()
    if isinstance(vms, str) or not isinstance(vms, Sequence) or not all(isinstance(vm, str) for vm in vms):
        raise InvalidValue(f"expected a list of VMs, found {printable_value(vms, 40, quoted=True)}", "vms")
    return list(vms)


def _right(qrexec: Qrexec, clock_vm: str | None, network_vm: str | None, test: bool) -> clocksync.Time:
    if clock_vm is None:
        return clocksync.host_time()
    if test:
        return clocksync.read_time(qrexec, clock_vm)
    return clocksync.right_time(qrexec, clock_vm, network_vm=network_vm)


def _one(qrexec: Qrexec, right: clocksync.Time, vm: str, *, look: bool) -> Clock:
    (found,) = clocksync.set_all(qrexec, right, [vm], look=look)
    if found.error is not None:
        raise found.error
    return found


def _outcome(found: Clock) -> Outcome:
    outcome = Outcome(found.vm)
    if isinstance(found.error, VMNotRunning):
        outcome.running = False
    elif isinstance(found.error, VMInterfaceError):
        outcome.error = found.error
    elif found.set:
        outcome.changes = {"clock": Change(shown(found), "right")}
    return outcome
