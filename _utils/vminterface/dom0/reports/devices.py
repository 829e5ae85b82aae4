"""The reports of VMs: their memory and the devices that they offer, read from many VMs in a few batches.

All of it is untrusted. As in R4's qubesd a device with a valid name is listed whatever its other keys hold: for what
is missing or malformed a value is assumed, with a warning. No VM can cost another one its report: names, entries,
warnings and time are bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vminterface.channel.store import KeyStore, List
from vminterface.deadline import Deadline
from vminterface.dom0.desired import arguments
from vminterface.dom0.inventory import groups
from vminterface.dom0.inventory.observed import by_store
from vminterface.dom0.inventory.targets import Target, Targets
from vminterface.errors import InvalidValue, KeyNotFound, VMInterfaceError, printable
from vminterface.values import blockdevice, deviceid, memory, usbdevice
from vminterface.values.blockdevice import BlockDevice
from vminterface.values.usbdevice import UsbDevice
from vminterface.values.vmname import refuse_dom0

#: The parts of a report.
MEMORY, BLOCK, USB = PARTS = ("memory", "block_devices", "usb_devices")
#: Entries of one list that are read, and warnings about one VM that are kept.
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
    noun: str
    keys: tuple[str, ...]
    parse_name: Callable[[str], str]
    parse: Callable[[str, Mapping[str, str]], Any]


_KINDS = (
    _Kind(BLOCK, "qubes-block-devices", "block device", blockdevice.KEYS, blockdevice.parse_name, BlockDevice.parse),
    _Kind(USB, "qubes-usb-devices", "USB device", usbdevice.KEYS, usbdevice.parse_name, UsbDevice.parse),
)
#: The fields of a report about memory, their keys and parsers; of two keys for one field the first with a value counts.
_MEMORY_KEYS: tuple[tuple[str, str, Callable[[str], int]], ...] = (
    ("used_kb", "memory/meminfo", memory.parse_report),
    ("swap_used_kb", "memory/swapinfo", memory.parse_kb),
    # Written by the toolstack and qubesd, but R2's dom0 gave the VM the whole folder. Where memory is plugged in as it
    # is needed, static-max is no more than what the VM may have now (core-admin qmemman/systemstate.py).
    ("maximum_kb", "memory/hotplug-max", memory.parse_kb),
    ("maximum_kb", "memory/static-max", memory.parse_kb),
)
_MEMORY_FIELDS = tuple(dict.fromkeys(name for name, _, _ in _MEMORY_KEYS))


@dataclass(slots=True)
class Report:
    """The report of one VM. Numbers are kB, None where it is missing; *warnings* are single lines."""

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

    Raises InvalidValue for an invalid name, VMNotRunning if one of *vms* does not run, and ConnectionLost or
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
    # A partition of a stick is called after the stick, so that the USB devices are read for the block devices too.
    kinds = [kind for kind in _KINDS if kind.part in parts or (kind.part == USB and BLOCK in parts)]
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
    desired = [(report, name, key, parse) for report in reports for name, key, parse in _MEMORY_KEYS]
    if not desired:
        return
    paths = [f"/local/domain/{report.domid}/{key}" for report, _, key, _ in desired]
    for (report, name, key, parse), untrusted_value in zip(desired, targets.xenstore.read_many(paths), strict=True):
        # dom0 makes the key empty; a domain that ended meanwhile has none.
        if not untrusted_value or getattr(report, name) is not None:
            continue
        try:
            setattr(report, name, parse(untrusted_value.decode("ascii", "ignore")))
        except InvalidValue as error:
            report.warn(f"{key}: {error}")


def _speak(group: Sequence[Target], reports: Mapping[str, Report], kinds: Sequence[_Kind]) -> None:
    """Read the lists of the VMs of one store."""
    try:
        _read_lists(group[0].store, group, reports, kinds)
    except VMInterfaceError as error:
        if not group[0].store.per_vm:
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
    _take_hollow(store, hollow, reports, deadline)
    for vm in late:
        reports[vm].warn(f"not all of its devices could be read within {TIMEOUT:g} s")
    for report in (reports[target.vm] for target in group):
        report.block_devices.sort(key=lambda device: device.name)
        report.usb_devices.sort(key=lambda device: device.name)


def _size(listing: object) -> int:
    return len(listing) if isinstance(listing, list) else 0


def _good_names(untrusted_names: Sequence[str], kind: _Kind, report: Report) -> list[str]:
    """Return those that can be names of devices, no more than are read."""
    names = []
    for untrusted_name in untrusted_names:
        try:
            names.append(kind.parse_name(untrusted_name))
        except InvalidValue as error:
            report.warn(f"{kind.base}: {error}")
    if len(names) > ENTRIES_MAX:
        report.warn(f"{kind.base}: {len(names)} devices, of which only the first {ENTRIES_MAX} by name are read")
        names = sorted(names)[:ENTRIES_MAX]
    return names


def _portions(entries: Sequence[tuple[Target, _Kind, str]]) -> Iterator[Sequence[tuple[Target, _Kind, str]]]:
    """Cut *entries* so that what a VM says is never held in memory as a whole before it is checked."""
    most = _BATCH // max(len(kind.keys) for kind in _KINDS)
    for start in range(0, len(entries), most):
        yield entries[start : start + most]


def _take(report: Report, kind: _Kind, name: str, untrusted_keys: Mapping[str, str]) -> None:
    device = kind.parse(name, untrusted_keys)
    getattr(report, kind.part).append(device)
    for wrong in device.assumed.values():
        report.warn(f"{kind.noun} {name}: {wrong}")


def _take_hollow(
    store: KeyStore, hollow: Sequence[tuple[Target, _Kind, str]], reports: Mapping[str, Report], deadline: Deadline
) -> None:
    """Take entries that have other keys than ours alone; warn of those without any, unless they went away meanwhile."""
    for part in _portions(hollow):
        if deadline.passed:
            return
        listings = store.batch([List(target.path(f"{kind.base}/{name}")) for target, kind, name in part])
        for (target, kind, name), listing in zip(part, listings, strict=True):
            if isinstance(listing, list) and listing:
                _take(reports[target.vm], kind, name, {})
            elif not isinstance(listing, KeyNotFound):
                reports[target.vm].warn(f"{kind.noun} {name}: has no keys and is left out")


def _check_owners(reports: Mapping[str, Report], running: Collection[str]) -> None:
    """A device is attached to a VM that runs, or to none."""
    for report in reports.values():
        for index, device in enumerate(report.usb_devices):
            if device.connected_to and device.connected_to not in running:
                wrong = f"connected-to: no running VM has the name {device.connected_to}; treated as not attached"
                report.warn(f"USB device {device.name}: {wrong}")
                assumed = {**device.assumed, "connected-to": wrong}
                report.usb_devices[index] = replace(device, connected_to="", assumed=assumed)


def _text(untrusted_value: bytes) -> str:
    """Return a key's bytes as one character each: what becomes of those beyond ASCII is the parsers' to say."""
    return untrusted_value.decode("latin-1")


def as_data(report: Report, parts: Collection[str] = PARTS) -> dict[str, Any]:
    """Return *report* as plain data: what was asked for, and ``warnings``."""
    data: dict[str, Any] = {"domid": report.domid}
    if MEMORY in parts:
        data[MEMORY] = {name: getattr(report, name) for name in _MEMORY_FIELDS}
    if BLOCK in parts:
        data[BLOCK] = _blocks_as_data(report)
    if USB in parts:
        data[USB] = {device.name: _usb_as_data(report.vm, device) for device in report.usb_devices}
    more = [f"{report.vm}: {report.more_warnings} more warnings"] if report.more_warnings else []
    return {**data, "warnings": report.warnings + more}


def _blocks_as_data(report: Report) -> dict[str, dict[str, Any]]:
    blocks = {device.name: device for device in report.block_devices}
    usb = {device.name: device for device in report.usb_devices}
    return {
        device.name: {
            "port": f"{report.vm}:{device.name}",
            "device_id": deviceid.of_block(device, blocks, usb),
            "desc": device.desc,
            "size": device.size,
            "mode": "r" if device.read_only else "w",
            "device": device.device,
            "parent": device.parent,
            "assumed": sorted(device.assumed),
        }
        for device in report.block_devices
    }


def _usb_as_data(vm: str, device: UsbDevice) -> dict[str, Any]:
    return {
        "port": f"{vm}:{device.port_id}",
        "device_id": deviceid.of_usb(device),
        "ids": device.ids,
        "description": device.description,
        "usb_version": device.usb_version,
        "interfaces": device.interfaces,
        "connected_to": device.connected_to,
        "assumed": sorted(device.assumed),
    }
