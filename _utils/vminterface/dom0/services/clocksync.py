"""Bring the clocks of all running VMs to that of the one that asks the network: what ``qvm-sync-clock`` does.

The network is up → the clock VM is synchronised → its time is read, strictly → every VM is set, some at a time. A VM
that fails holds up nobody. Source: Qubes core-admin ``qvm-sync-clock`` of R2 to R4.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from vminterface.channel.qrexec import policy
from vminterface.channel.qrexec.client import Qrexec
from vminterface.dom0.services import clock, timesync, tools
from vminterface.errors import ServiceFailed, ServiceNotFound, VerificationFailed, VMInterfaceError
from vminterface.values import rpcname


class Time:
    """The right time: a moment, and how long ago on this machine's steady clock it was read."""

    def __init__(self, moment: datetime) -> None:
        self._moment, self._read_at = moment, time.monotonic()

    def now(self) -> datetime:
        """Return the right time now."""
        return self._moment + timedelta(seconds=time.monotonic() - self._read_at)


@dataclass(frozen=True, slots=True)
class Clock:
    """The result of one VM. *drift*: seconds by which its clock was ahead (negative: behind), None if unknown."""

    vm: str
    drift: float | None = None
    #: Whether its clock was set, or (in a look) would have to be.
    set: bool = False
    error: VMInterfaceError | None = None
    #: Whether dom0's policy keeps the time from it, so that it was not even asked for its own.
    left_out: bool = False


def right_time(qrexec: Qrexec, clock_vm: str, *, network_vm: str | None = None) -> Time:
    """Return the time of *clock_vm* after it has asked the network, for which *network_vm* is awaited first.

    A network that is down is not an error: the clock VM may have the time from elsewhere. Nor is a VM without
    ``qubes.SyncNtpClock`` (R4), which keeps its clock by itself.

    Raises RemoteProtocolError for an invalid time, else as :meth:`Qrexec.call`.
    """
    if network_vm is not None:
        with contextlib.suppress(ServiceFailed, ServiceNotFound):
            tools.wait_for_network(qrexec, network_vm)
    with contextlib.suppress(ServiceNotFound):
        timesync.sync_ntp_clock(qrexec, clock_vm)
    return read_time(qrexec, clock_vm)


def read_time(qrexec: Qrexec, clock_vm: str) -> Time:
    """Return the time of *clock_vm* as it is; changes nothing. Raises as :func:`right_time`."""
    try:
        return Time(clock.get_clock(qrexec, clock_vm))
    except ServiceNotFound:
        # R2 and R3 have no such service.
        return Time(tools.read_date(qrexec, clock_vm))


def host_time() -> Time:
    """Return dom0's own time, for hosts without a clock VM."""
    return Time(datetime.now(UTC))


def set_all(
    qrexec: Qrexec, right: Time, vms: Iterable[str], *, test: bool = False, by_policy: bool = False
) -> list[Clock]:
    """Set the clock of each of *vms* to the *right* time unless it is within the tolerance; with *test*, set none.

    *by_policy* leaves out those that dom0's policy does not let ask for the time (``qubes.GetDate``), as Whonix's are:
    a clock that is exact to the second could identify a VM. Returns the result of each, in their order. Raises
    InvalidValue for an invalid VM name, before anything runs.
    """
    vms = [rpcname.parse_target(vm) for vm in vms]

    def one(vm: str) -> Clock:
        try:
            if by_policy and policy.allows(vm, "@default", clock.GET, clock.NANOSECONDS) is False:
                return Clock(vm, left_out=True)
        except VMInterfaceError as error:
            return Clock(vm, error=error)
        return _set(qrexec, right, vm, test)

    with ThreadPoolExecutor(qrexec.parallel, thread_name_prefix="clock") as pool:
        return list(pool.map(one, vms))


def _set(qrexec: Qrexec, right: Time, vm: str, test: bool) -> Clock:
    drift: float | None = None
    try:
        drift = _drift(qrexec, right, vm)
        # A VM that does not report its time is given the right one; its handler leaves a small error alone.
        wrong = drift is None or abs(drift) > clock.TOLERANCE
        if wrong and not test:
            clock.set_clock(qrexec, vm, right.now())
            left = 0.0 if drift is None else _drift(qrexec, right, vm)
            # The service carries whole seconds.
            if left is None or abs(left) > clock.TOLERANCE + 1:
                raise VerificationFailed(f"{vm}: the clock is wrong after {clock.SET}")
        return Clock(vm, drift, wrong)
    except VMInterfaceError as error:
        return Clock(vm, drift, False, error)


def _drift(qrexec: Qrexec, right: Time, vm: str) -> float | None:
    """Return by how much the clock of *vm* is wrong for certain: when during the call it was looked at is not known."""
    asked = right.now()
    try:
        said = clock.get_clock(qrexec, vm)
    except ServiceNotFound:
        return None
    return (said - min(max(said, asked), right.now())).total_seconds()
