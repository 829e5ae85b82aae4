"""Where a running VM's keys are: the store that holds them and the path that they start with.

Qubes R3 and R4 give each VM a QubesDB of its own, R2 and plain Xen have one XenStore for all. A VM that has a QubesDB
socket here is met there, any other in the XenStore, unless its settings name the channel.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType, TracebackType
from typing import Self

from vminterface.channel.qubesdb import QubesDB
from vminterface.channel.qubesdb_connection import find_socket, find_vms
from vminterface.channel.store import KeyStore
from vminterface.channel.xenstore import XenStore
from vminterface.dom0.settings import VMSettings
from vminterface.errors import ConnectionLost, InvalidValue, VMNotRunning, printable_value
from vminterface.values import rpcname
from vminterface.values.vmname import is_dom0, refuse_dom0

#: Seconds that the XenStore has for one batch of requests, however large.
STORE_TIMEOUT = 10.0

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

    def another(self) -> Targets:
        """Return one that finds the same VMs over connections of its own."""
        return Targets(self._open_xenstore, qubesdb_folder=self._folder)

    @property
    def xenstore(self) -> XenStore:
        """The host's XenStore. Raises ConnectionLost where there is none."""
        if self._xenstore is None:
            self._xenstore = self._open_xenstore()
        return self._xenstore

    def running(self) -> dict[str, int | None]:
        """Return the domids of the running VMs by name, dom0 left out; None for one that only QubesDB knows."""
        found: dict[str, int | None] = {**self._domids(must=False)}
        for vm in find_vms(self._folder):
            if is_dom0(vm):
                continue
            if self._qubesdb(VMSettings(vm)) is None:
                found.pop(vm, None)
            else:
                found.setdefault(vm, None)
        return found

    def starts(self) -> dict[str, tuple[int, ...]]:
        """Return the running VMs by name, each with what is another one after each of its starts."""
        found: dict[str, tuple[int, ...]] = {}
        for vm, domid in self.running().items():
            mark: tuple[int, ...] = () if domid is None else (domid,)
            if (path := self._socket(vm)) is not None:
                with suppress(OSError):
                    made = os.stat(path)
                    mark += (made.st_ino, made.st_ctime_ns)
            found[vm] = mark
        return found

    def find(self, vms: Iterable[str], settings: Mapping[str, VMSettings] = _NO_SETTINGS) -> dict[str, Target]:
        """Return a target for each of *vms* that is running; the others are left out.

        *settings* say, where there are some, on which channel and for how long each is asked.
        """
        wanted = {vm: settings.get(vm) or VMSettings(vm) for vm in vms}
        on_qubesdb = {
            vm for vm, one in wanted.items()
            if one.channel == "qubesdb" or (one.channel == "auto" and self._socket(vm) is not None)
        }  # fmt: skip
        on_xenstore = wanted.keys() - on_qubesdb
        must = any(wanted[vm].channel == "xenstore" for vm in on_xenstore)
        domids = self._domids(must=must) if on_xenstore else {}
        found: dict[str, Target] = {}
        for vm, one in wanted.items():
            if vm in on_xenstore:
                if vm in domids:
                    found[vm] = Target(vm, domids[vm], self.xenstore, f"/local/domain/{domids[vm]}/")
            elif (store := self._qubesdb(one)) is not None:
                found[vm] = Target(vm, None, store, "/")
        return found

    def of(self, running: Mapping[str, int | None]) -> dict[str, Target]:
        """Return the targets of VMs as :meth:`running` found them, without asking the XenStore once more."""
        with_qubesdb = set(find_vms(self._folder))
        found: dict[str, Target] = {}
        for vm, domid in running.items():
            if vm not in with_qubesdb:
                found[vm] = Target(vm, domid, self.xenstore, f"/local/domain/{domid}/")
            elif (store := self._qubesdb(VMSettings(vm))) is not None:
                found[vm] = Target(vm, None, store, "/")
        return found

    def one(self, vm: str, channel: str = "auto") -> Target:
        """Return the target of *vm* on that channel. Raises VMNotRunning, InvalidValue for dom0."""
        refuse_dom0(vm)
        target = self.find([vm], {vm: VMSettings(vm, channel=channel)}).get(vm) if isinstance(vm, str) else None
        if target is None:
            raise VMNotRunning(f"{printable_value(vm)}: no running VM has this name")
        return target

    def again(self, target: Target) -> Target:
        """Return *target* with a connection that works: a QubesDB that hung up may have a new one."""
        store = self._qubesdb(VMSettings(target.vm, timeout=target.store.timeout)) if target.base == "/" else None
        return target if store is None else Target(target.vm, target.domid, store, target.base)

    def _domids(self, *, must: bool) -> dict[str, int]:
        """Return what the XenStore knows. A host of QubesDBs may do without one, unless it *must* be there."""
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
        for store in (self._xenstore, *self._qubesdbs.values()):
            if store is not None:
                store.close()

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
