"""Where a running VM's keys are: the store that holds them and the path that they start with.

Qubes R3 and R4 give each VM a QubesDB of its own, R2 and plain Xen have one XenStore for all. Where QubesDB is in use
on the host, a VM is met there and nowhere else, unless its settings name the channel: one that the XenStore knows and
that has no socket yet is starting, and one whose socket refuses has lost the daemon that it had in dom0.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from types import MappingProxyType, TracebackType
from typing import Final, Protocol, Self

from vminterface import runtime
from vminterface.channel.descriptors import room
from vminterface.channel.qubesdb.sockets import Sockets
from vminterface.channel.store import HostStore, KeyStore, VMStore
from vminterface.channel.xenstore.store import XenStore
from vminterface.deadline import Deadline
from vminterface.dom0.inventory.qubesd import Qubesd
from vminterface.errors import (
    ConnectionLost,
    DeadlineExceeded,
    Interrupted,
    InvalidValue,
    VMInterfaceError,
    VMNotRunning,
    VMStarting,
    printable_value,
)
from vminterface.value import Value
from vminterface.values import rpcname
from vminterface.values.vmname import is_dom0, refuse_dom0

#: Seconds that the XenStore has for one batch of requests, however large.
STORE_TIMEOUT = 10.0
#: Seconds between two checks for the socket of a VM that starts.
_PROBE = 0.1

#: Seconds that a VM's own QubesDB has for one batch of requests.
VM_TIMEOUT = 5.0


class Access(Protocol):
    """How one VM is met; a VM's settings are one, too."""

    @property
    def channel(self) -> str:
        """``xenstore``, ``qubesdb``, or ``auto`` for what the host has."""

    @property
    def timeout(self) -> float:
        """Seconds that its own QubesDB has for each batch of requests."""


_NO_ACCESS: Mapping[str, Access] = MappingProxyType({})


class Target(Value):
    """One running VM. ``base`` ends with a slash."""

    __slots__ = ("base", "domid", "store", "vm")

    def __init__(self, vm: str, domid: int | None, store: KeyStore, base: str) -> None:
        self.vm: Final = vm
        #: None where its QubesDB alone was asked.
        self.domid: Final = domid
        self.store: Final = store
        self.base: Final = base

    def path(self, name: str) -> str:
        """Return the path of the key called *name* (``qubes-timezone``)."""
        return self.base + name


class Targets:
    """Finds running VMs; opens each store once, when it is first needed. Use it in a ``with`` block.

    *qubesdb_folder* is where QubesDB sockets are, if not where they usually are; *sockets* stands for all of them. A
    QubesDB has the VM's own ``timeout`` for each batch of requests: when its daemon hangs, that is a VM that hangs.
    *deadline* limits how long finding VMs may take, whatever the stores do. *open_qubesd* opens the connection to
    qubesd.
    """

    def __init__(
        self,
        open_xenstore: Callable[[], HostStore] | None = None,
        *,
        qubesdb_folder: str | None = None,
        sockets: Sockets | None = None,
        deadline: Deadline | None = None,
        open_qubesd: Callable[[], Qubesd] = Qubesd,
    ) -> None:
        self._open_xenstore = open_xenstore
        self._deadline = deadline
        self._xenstore: HostStore | None = None
        self._sockets = sockets or Sockets(qubesdb_folder)
        self._qubesdbs: dict[str, VMStore] = {}
        self._asking = runtime.lock()
        #: Whether the host has a XenStore that could not be reached when it was last asked.
        self._silent = False
        #: A new one for each run.
        self.qubesd = open_qubesd

    @classmethod
    def patient_for(cls, accesses: Iterable[Access]) -> Targets:
        """Return one whose XenStore has, for each batch, no more time than the VM of *accesses* that has the most."""
        longest = min(STORE_TIMEOUT, max((one.timeout for one in accesses), default=STORE_TIMEOUT))
        return cls(lambda: XenStore.open(timeout=longest))

    def _within(self, seconds: float) -> float:
        """Return how many seconds what may take *seconds* has left. Raises DeadlineExceeded."""
        return seconds if self._deadline is None else min(seconds, self._deadline.check("the key store"))

    def another(self) -> Targets:
        """Return one that finds the same VMs over connections of its own."""
        return Targets(self._open_xenstore, sockets=self._sockets, deadline=self._deadline, open_qubesd=self.qubesd)

    @property
    def xenstore(self) -> HostStore:
        """The host's XenStore. Raises ConnectionLost where there is none."""
        if self._xenstore is None:
            self._xenstore = self._connect()
        return self._xenstore

    def _connect(self) -> HostStore:
        # A default that is kept here would refer back to this object, so that it and its store stay until Python looks
        # for what refers to itself; and a watcher makes one each second.
        if self._open_xenstore is None:
            return XenStore.open(timeout=self._within(STORE_TIMEOUT))
        return self._open_xenstore()

    def running(
        self, on_xenstore: Collection[str] = (), starting: dict[str, int] | None = None
    ) -> dict[str, int | None]:
        """Return the domids of the running VMs by name, dom0 left out; None for one that only QubesDB knows.

        Where QubesDB is in use, domains without a socket are left out, except those of *on_xenstore*: they are not VMs,
        or are starting. *starting* gets the domids of these.
        """
        domids = self._domids(must=False)
        sockets = [vm for vm in self._sockets.vms() if not is_dom0(vm)]
        if not self._sockets.in_use():
            return {**domids}
        found: dict[str, int | None] = {vm: domids[vm] for vm in on_xenstore if vm in domids}
        for vm in sockets:
            if vm in domids or self._is_heard(vm):
                found[vm] = domids.get(vm)
        if starting is not None:
            starting.update({vm: domid for vm, domid in domids.items() if vm not in found})
        return found

    def unspoken(self) -> list[bytes]:
        """Return the names of running domains that are empty or not printable ASCII; :meth:`running` has none of them.

        Where QubesDB is in use there are none: a VM is known by its socket there.
        """
        names: list[bytes] = []
        if not self._sockets.in_use():
            self.xenstore.domains(timeout=self._within(self.xenstore.timeout), unspoken=names)
        return names

    def starts(
        self, on_xenstore: Collection[str] = (), starting: dict[str, int] | None = None
    ) -> dict[str, tuple[int, ...]]:
        """Return the running VMs, as :meth:`running` does, each with what is another one after each of its starts."""
        found: dict[str, tuple[int, ...]] = {}
        for vm, domid in self.running(on_xenstore, starting).items():
            found[vm] = () if domid is None else (domid,)
            # A start has a socket of its own; the domid is not known while the XenStore cannot be reached.
            if (path := self._socket(vm)) is not None:
                with suppress(OSError):
                    found[vm] = self._sockets.mark(path)
        return found

    def find(
        self,
        vms: Iterable[str],
        errors: dict[str, VMInterfaceError] | None = None,
        *,
        channel: str = "auto",
        timeout: float | None = None,
        access: Mapping[str, Access] = _NO_ACCESS,
    ) -> dict[str, Target]:
        """Return a target for each of *vms* that is running; the others are left out.

        Each is asked on *channel* with *timeout* (default: VM_TIMEOUT), one of *access* as given there. *errors* gets,
        by VM, why one that runs cannot be met: VMStarting, ConnectionLost.
        """
        desired = {vm: access[vm].channel if vm in access else channel for vm in vms}
        here = self._sockets.in_use()
        on_qubesdb = {vm for vm, name in desired.items() if name == "qubesdb" or (name == "auto" and here)}
        domids = self._domids(must="xenstore" in desired.values()) if desired.keys() - on_qubesdb else None
        found: dict[str, Target] = {}
        for vm in desired:
            if vm not in on_qubesdb:
                assert domids is not None
                if vm in domids:
                    found[vm] = Target(vm, domids[vm], self.xenstore, f"/local/domain/{domids[vm]}/")
                continue
            try:
                store = self._qubesdb(vm, access[vm].timeout if vm in access else timeout)
            except ConnectionLost as lost:
                if errors is None:
                    raise
                errors[vm] = ConnectionLost(f"{vm}: {lost}")
                continue
            if store is not None:
                found[vm] = Target(vm, None, store, "/")
                continue
            domids = self._domids(must=False) if domids is None else domids
            if errors is None:
                continue
            if vm in domids:
                errors[vm] = self._unmet(vm)
            elif self._silent:
                path, why = self._socket(vm), "and the XenStore, which knows whether it runs, cannot be reached"
                seen = "it has no QubesDB" if path is None else f"{path} refuses connections"
                errors[vm] = ConnectionLost(f"{vm}: {seen}, {why}")
        return found

    def of(
        self, running: Mapping[str, int | None], errors: dict[str, VMInterfaceError] | None = None
    ) -> dict[str, Target]:
        """Return the targets of VMs as :meth:`running` returned them; *errors* as for :meth:`find`."""
        with_qubesdb = set(self._sockets.vms())
        found: dict[str, Target] = {}
        for vm, domid in running.items():
            if vm not in with_qubesdb:
                found[vm] = Target(vm, domid, self.xenstore, f"/local/domain/{domid}/")
            elif (store := self._qubesdb(vm)) is not None:
                found[vm] = Target(vm, None, store, "/")
            elif errors is not None and domid is not None:
                errors[vm] = self._unmet(vm)
        return found

    def on_xenstore(self, running: Mapping[str, int | None]) -> dict[str, Target]:
        """Return those of :meth:`of` that are met in the XenStore."""
        with_qubesdb = set(self._sockets.vms())
        return self.of({vm: domid for vm, domid in running.items() if vm not in with_qubesdb})

    def one(self, vm: str, channel: str = "auto", *, wait: bool = False) -> Target:
        """Return the target of *vm* on that channel; with *wait*, one that is starting is waited for as in a push.

        Raises VMNotRunning, VMNotFound where qubesd does not know the VM, VMStarting, ConnectionLost, InvalidValue for
        dom0.
        """
        refuse_dom0(vm)
        errors: dict[str, VMInterfaceError] = {}
        if isinstance(vm, str):
            found = self.find([vm], errors, channel=channel)
            if vm in found:
                return found[vm]
            if wait and isinstance(errors.get(vm), VMStarting):
                return self.wait_for(vm, runtime.event(), self._deadline or Deadline.after(VM_TIMEOUT))
            if vm in errors:
                raise errors[vm]
        raise _none(vm, self.qubesd())

    def not_running(self, vm: str) -> VMInterfaceError:
        """Return why *vm* is not among those that run."""
        errors: dict[str, VMInterfaceError] = {}
        self.find([vm], errors)
        return errors.get(vm) or _none(vm, self.qubesd())

    def wait_for(self, vm: str, stop: threading.Event, deadline: Deadline, *, timeout: float | None = None) -> Target:
        """Return the target of a VM that is starting, once it has its QubesDB. Raises VMStarting, Interrupted."""
        while (store := self._qubesdb(vm, timeout)) is None:
            if stop.wait(min(_PROBE, deadline.remaining)):
                raise Interrupted(f"{vm}: interrupted before anything was written")
            if deadline.passed:
                raise VMStarting(f"{self._unmet(vm)} (waited for {deadline.seconds:g} s)")
        return Target(vm, None, store, "/")

    def _unmet(self, vm: str) -> VMInterfaceError:
        """Return why the QubesDB of a VM that the XenStore knows cannot be met."""
        path = self._socket(vm)
        if path is None:
            if not self._sockets.in_use():
                return VMStarting(f"{vm} does not have a QubesDB, nor has this host any (expected channel: auto)")
            return VMStarting(f"{vm} is starting: it does not have a QubesDB yet")
        return ConnectionLost(
            f"{vm} runs, but its QubesDB in dom0 is dead: {path} refuses connections (restart {vm} to start it again)"
        )

    def _is_heard(self, vm: str) -> bool:
        """Whether somebody listens at the socket of *vm*: a VM that was killed leaves its socket behind."""
        known = vm in self._qubesdbs
        heard = self._qubesdb(vm) is not None
        if heard and not known:
            self._qubesdbs.pop(vm).close()
        return heard

    def waves(self, vms: Iterable[str], cost: int = 1) -> Iterator[list[str]]:
        """Yield *vms* in parts whose QubesDBs this process has descriptors for, each of them *cost* at most.

        After each part but the last the connections to QubesDBs are closed.
        """
        left = list(vms)
        while left:
            count = max(1, (room() + len(self._qubesdbs)) // cost)
            part, left = left[:count], left[count:]
            yield part
            if left:
                self._close_qubesdbs()

    def _close_qubesdbs(self) -> None:
        while self._qubesdbs:
            self._qubesdbs.popitem()[1].close()

    def again(self, target: Target) -> Target:
        """Return *target* with a connection that works, if a store that hung up serves a new one."""
        store: KeyStore | None
        store = self._qubesdb(target.vm, target.store.timeout) if target.base == "/" else self._xenstore_again()
        return target if store is None else Target(target.vm, target.domid, store, target.base)

    def _xenstore_again(self) -> HostStore | None:
        """Return the XenStore, over a new connection where the former has ended; None where there is none."""
        with self._asking:
            if self._xenstore is not None and self._xenstore.closed:
                try:
                    former, self._xenstore = self._xenstore, self._connect()
                except (ConnectionLost, DeadlineExceeded):
                    return None
                former.close()
            return self._xenstore

    def _domids(self, *, must: bool) -> dict[str, int]:
        """Return what the XenStore knows. A host of QubesDBs may do without one, unless it *must* be there."""
        with self._asking:
            try:
                store = self.xenstore
            except ConnectionLost as lost:
                self._silent = not isinstance(lost.__cause__, FileNotFoundError)
                if must or not self._sockets.vms():
                    raise
                return {}
            self._silent = False
            domids = store.domains(timeout=self._within(store.timeout))
            return {vm: domid for vm, domid in domids.items() if not is_dom0(vm)}

    def _socket(self, vm: str) -> str | None:
        if is_dom0(vm):
            return None  # the host's own
        try:
            return self._sockets.find(vm)
        except InvalidValue:
            # A domain may have names that no VM of Qubes can have.
            return None

    def _qubesdb(self, vm: str, timeout: float | None = None) -> VMStore | None:
        """Return the QubesDB of a VM, None where nobody listens: a VM that was killed leaves its socket behind."""
        seconds = self._within(VM_TIMEOUT if timeout is None else timeout)
        store = self._qubesdbs.get(vm)
        if store is not None and store.closed:
            store.close()
            store = None
        if store is None:
            path = self._socket(vm)
            try:
                store = None if path is None else self._sockets.open(path, seconds)
            except ConnectionLost as lost:
                if not isinstance(lost.__cause__, ConnectionRefusedError | FileNotFoundError):
                    raise
            if store is None:
                self._qubesdbs.pop(vm, None)
                return None
            self._qubesdbs[vm] = store
        store.timeout = seconds
        return store

    def close(self) -> None:
        """Close the stores that were opened."""
        self._close_qubesdbs()
        if self._xenstore is not None:
            self._xenstore.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def _none(vm: str, qubesd: Qubesd) -> VMInterfaceError:
    """Return the error for a VM that no store knows: VMNotFound where qubesd does not know it either."""
    from vminterface.dom0.inventory import vmnames  # here, as most VMs that are named run

    name = printable_value(vm)
    return vmnames.unknown(vm, name, qubesd) or VMNotRunning(f"{name}: there is no running VM with this name")


def running_vms() -> list[str]:
    """Return the names of the running VMs, those left out that no call can carry, in their order.

    Raises as :meth:`Targets.running`.
    """
    with Targets() as targets:
        return sorted(vm for vm in targets.running() if rpcname.is_target(vm))
