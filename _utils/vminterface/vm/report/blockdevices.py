"""The block devices that this VM offers, as ``qubes-block-devices/NAME/{desc,size,mode,parent}`` lists them.

Rules: Qubes linux-utils ``udev-qubes-block.rules`` and ``udev-block-add-change``. Never offered are Xen's own disks,
zram, and what udev or device-mapper flag; nor, while that lasts, what is in use here: mounted, swap, part of another
device. A device that another VM has already keeps its entry.
"""

from __future__ import annotations

from dataclasses import dataclass

from vminterface.errors import InvalidValue, VMInterfaceError
from vminterface.regex import regex
from vminterface.values.blockdevice import BlockDevice, parse_name, stored_desc
from vminterface.vm.machine.files import Files
from vminterface.vm.machine.machine import Machine
from vminterface.vm.machine.programs import Programs
from vminterface.vm.report import udev
from vminterface.vm.report.udev import attribute, raw_attribute

BASE, SUBSYSTEM = "qubes-block-devices", "block"
#: A file of this name keeps the loop devices of all files below its folder here.
EXCLUDE_MARK = ".qubes-exclude-block-devices"

_FOLDER = "/sys/class/block"
_XEN_FRONTEND, _CDROM, _RAM = 202, 11, 1
_SECTOR = 512
_NUMBER = regex(r"[0-9]{1,7}:[0-9]{1,7}")
_SECTORS = regex(r"[0-9]{1,17}")
#: What is in front of a SCSI host: the USB interface of a stick (``2-1:1.0``), the port of a SATA disk (``ata9``).
_HOST = regex(r"/([^/]+)/host")
_HEX4 = regex(r"[0-9a-f]{4}")
_MOUNT_ESCAPE = regex(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class _Device:
    """One device as sysfs and udev show it."""

    name: str
    #: ``8:1``.
    number: str
    #: Where its link leads, "" where it is a folder.
    link: str
    #: The disk that it is a partition of, or "".
    disk: str
    known: dict[str, str]
    dm_name: str | None

    @property
    def major(self) -> int:
        return int(self.number.partition(":")[0])

    @property
    def is_cd(self) -> bool:
        return self.known.get("ID_TYPE") == "cd" or self.major == _CDROM


def read(machine: Machine, attached: frozenset[str] = frozenset()) -> dict[str, dict[str, str]]:
    """Return the texts of each device's sub-keys by its name; *attached* are numbers (``8:1``) that other VMs have."""
    devices = {name: device for name in machine.names(_FOLDER) if (device := _device(machine, name)) is not None}
    used = _in_use(machine, devices)
    theirs = {name for name, device in devices.items() if device.number in attached}
    found = {}
    for name, device in devices.items():
        parts = {other.name for other in devices.values() if other.disk == name}
        free = name not in used and not parts & (used | theirs) and device.disk not in theirs
        if not _is_never_offered(machine, device) and (name in theirs or (free and _is_ready(machine, device))):
            keys = _keys(machine, device)
            if keys is not None:
                found[name] = keys
    return found


def _device(machine: Files, name: str) -> _Device | None:
    folder = f"{_FOLDER}/{name}"
    number = attribute(machine, f"{folder}/dev")
    # Without a file in /dev nobody can attach it.
    if not _NUMBER.fullmatch(number) or not machine.exists(f"/dev/{name}"):
        return None
    known = udev.properties(machine, f"b{number}")
    if known is None and udev.is_running(machine):
        return None  # udev has not processed it yet: that comes with its event
    link = machine.link_target(folder) or ""
    disk = link.split("/")[-2] if machine.exists(f"{folder}/partition") and link.count("/") else ""
    dm_name = attribute(machine, f"{folder}/dm/name") if machine.exists(f"{folder}/dm") else None
    return _Device(name, number, link, disk, known or {}, dm_name)


def _is_never_offered(machine: Files, device: _Device) -> bool:
    exported = device.known.get("QUBES_EXPORT_BLOCK_DEVICE")
    return (
        exported == "0"
        or device.major in (_XEN_FRONTEND, _RAM)
        or device.name.startswith("zram")
        or device.known.get("UDISKS_IGNORE") == "1"
        or (device.known.get("DM_UDEV_DISABLE_DISK_RULES_FLAG") == "1" and exported != "1")
        or (device.dm_name is not None and (not device.dm_name or device.dm_name.startswith(("snapshot-", "origin-"))))
        or _is_excluded_loop(machine, device)
    )


def _is_excluded_loop(machine: Files, device: _Device) -> bool:
    folder = attribute(machine, f"{_FOLDER}/{device.name}/loop/backing_file")
    while "/" in folder:
        folder = folder.rpartition("/")[0]
        if machine.exists(f"{folder}/{EXCLUDE_MARK}"):
            return True
    return False


def _is_ready(machine: Machine, device: _Device) -> bool:
    """Whether there is something behind it: a loop's file, a network disk's other end, a disc; and nobody on it.

    A card reader is offered without a card too, with the size 0.
    """
    folder = f"{_FOLDER}/{device.name}"
    if device.name.startswith("loop") and not device.disk:
        return bool(attribute(machine, f"{folder}/loop/backing_file"))
    if device.name.startswith("nbd") and not device.disk:
        return machine.exists(f"{folder}/pid")
    if device.is_cd and device.known:
        return device.known.get("ID_CDROM_MEDIA") == "1"
    if device.dm_name is not None:
        return not _is_open(machine, device.dm_name)
    return not device.is_cd or attribute(machine, f"{folder}/size") != "0"


def _is_open(machine: Programs, dm_name: str) -> bool:
    """Whether a device-mapper device is open; where that is unknown, it may be."""
    if "\0" in dm_name:
        return True  # no device has such a name, and no program can be asked for it
    try:
        said = machine.run(["dmsetup", "info", "-c", "--noheadings", "-o", "open", "--", dm_name])
    except VMInterfaceError:
        return True
    return said.strip() != b"0"


def _in_use(machine: Files, devices: dict[str, _Device]) -> set[str]:
    """Return the names of devices that are mounted, swap, or held by another device."""
    by_number = {device.number: name for name, device in devices.items()}
    by_dm_name = {device.dm_name: name for name, device in devices.items() if device.dm_name}
    used = set()
    for line in (machine.read_text("/proc/self/mountinfo") or "").splitlines():
        words = line.split(" ")
        used.add(by_number.get(words[2] if len(words) > 2 else "", ""))
        # Some file systems (btrfs) have a number of their own: only the source decides.
        source = words[words.index("-") + 2] if "-" in words and len(words) > words.index("-") + 2 else ""
        used.add(_name_of(source, by_dm_name))
    for line in (machine.read_text("/proc/swaps") or "").splitlines()[1:]:
        used.add(_name_of(line.split(" ")[0], by_dm_name))
    used |= {name for name in devices if machine.names(f"{_FOLDER}/{name}/holders")}
    return used & set(devices)


def _name_of(path: str, by_dm_name: dict[str, str]) -> str:
    """Return the name of the device whose file is *path*."""
    path = _MOUNT_ESCAPE.sub(lambda found: chr(int(found[1], 8)), path)
    if path.startswith("/dev/mapper/"):
        return by_dm_name.get(path.removeprefix("/dev/mapper/"), "")
    return path.removeprefix("/dev/") if path.startswith("/dev/") else ""


def _keys(machine: Files, device: _Device) -> dict[str, str] | None:
    folder = f"{_FOLDER}/{device.name}"
    sectors = attribute(machine, f"{folder}/size")
    try:
        # What dom0 passes over is not offered.
        name = parse_name(device.name)
    except InvalidValue:
        return None
    if not _SECTORS.fullmatch(sectors):
        return None
    return BlockDevice(
        name,
        stored_desc(_description(machine, device)),
        int(sectors) * _SECTOR,
        device.is_cd or attribute(machine, f"{folder}/ro") == "1",
        f"/dev/{name}",
        device.disk or (host[1] if (host := _HOST.search(device.link)) else ""),
    ).render()


def _description(machine: Files, device: _Device) -> str:
    """The file of a loop device, the name of a device-mapper's, else ``MODEL (LABEL)`` of its disk."""
    folder = f"{_FOLDER}/{device.name}"
    if file := raw_attribute(machine, f"{folder}/loop/backing_file"):
        return file
    if device.dm_name:
        return device.dm_name
    return f"{_model(machine, device)} ({device.known.get('ID_FS_LABEL', '')})"


def _model(machine: Files, device: _Device) -> str:
    """The model of the disk, the name of a memory card, else the numbers of vendor and product, else its own name."""
    model, product = device.known.get("ID_MODEL", ""), device.known.get("ID_MODEL_ID", "")
    # Of a USB device without strings udev gives the product's number as its model.
    if model and model != product:
        return model
    disk = f"{_FOLDER}/{device.disk or device.name}/device"
    name = attribute(machine, f"{disk}/model") or device.known.get("ID_NAME") or attribute(machine, f"{disk}/name")
    return name.replace(" ", "_") or _numbers(machine, device) or device.name


def _numbers(machine: Files, device: _Device) -> str:
    """Return ``VENDOR:PRODUCT`` of the USB or PCI device that the disk is in, four hexadecimal digits each."""
    folder = f"/sys/{device.link.lstrip('./')}"
    while "/" in folder.removeprefix("/sys/devices/"):
        folder = folder.rpartition("/")[0]
        for pair in (("idVendor", "idProduct"), ("vendor", "device")):
            numbers = [attribute(machine, f"{folder}/{file}").removeprefix("0x") for file in pair]
            if all(_HEX4.fullmatch(number) for number in numbers):
                return ":".join(numbers)
    return ""
