"""Where a running VM's keys are: the store that holds them and the path that they start with.

Qubes R3 and R4 give each VM a QubesDB of its own, R2 and plain Xen have one XenStore for all. Where QubesDB is in use
on the host, a VM is met there and nowhere else, unless its settings name the channel: one that the XenStore knows and
that has no socket yet is starting, and one whose socket refuses has lost the daemon that it had in dom0.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType, TracebackType
from typing import Self

from vminterface.channel.descriptors import room
from vminterface.channel.qubesdb import QubesDB
from vminterface.channel.qubesdb_connection import find_socket, find_vms, in_use
from vminterface.channel.store import KeyStore
from vminterface.channel.xenstore import XenStore
from vminterface.deadline import Deadline
from vminterface.dom0.settings import VMSettings
from vminterface.errors import (
    ConnectionLost,
    Interrupted,
    InvalidValue,
    VMInterfaceError,
    VMNotRunning,
    VMStarting,
    printable_value,
)
from vminterface.values import rpcname
from vminterface.values.vmname import is_dom0, refuse_dom0

#: Seconds that the XenStore has for one batch of requests, however large.
STORE_TIMEOUT = 10.0
#: Seconds between two looks for the socket of a VM that starts.
_LOOK = 0.1

_NO_SETTINGS: Mapping[str, VMSettings] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Target:
    """One running VM. ``base`` ends with a slash."""

    vm: str
    #: None where its QubesDB alone was asked.
    domid: int | None
    store: KeyStore
    base: str

    def path(self, name: str) -> str:
        """Return the path of the key called *name* (``qubes-timezone``)."""
        return self.base + name


class Targets:
    """Finds running VMs; opens each store once, when it is first needed. Use it in a ``with`` block.

    *qubesdb_folder* is where QubesDB sockets are, if not where they usually are. A QubesDB has the VM's own
    ``timeout`` for each batch of requests: when its daemon hangs, that is a VM that hangs.
    """

    def __init__(
        self, open_xenstore: Callable[[], XenStore] | None = None, *, qubesdb_folder: str | None = None
    ) -> None:
        self._open_xenstore = open_xenstore or (lambda: XenStore.open(timeout=STORE_TIMEOUT))
        self._xenstore: XenStore | None = None
        self._folder = qubesdb_folder
        self._qubesdbs: dict[str, QubesDB] = {}
        self._asking = threading.Lock()

    def another(self) -> Targets:
        """Return one that finds the same VMs over connections of its own."""
        return Targets(self._open_xenstore, qubesdb_folder=self._folder)

    @property
    def xenstore(self) -> XenStore:
        """The host's XenStore. Raises ConnectionLost where there is none."""
        if self._xenstore is None:
            self._xenstore = self._open_xenstore()
        return self._xenstore

    def running(
        self, on_xenstore: Collection[str] = (), starting: dict[str, int] | None = None
    ) -> dict[str, int | None]:
        """Return the domids of the running VMs by name, dom0 left out; None for one that only QubesDB knows.

        Where QubesDB is in use, domains without a socket are left out, but for those of *on_xenstore*: they are no VMs,
        or are starting. *starting* gets the domids of these.
        """
        domids = self._domids(must=False)
        sockets = [vm for vm in find_vms(self._folder) if not is_dom0(vm)]
        if not in_use(self._folder):
            return {**domids}
        found: dict[str, int | None] = {vm: domids[vm] for vm in on_xenstore if vm in domids}
        for vm in sockets:
            if vm in domids or self._is_heard(vm):
                found[vm] = domids.get(vm)
        if starting is not None:
            starting.update({vm: domid for vm, domid in domids.items() if vm not in found})
        return found

    def starts(
        self, on_xenstore: Collection[str] = (), starting: dict[str, int] | None = None
    ) -> dict[str, tuple[int, ...]]:
        """Return the running VMs, as :meth:`running` does, each with what is another one after each of its starts."""
        found: dict[str, tuple[int, ...]] = {}
        for vm, domid in self.running(on_xenstore, starting).items():
            mark: tuple[int, ...] = () if domid is None else (domid,)
            if (path := self._socket(vm)) is not None:
                with suppress(OSError):
                    made = os.stat(path)
                    mark += (made.st_ino, made.st_ctime_ns)
            found[vm] = mark
        return found

    def find(
        self,
        vms: Iterable[str],
        settings: Mapping[str, VMSettings] = _NO_SETTINGS,
        errors: dict[str, VMInterfaceError] | None = None,
    ) -> dict[str, Target]:
        """Return a target for each of *vms* that is running; the others are left out.

        *settings* say, where there are some, on which channel and for how long each is asked. *errors* gets, by VM, why
        one that runs cannot be met: VMStarting, ConnectionLost.
        """
        wanted = {vm: settings.get(vm) or VMSettings(vm) for vm in vms}
        here = in_use(self._folder)
        on_qubesdb = {vm for vm, one in wanted.items() if one.channel == "qubesdb" or (one.channel == "auto" and here)}
        must = any(one.channel == "xenstore" for one in wanted.values())
        domids = self._domids(must=must) if wanted.keys() - on_qubesdb else None
        found: dict[str, Target] = {}
        for vm, one in wanted.items():
            if vm not in on_qubesdb:
                assert domids is not None
                if vm in domids:
                    found[vm] = Target(vm, domids[vm], self.xenstore, f"/local/domain/{domids[vm]}/")
                continue
            try:
                store = self._qubesdb(one)
            except ConnectionLost as lost:
                if errors is None:
                    raise
                errors[vm] = ConnectionLost(f"{vm}: {lost}")
                continue
            if store is not None:
                found[vm] = Target(vm, None, store, "/")
                continue
            domids = self._domids(must=False) if domids is None else domids
            if vm in domids and errors is not None:
                errors[vm] = self._unmet(vm)
        return found

    def of(
        self, running: Mapping[str, int | None], errors: dict[str, VMInterfaceError] | None = None
    ) -> dict[str, Target]:
        """Return the targets of VMs as :meth:`running` found them; *errors* as for :meth:`find`."""
        with_qubesdb = set(find_vms(self._folder))
        found: dict[str, Target] = {}
        for vm, domid in running.items():
            if vm not in with_qubesdb:
                found[vm] = Target(vm, domid, self.xenstore, f"/local/domain/{domid}/")
            elif (store := self._qubesdb(VMSettings(vm))) is not None:
                found[vm] = Target(vm, None, store, "/")
            elif errors is not None and domid is not None:
                errors[vm] = self._unmet(vm)
        return found

    def on_xenstore(self, running: Mapping[str, int | None]) -> dict[str, Target]:
        """Return those of :meth:`of` that are met in the XenStore."""
        with_qubesdb = set(find_vms(self._folder))
        return self.of({vm: domid for vm, domid in running.items() if vm not in with_qubesdb})

    def one(self, vm: str, channel: str = "auto", *, wait: bool = False) -> Target:
        """Return the target of *vm* on that channel; with *wait*, one that is starting is waited for as in a push.

        Raises VMNotRunning, VMStarting, ConnectionLost, InvalidValue for dom0.
        """
        refuse_dom0(vm)
        errors: dict[str, VMInterfaceError] = {}
        if isinstance(vm, str):
            settings = VMSettings(vm, channel=channel)
            found = self.find([vm], {vm: settings}, errors)
            if vm in found:
                return found[vm]
            if wait and isinstance(errors.get(vm), VMStarting):
                return self.wait_for(settings, threading.Event(), Deadline.after(settings.timeout))
            if vm in errors:
                raise errors[vm]
        raise VMNotRunning(f"{printable_value(vm)}: no running VM has this name")

    def not_running(self, vm: str) -> VMInterfaceError:
        """Return why *vm* is not among those that run."""
        errors: dict[str, VMInterfaceError] = {}
        self.find([vm], errors=errors)
        return errors.get(vm) or VMNotRunning(f"{printable_value(vm)}: no running VM has this name")

    def wait_for(self, settings: VMSettings, stop: threading.Event, deadline: Deadline) -> Target:
        """Return the target of a VM that is starting, once it has its QubesDB. Raises VMStarting, Interrupted."""
        while (store := self._qubesdb(settings)) is None:
            if stop.wait(min(_LOOK, deadline.remaining)):
                raise Interrupted(f"{settings.vm}: interrupted before anything was written")
            if deadline.passed:
                raise VMStarting(f"{self._unmet(settings.vm)} within {deadline.seconds:g} s")
        return Target(settings.vm, None, store, "/")

    def _unmet(self, vm: str) -> VMInterfaceError:
        """Return why the QubesDB of a VM that the XenStore knows cannot be met."""
        path = self._socket(vm)
        if path is None:
            return VMStarting(f"{vm} is starting: it has got no QubesDB yet")
        return ConnectionLost(
            f"{vm} runs, but its QubesDB in dom0 is dead: {path} refuses connections (a restart of {vm} starts it anew)"
        )

    def _is_heard(self, vm: str) -> bool:
        """Whether somebody listens at the socket of *vm*: a VM that was killed leaves its socket behind."""
        known = vm in self._qubesdbs
        heard = self._qubesdb(VMSettings(vm)) is not None
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
        """Return *target* with a connection that works: a QubesDB that hung up may have a new one."""
        store = self._qubesdb(VMSettings(target.vm, timeout=target.store.timeout)) if target.base == "/" else None
        return target if store is None else Target(target.vm, target.domid, store, target.base)

    def _domids(self, *, must: bool) -> dict[str, int]:
        """Return what the XenStore knows. A host of QubesDBs may do without one, unless it *must* be there."""
        with self._asking:
            try:
                store = self.xenstore
            except ConnectionLost:
                if must or not find_vms(self._folder):
                    raise
                return {}
            return {vm: domid for vm, domid in store.domains().items() if not is_dom0(vm)}

    def _socket(self, vm: str) -> str | None:
        if is_dom0(vm):
            return None  # the host's own
        try:
            return find_socket(vm, self._folder)
        except InvalidValue:
            # A domain may have names that no VM of Qubes can have.
            return None

    def _qubesdb(self, settings: VMSettings) -> QubesDB | None:
        """Return the QubesDB of a VM, None where nobody listens: a VM that was killed leaves its socket behind."""
        store = self._qubesdbs.get(settings.vm)
        if store is not None and store.closed:
            store.close()
            store = None
        if store is None:
            path = self._socket(settings.vm)
            try:
                store = None if path is None else QubesDB(path, settings.timeout)
            except ConnectionLost as lost:
                if not isinstance(lost.__cause__, ConnectionRefusedError | FileNotFoundError):
                    raise
            if store is None:
                self._qubesdbs.pop(settings.vm, None)
                return None
            self._qubesdbs[settings.vm] = store
        store.timeout = settings.timeout
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


def running_vms() -> list[str]:
    """Return the names of the running VMs, those left out that no call can carry, in their order.

    Raises as :meth:`Targets.running`.
    """
    with Targets() as targets:
        return sorted(vm for vm in targets.running() if rpcname.is_target(vm))
