"""What VMs say of themselves: their memory and the devices that they offer, read from many VMs in a few batches.

All of it is untrusted. A bad entry is dropped with a warning, the good ones beside it are kept, and no VM can cost
another one its report: names, entries, warnings and time are bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vminterface.channel.store import KeyStore, List
from vminterface.deadline import Deadline
from vminterface.dom0 import arguments, groups
from vminterface.dom0.state import by_store
from vminterface.dom0.targets import Target, Targets
from vminterface.errors import InvalidValue, KeyNotFound, VMInterfaceError, printable
from vminterface.values import blockdevice, memory, usbdevice
from vminterface.values.blockdevice import BlockDevice
from vminterface.values.usbdevice import UsbDevice
from vminterface.values.vmname import refuse_dom0

#: The parts of a report.
MEMORY, BLOCK, USB = PARTS = ("memory", "block_devices", "usb_devices")
#: Entries of one list that are looked at, and warnings about one VM that are kept.
ENTRIES_MAX, WARNINGS_MAX = 500, 20
#: Keys that are asked for in one batch, and seconds after which no further one is begun for one store.
_BATCH, TIMEOUT = 4_000, 10.0
#: Characters of a warning.
_SHOWN = 200


@dataclass(frozen=True, slots=True)
class _Kind:
    """One list of devices."""

    part: str
    base: str
    keys: tuple[str, ...]
    parse_name: Callable[[str], str]
    parse: Callable[[str, Mapping[str, str]], Any]


_KINDS = (
    _Kind(
        BLOCK,
        "qubes-block-devices",
        blockdevice.REQUIRED + blockdevice.OPTIONAL,
        blockdevice.parse_name,
        BlockDevice.parse,
    ),
    _Kind(USB, "qubes-usb-devices", usbdevice.REQUIRED + usbdevice.OPTIONAL, usbdevice.parse_name, UsbDevice.parse),
)
_MEMORY_KEYS: Mapping[str, tuple[str, Callable[[str], int]]] = {
    "used_kb": ("memory/meminfo", memory.parse_report),
    "swap_used_kb": ("memory/swapinfo", memory.parse_kb),
    # Written by the toolstack, but R2's dom0 gave the VM the whole folder.
    "maximum_kb": ("memory/static-max", memory.parse_kb),
}


@dataclass(slots=True)
class Report:
    """What one VM says. Numbers are kB, None where it says nothing; *warnings* are single lines."""

    vm: str
    domid: int | None
    used_kb: int | None = None
    swap_used_kb: int | None = None
    maximum_kb: int | None = None
    block_devices: list[BlockDevice] = field(default_factory=list)
    usb_devices: list[UsbDevice] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    #: Warnings beyond those that are kept.
    more_warnings: int = 0
    #: Whether its QubesDB could not be read, so that its devices are not known.
    unread: bool = False

    def warn(self, text: str) -> None:
        """Keep one more warning, or count it."""
        if len(self.warnings) < WARNINGS_MAX:
            self.warnings.append(f"{self.vm}: {printable(text, _SHOWN)}")
        else:
            self.more_warnings += 1

    @property
    def used_share(self) -> float | None:
        """Used memory as a part of the most that the VM may have, 0.0 to 1.0; None where one of them is not known."""
        if self.used_kb is None or not self.maximum_kb:
            return None
        return min(1.0, self.used_kb / self.maximum_kb)


def read(targets: Targets, vms: Collection[str] | None = None, parts: Collection[str] = PARTS) -> dict[str, Report]:
    """Return the reports of *vms* (default: all that run) by name, sorted; of each the *parts* that are asked for.

    Raises InvalidValue for what is no name, VMNotRunning if one of *vms* does not run, and ConnectionLost or
    DeadlineExceeded if the XenStore cannot be read. A VM's own QubesDB that cannot be read is a warning of that VM.
    """
    vms = None if vms is None else [arguments.text(vm, "vm") for vm in vms]
    domids = targets.running()
    for vm in vms or ():
        refuse_dom0(vm)
        if vm not in domids:
            raise targets.not_running(vm)
    names = sorted(domids if vms is None else vms)
    reports = {vm: Report(vm, domids[vm]) for vm in names}
    if MEMORY in parts:
        _read_memory(targets, [report for report in reports.values() if report.domid is not None])
    kinds = [kind for kind in _KINDS if kind.part in parts]
    if kinds:
        for part in targets.waves(names):
            errors: dict[str, VMInterfaceError] = {}
            found = targets.of({vm: domids[vm] for vm in part}, errors)
            for vm, error in errors.items():
                reports[vm].unread = True
                reports[vm].warn(str(error).removeprefix(f"{vm}: ").removeprefix(f"{vm} "))
            groups.run(by_store(found.values()), lambda group: _speak(group, reports, kinds), _nothing)
        _check_owners(reports, domids)
    return reports


def _nothing(left: None) -> None:
    """There is nothing to wait for."""


def _read_memory(targets: Targets, reports: Sequence[Report]) -> None:
    # Memory is in the XenStore in every release.
    wanted = [(report, name) for report in reports for name in _MEMORY_KEYS]
    if not wanted:
        return
    paths = [f"/local/domain/{report.domid}/{_MEMORY_KEYS[name][0]}" for report, name in wanted]
    for (report, name), untrusted_value in zip(wanted, targets.xenstore.read_many(paths), strict=True):
        # dom0 makes the key empty; a domain that ended meanwhile has none.
        if not untrusted_value:
            continue
        key, parse = _MEMORY_KEYS[name]
        try:
            setattr(report, name, parse(_text(untrusted_value)))
        except InvalidValue as error:
            report.warn(f"{key}: {error}")


def _speak(group: Sequence[Target], reports: Mapping[str, Report], kinds: Sequence[_Kind]) -> None:
    """Read the lists of the VMs of one store."""
    try:
        _read_lists(group[0].store, group, reports, kinds)
    except VMInterfaceError as error:
        if group[0].store.channel == "xenstore":
            raise
        reports[group[0].vm].unread = True
        reports[group[0].vm].warn(f"its QubesDB cannot be read: {error}")


def _read_lists(
    store: KeyStore, group: Sequence[Target], reports: Mapping[str, Report], kinds: Sequence[_Kind]
) -> None:
    deadline = Deadline.after(TIMEOUT)
    lists = [(target, kind) for target in group for kind in kinds]
    listings = store.batch([List(target.path(kind.base)) for target, kind in lists])
    entries: list[tuple[Target, _Kind, str]] = []
    # Who says little comes first: if time runs out, it does for those who say too much.
    for (target, kind), listing in sorted(zip(lists, listings, strict=True), key=lambda pair: _size(pair[1])):
        if isinstance(listing, VMInterfaceError):
            if not isinstance(listing, KeyNotFound):
                reports[target.vm].warn(f"{kind.base}: {listing}")
            continue
        entries += [(target, kind, name) for name in _good_names(listing, kind, reports[target.vm])]
    hollow = []
    late: set[str] = set()
    for part in _portions(entries):
        if deadline.passed:
            late |= {target.vm for target, _, _ in part}
            continue
        paths = [target.path(f"{kind.base}/{name}/{key}") for target, kind, name in part for key in kind.keys]
        values = iter(store.read_many(paths))
        for target, kind, name in part:
            untrusted_keys = {key: _text(value) for key in kind.keys if (value := next(values)) is not None}
            if untrusted_keys:
                _take(reports[target.vm], kind, name, untrusted_keys)
            else:
                hollow.append((target, kind, name))
    _tell_hollow(store, hollow, reports)
    for vm in late:
        reports[vm].warn(f"not all of its devices could be read within {TIMEOUT:g} s")
    for report in (reports[target.vm] for target in group):
        report.block_devices.sort(key=lambda device: device.name)
        report.usb_devices.sort(key=lambda device: device.name)


def _size(listing: object) -> int:
    return len(listing) if isinstance(listing, list) else 0


def _good_names(untrusted_names: Sequence[str], kind: _Kind, report: Report) -> list[str]:
    """Return those that can be names of devices, no more than are looked at."""
    names = []
    for untrusted_name in untrusted_names:
        try:
            names.append(kind.parse_name(untrusted_name))
        except InvalidValue as error:
            report.warn(f"{kind.base}: {error}")
    if len(names) > ENTRIES_MAX:
        report.warn(f"{kind.base}: {len(names)} devices, of which the first {ENTRIES_MAX} by name are looked at")
        names = sorted(names)[:ENTRIES_MAX]
    return names


def _portions(entries: Sequence[tuple[Target, _Kind, str]]) -> Iterator[Sequence[tuple[Target, _Kind, str]]]:
    """Cut *entries* so that what a VM says is never held in memory as a whole before it is checked."""
    most = _BATCH // max(len(kind.keys) for kind in _KINDS)
    for start in range(0, len(entries), most):
        yield entries[start : start + most]


def _take(report: Report, kind: _Kind, name: str, untrusted_keys: Mapping[str, str]) -> None:
    try:
        getattr(report, kind.part).append(kind.parse(name, untrusted_keys))
    except InvalidValue as error:
        report.warn(str(error))


def _tell_hollow(store: KeyStore, hollow: Sequence[tuple[Target, _Kind, str]], reports: Mapping[str, Report]) -> None:
    """Warn of entries without any key, unless they went away while they were read."""
    lists = list({(target.vm, kind.part): (target, kind) for target, kind, _ in hollow}.values())
    if not lists:
        return
    listings = store.batch([List(target.path(kind.base)) for target, kind in lists])
    # A list that cannot be read twice tells nothing of what went away.
    now = {
        (target.vm, kind.part): frozenset(listing) if isinstance(listing, list) else None
        for (target, kind), listing in zip(lists, listings, strict=True)
    }
    for target, kind, name in hollow:
        names = now[target.vm, kind.part]
        if names is None or name in names:
            _take(reports[target.vm], kind, name, {})


def _check_owners(reports: Mapping[str, Report], running: Collection[str]) -> None:
    """A device is attached to a VM that runs, or its entry is wrong."""
    for report in reports.values():
        wrong = [device for device in report.usb_devices if device.connected_to and device.connected_to not in running]
        for device in wrong:
            report.warn(f"USB device {device.name}: connected-to: no running VM is called {device.connected_to}")
            report.usb_devices.remove(device)


def _text(untrusted_value: bytes) -> str:
    """Return a key's bytes as ASCII, what is none left out, as dom0's own readers do."""
    return untrusted_value.decode("ascii", "ignore")


def as_data(report: Report, parts: Collection[str] = PARTS) -> dict[str, Any]:
    """Return *report* as plain data: what was asked for, and ``warnings``."""
    data: dict[str, Any] = {"domid": report.domid}
    if MEMORY in parts:
        data[MEMORY] = {name: getattr(report, name) for name in _MEMORY_KEYS}
    if BLOCK in parts:
        data[BLOCK] = {
            device.name: {
                "desc": device.desc,
                "size": device.size,
                "mode": "r" if device.read_only else "w",
                "device": device.device,
                "parent": device.parent,
            }
            for device in report.block_devices
        }
    if USB in parts:
        data[USB] = {
            device.name: {
                "ids": device.ids,
                "description": device.description,
                "usb_version": device.usb_version,
                "interfaces": device.interfaces,
                "connected_to": device.connected_to,
            }
            for device in report.usb_devices
        }
    more = [f"{report.vm}: {report.more_warnings} more warnings"] if report.more_warnings else []
    return {**data, "warnings": report.warnings + more}
