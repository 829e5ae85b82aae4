"""Block devices of this machine that have become larger: the partition, the mapping and the file system on them."""

from __future__ import annotations

import os
import re

from vminterface.errors import InvalidValue, ProgramFailed, VMInterfaceError, printable
from vminterface.regex import regex
from vminterface.vm.machine.files import Files
from vminterface.vm.machine.machine import Machine
from vminterface.vm.machine.programs import Programs
from vminterface.vm.machine.regularfile import open_regular

#: Seconds for a file system to grow, and for all that comes before: large ones write much. dom0 waits 600.
TIMEOUT = 540.0
_MOUNTS = "/proc/self/mountinfo"
_SECTORS = "/sys/class/block/{}/size"
#: The partition of a root volume that has the file system (Qubes linux-template-builder).
_PARTITION = 3
#: e2fsck(8): there were errors, and all of them are corrected.
_CORRECTED = 1
#: blkid(8): no known content was detected, or several kinds at once.
_NOTHING_FOUND = 2
_LINEAR = regex(r"0 [0-9]+ linear ([0-9]+:[0-9]+) ([0-9]+)\n?\Z", re.ASCII)


def notice_size(machine: Files, device: str) -> None:
    """Read a little of *device*: the kernel learns of its new size when it is used. Raises VMInterfaceError."""
    if not device.startswith("/") or not machine.exists(device):
        raise VMInterfaceError(f"this VM has no device {printable(device)}")
    try:
        descriptor = open_regular(_real(machine, device), device, or_disk=True)
        try:
            os.read(descriptor, 512)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise VMInterfaceError(f"{device} cannot be read: {error.strerror}") from None


def grow_table(machine: Machine, disk: str, holder: str) -> None:
    """Let *holder*, a device on *disk*, be as large as that: the disk itself, its third partition, or a linear mapping.

    Raises VMInterfaceError for any other arrangement, and if a step of it fails.
    """
    own = os.path.basename(os.path.realpath(machine.path(disk)))
    name = os.path.basename(holder)
    if name == own:
        return
    if name in _partitions(own):
        _grow_partition(machine, disk, own)
        return
    if not name.startswith("dm-"):
        raise VMInterfaceError(f"the root file system is on {printable(name)}, which is not on {printable(disk)}")
    table = machine.run(["dmsetup", "table", holder]).decode("latin-1")
    shown = _LINEAR.match(table)
    if shown is None:
        raise VMInterfaceError(f"{name} is not a linear mapping of one device: '{printable(table.strip(), 60)}'")
    below = next((part for part in (own, *_partitions(own)) if _number(machine, part) == shown[1]), None)
    if below is None:
        raise VMInterfaceError(f"{name} maps the device {shown[1]}, which is not on {printable(disk)}")
    if below != own:
        _grow_partition(machine, disk, own)
    sectors = _sectors(machine, below) - int(shown[2])
    machine.run(["dmsetup", "reload", holder, "--table", f"0 {sectors} linear {shown[1]} {shown[2]}"])
    machine.run(["dmsetup", "resume", holder])


def grow_file_system(machine: Machine, device: str) -> None:
    """Let the file system on *device* fill it, with the tool of its kind. Raises VMInterfaceError.

    An ext file system may be mounted or not; XFS and Btrfs grow only where they are mounted.
    """
    place = _real(machine, device)
    kind = _kind(machine, device, place)
    mounted = _mount_point(machine, place)
    if kind in ("ext2", "ext3", "ext4"):
        if mounted is None:
            # The tool refuses a file system that was in use since it was last checked.
            _check(machine, place)
        machine.run(["resize2fs", place], timeout=TIMEOUT)
    elif kind not in ("xfs", "btrfs"):
        raise InvalidValue(f"{device} has a file system that cannot grow: '{printable(kind, 40)}'")
    elif mounted is None:
        raise VMInterfaceError(f"the {kind} file system of {device} is not mounted, so it cannot grow")
    elif kind == "xfs":
        machine.run(["xfs_growfs", mounted], timeout=TIMEOUT)
    else:
        machine.run(["btrfs", "filesystem", "resize", "max", mounted], timeout=TIMEOUT)


def _kind(machine: Programs, device: str, place: str) -> str:
    """Return the name of the file system at *place*. Raises InvalidValue where there is none, VMInterfaceError."""
    try:
        return machine.run(["blkid", "-p", "-o", "value", "-s", "TYPE", place]).decode("latin-1").strip()
    except ProgramFailed as error:
        if error.status != _NOTHING_FOUND:
            raise
        raise InvalidValue(f"{device} does not hold a known file system (it may be damaged)") from None


def _check(machine: Programs, place: str) -> None:
    """Check the ext file system at *place*, which is not mounted, and correct what can be without being asked."""
    try:
        machine.run(["e2fsck", "-f", "-p", place], timeout=TIMEOUT)
    except ProgramFailed as error:
        if error.status != _CORRECTED:
            raise


def _real(machine: Files, device: str) -> str:
    return os.path.realpath(machine.path(device))


def _partitions(disk: str) -> tuple[str, ...]:
    """Return the names that the kernel may give the partition that holds the file system."""
    return (f"{disk}p{_PARTITION}",) if disk[-1].isdigit() else (f"{disk}{_PARTITION}",)


def _grow_partition(machine: Machine, disk: str, name: str) -> None:
    """Let the partition end where the disk ends, and the kernel know."""
    place = _real(machine, disk)
    table = machine.run(["sfdisk", "--dump", place]).decode("latin-1")
    if re.search(rf"{_PARTITION + 1}[ ]*:[ ]*start=", table):
        raise VMInterfaceError(f"{disk} has a partition after its root partition, which therefore cannot grow")
    # A GPT keeps its copy at the end of the disk, which has moved.
    machine.run(["sfdisk", "--no-reread", "--force", "-N", str(_PARTITION), place], input=b", +\n", timeout=TIMEOUT)
    machine.run(["partx", "--update", "--nr", str(_PARTITION), place])


def _sectors(machine: Files, name: str) -> int:
    """Return the size of a block device in sectors of 512 bytes."""
    text = (machine.read_text(_SECTORS.format(name), limit=64) or "").strip()
    if not text.isdigit():
        raise VMInterfaceError(f"{_SECTORS.format(name)}: '{printable(text, 40)}' is not a valid size")
    return int(text)


def _number(machine: Files, name: str) -> str:
    """Return a block device's number as in ``202:3``, empty if there is none of that name."""
    return (machine.read_text(f"/sys/class/block/{name}/dev", limit=64) or "").strip()


def _mount_point(machine: Files, place: str) -> str | None:
    """Return where the device at *place* is mounted, None if it is not (proc(5), ``/proc/PID/mountinfo``)."""
    try:
        found = os.stat(place).st_rdev
    except OSError:
        return None
    number = f"{os.major(found)}:{os.minor(found)}" if found else ""
    for line in (machine.read_text(_MOUNTS) or "").splitlines():
        fields = line.split(" ")
        source = fields[fields.index("-") + 2] if "-" in fields else ""
        # Btrfs mounts have a number of their own; there the source decides.
        if (number and fields[2] == number) or (source.startswith("/") and os.path.realpath(source) == place):
            return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4])
    return None
