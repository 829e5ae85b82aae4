"""Keeps one list of devices in the store as this machine has them: sub-keys first, then the base key, whose change
is what dom0 waits for (vm-interface document, ``qubes-block-devices`` and ``qubes-usb-devices``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType

from vminterface.channel.store import KeyStore, List, Read, Remove, Write
from vminterface.errors import KeyNotFound, PermissionDenied, QuotaExceeded, VMInterfaceError
from vminterface.stop import Stop
from vminterface.vm.machine.files import Files
from vminterface.vm.report.uevents import Uevents

#: Where the backends of this VM's own block devices are: which devices others have.
_BACKENDS = "backend/vbd"
#: Seconds to a new attempt where the store did not take the list.
REFUSED = 5.0
#: Keys of an entry that are compared and removed when they are no longer reported.
_SUB_KEYS = ("desc", "size", "mode", "device", "parent", "usb-ver", "interfaces")

Entries = Mapping[str, Mapping[str, str]]


class DeviceReport:
    """One list: *kind* is the module that reads the devices (``blockdevices``, ``usbdevices``)."""

    def __init__(self, machine: Files, kind: ModuleType) -> None:
        self._machine = machine
        self._kind = kind
        self._held: dict[str, dict[str, str]] | None = None

    def serve(self, store: KeyStore, xenstore: KeyStore | None, stop: Stop, log: Callable[[str], None]) -> None:
        """Keep the list up to date until *stop* is set. Raises ConnectionLost and its like.

        *xenstore* shows which block devices other VMs have.
        """
        told = ""
        self._held = None
        blocks = self._kind.SUBSYSTEM == "block"
        with Uevents(self._machine, self._kind.SUBSYSTEM, mounts=blocks) as events:
            while not stop.is_set():
                pause, reason = events.interval, ""
                theirs = attached(xenstore) if blocks and xenstore is not None else frozenset()
                try:
                    self.publish(store, self._kind.read(self._machine, theirs))
                except (PermissionDenied, KeyNotFound, QuotaExceeded) as error:
                    pause, reason = REFUSED, f"{self._kind.BASE}: not reported: {error}"
                    self._held = None
                if reason and reason != told:
                    log(reason)
                told = reason
                events.wait(pause, stop)

    def publish(self, store: KeyStore, entries: Entries) -> bool:
        """Write *entries* as the list and return whether that changed anything. Raises the store's errors."""
        base = store.home + self._kind.BASE
        held = self._held
        if held is None:
            try:
                held = _read(store, base)
            except KeyNotFound:
                # QubesDB lets every VM make the list; in the XenStore it is dom0's to make.
                if not store.per_vm and entries:
                    raise
                held = {}
        operations: list[Write | Remove] = [Remove(f"{base}/{name}") for name in sorted(held) if name not in entries]
        for name, keys in entries.items():
            former = held.get(name, {})
            operations += [Remove(f"{base}/{name}/{key}") for key in former if key not in keys]
            if former != dict(keys):
                operations += [Write(f"{base}/{name}/{key}", text.encode()) for key, text in keys.items()]
        self._held = {name: dict(keys) for name, keys in entries.items()}
        if not operations:
            return False
        for operation, outcome in zip(operations, store.batch(operations), strict=True):
            if isinstance(outcome, KeyNotFound) and isinstance(operation, Remove):
                continue
            if isinstance(outcome, VMInterfaceError):
                raise outcome
        store.write(base, b"")
        return True


def attached(xenstore: KeyStore) -> frozenset[str]:
    """Return the numbers (``8:1``) of block devices of this VM that other VMs have, from its backends' nodes."""
    domains = _listing(xenstore, [_BACKENDS])
    backends = _listing(xenstore, domains)
    numbers = set()
    for value in xenstore.batch([Read(f"{path}/physical-device") for path in backends]):
        # Hexadecimal, as Xen's block script writes it.
        major, colon, minor = value.decode("ascii", "replace").partition(":") if isinstance(value, bytes) else ("",) * 3
        try:
            numbers.add(f"{int(major, 16)}:{int(minor, 16)}" if colon else "")
        except ValueError:
            continue
    return frozenset(numbers - {""})


def _listing(store: KeyStore, folders: list[str]) -> list[str]:
    """Return the paths of what is directly below *folders*; a folder that is missing or hidden has nothing."""
    outcomes = store.batch([List(folder) for folder in folders])
    return [
        f"{folder}/{name}"
        for folder, names in zip(folders, outcomes, strict=True)
        if not isinstance(names, VMInterfaceError)
        for name in names
    ]


def _read(store: KeyStore, base: str) -> dict[str, dict[str, str]]:
    """Return what the store holds of the list, left there by an earlier run."""
    names = store.list(base)
    desired = [(name, key) for name in names for key in _SUB_KEYS]
    held: dict[str, dict[str, str]] = {name: {} for name in names}
    for (name, key), value in zip(
        desired, store.read_many([f"{base}/{name}/{key}" for name, key in desired]), strict=True
    ):
        if value is not None:
            held[name][key] = value.decode("ascii", "replace")
    return held
