"""Clocks of VMs: set only where they are wrong by more than the tolerance."""

from __future__ import annotations

from collections.abc import Sequence

from vminterface.channel.qrexec.client import Qrexec
from vminterface.dom0.desired import arguments
from vminterface.dom0.ensure.step import Step
from vminterface.dom0.inventory import vmnames
from vminterface.dom0.inventory.qubesd import Qubesd
from vminterface.dom0.inventory.targets import running_vms
from vminterface.dom0.push.outcome import Outcome
from vminterface.dom0.services import clock, clocksync
from vminterface.dom0.services.clocksync import Clock
from vminterface.errors import InvalidValue, VMInterfaceError, VMNotRunning, printable_value
from vminterface.values.change import Change


def clock_set(qrexec: Qrexec, vm: str) -> Step:
    """Bring the clock of *vm* to dom0's."""
    right = clocksync.host_time()
    found = _one(qrexec, right, vm, test=True)
    if not found.set:
        return Step(vm, "the clock", already=f"is correct ({shown(found)})")
    changes = {"clock": Change(shown(found), "right")}

    def set_it() -> None:
        _one(qrexec, right, vm, test=False)

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

    In *test* mode *clock_vm* does not ask the network. A VM of *vms* that qubesd does not know has that as its error.
    Raises InvalidValue, VMNotFound for the two others, else as :func:`clocksync.right_time` and
    :func:`running_vms`.
    """
    vms = _names(vms)
    for name, vm in (("clock_vm", clock_vm), ("network_vm", network_vm)):
        if vm is not None:
            vmnames.check_list([arguments.text(vm, name)], name)
    right = _right(qrexec, clock_vm, network_vm, test)
    others = [vm for vm in vms if vm != clock_vm]
    qubesd = Qubesd()
    return [_outcome(found, qubesd) for found in clocksync.set_all(qrexec, right, others, test=test, by_policy=True)]


def shown(found: Clock) -> str:
    """Return in words by how much the clock is wrong."""
    if found.drift is None:
        return "unknown"
    return f"{abs(found.drift):.1f} s {'ahead' if found.drift > 0 else 'behind'}"


def _names(vms: Sequence[str] | None) -> list[str]:
    if vms is None:
        return running_vms()
    if isinstance(vms, str) or not isinstance(vms, Sequence) or not all(isinstance(vm, str) for vm in vms):
        raise InvalidValue(f"{printable_value(vms, 40, quoted=True)} is not valid (expected a list of VM names)", "vms")
    return list(vms)


def _right(qrexec: Qrexec, clock_vm: str | None, network_vm: str | None, test: bool) -> clocksync.Time:
    if clock_vm is None:
        return clocksync.host_time()
    if test:
        return clocksync.read_time(qrexec, clock_vm)
    return clocksync.right_time(qrexec, clock_vm, network_vm=network_vm)


def _one(qrexec: Qrexec, right: clocksync.Time, vm: str, *, test: bool) -> Clock:
    (found,) = clocksync.set_all(qrexec, right, [vm], test=test)
    if found.error is not None:
        raise found.error
    return found


def _outcome(found: Clock, qubesd: Qubesd) -> Outcome:
    outcome = Outcome(found.vm)
    if found.left_out:
        outcome.left_out = f"dom0's policy denies {clock.GET} (qubes_rpc.clock_set sets the clock without it)"
    elif isinstance(found.error, VMNotRunning):
        outcome.running = False
        outcome.error = vmnames.unknown(found.vm, found.vm, qubesd)
    elif isinstance(found.error, VMInterfaceError):
        outcome.error = found.error
    elif found.set:
        outcome.changes = {"clock": Change(shown(found), "right")}
    return outcome
