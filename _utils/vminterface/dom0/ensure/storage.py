"""Backups that a VM shall hold, and disks of which a VM shall use all."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass

from vminterface.channel.adminapi import AdminAPI
from vminterface.channel.qrexec.client import Qrexec
from vminterface.dom0.ensure.files import sha256
from vminterface.dom0.ensure.step import Step, not_so, there
from vminterface.dom0.services import backup, backuplocation, commands, disk
from vminterface.dom0.services.tools import PRIVATE_DEVICE
from vminterface.dom0.transfer.wholefile import FileError
from vminterface.errors import (
    InvalidValue,
    RemoteProtocolError,
    StoreError,
    VMInterfaceError,
    VMNotRunning,
    printable,
    printable_path,
)
from vminterface.regex import regex
from vminterface.values.change import Change
from vminterface.values.volume import Volume

_LIMIT = 1 << 20
#: Seconds for qubesd to enlarge a volume, and for a running VM its file system.
_GROW_SECONDS = 600.0
#: Bytes of LVM's extents, where nobody has chosen others.
_EXTENT = 4 << 20
_PROBE_BACKUP = """if [ -d "$1" ]; then
find "$1/" -maxdepth 1 -type f -name 'qubes-backup-*' -size "$2c" -exec sha256sum -z -- {} +
elif [ -f "$1" ]; then sha256sum -z -- "$1"; else exit 3; fi"""
# A volume may be a file in VMs without block devices of their own.
_PROBE_DISK = """[ -e "$1" ] || exit 3
if [ -b "$1" ]; then blockdev --getsize64 "$1"; else stat -Lc %s -- "$1"; fi && dumpe2fs -h "$1" 2>/dev/null"""
_FIELD = regex(r"(Block count|Block size|Inode blocks per group|Reserved GDT blocks): +([0-9]{1,18})\Z", re.ASCII)


def backup_made(qrexec: Qrexec, vm: str, archive: str, location: str) -> Step:
    """Let *vm* hold the backup *archive*, a file of dom0, at *location*.

    If that is a folder of the VM's, a backup in it with the same content is enough; the VM chooses the name. Else it is
    the path of the file, or a command: its result cannot be compared, so it is run each time.
    """
    backuplocation.line(location)
    try:
        found = os.stat(archive)
        if not stat.S_ISREG(found.st_mode):
            raise InvalidValue(f"{printable_path(archive)}: is not a regular file")
        size, digest = found.st_size, sha256(archive)
    except OSError as error:
        raise FileError.at(archive, error) from error
    what = f"the backup {printable_path(archive)} in {printable_path(location)}"
    if _holds(qrexec, vm, location, size, digest):
        return Step(vm, what, already="already exists")

    def make() -> None:
        backup.backup_file(qrexec, vm, location, archive)
        if _holds(qrexec, vm, location, size, digest) is False:  # a command leaves nothing to look at
            raise not_so(vm, what)

    changes = {printable_path(location): Change(None, f"{size} bytes, sha256 {digest.decode('ascii')}")}
    return Step(vm, what, changes, make, done="made")


def _holds(qrexec: Qrexec, vm: str, location: str, size: int, digest: bytes) -> bool | None:
    """Whether there is a backup with that content; None: nothing at *location* can be read."""
    argv = ["sh", "-c", _PROBE_BACKUP, "sh", location, str(size)]
    output = commands.execute(qrexec, vm, argv, stdout_limit=_LIMIT, timeout=1800.0, name="sha256sum")
    if not there(output):
        return None
    return any(line.partition(b"  ")[0] == digest for line in output.untrusted_stdout.split(b"\0"))


def disk_resized(qrexec: Qrexec, vm: str, *, device: str = PRIVATE_DEVICE, size: int | None = None) -> Step:
    """Let the ext file system on the VM's private volume, which is *device* there, have all of the volume.

    With *size* qubesd gives the volume that many bytes first; then the VM need not run. Raises ProgramMissing on a
    host without Qubes' client, InvalidValue for fewer bytes than the volume has: qubesd shrinks none.
    """
    if not device.startswith("/"):
        raise InvalidValue(f"'{printable(device, 60)}' is not an absolute path of a device")
    if size is not None:
        api = AdminAPI.open()
        former = api.volume_size(vm, Volume.PRIVATE.value)
        # LVM gives a volume whole extents, so that one may have somewhat more than was asked for.
        if -(-size // _EXTENT) * _EXTENT < former:
            raise InvalidValue(f"{vm}: size: {size} is less than the {former} bytes of the private volume")
        if size > former:
            return _grown(qrexec, vm, device, api, former, size)
    what = f"the file system on {printable_path(device)}"
    try:
        found = _disk(qrexec, vm, device)
    except VMNotRunning:
        if size is None:
            raise
        return Step(vm, "the private volume", already="already has this size; its file system grows at the VM's start")
    if not found.can_grow:
        return Step(vm, what, already="already uses the whole volume")

    def resize() -> None:
        _grow_file_system(qrexec, vm, device)

    changes = {printable_path(device): Change(f"{found.used} bytes", f"{found.size} bytes")}
    return Step(vm, what, changes, resize, done="resized")


def _grown(qrexec: Qrexec, vm: str, device: str, api: AdminAPI, former: int, size: int) -> Step:
    what = "the private volume"

    def grow() -> None:
        api.timeout = _GROW_SECONDS
        try:
            api.resize_volume(vm, Volume.PRIVATE.value, size)
        except StoreError:
            # A running VM has its file system grow before qubesd replies: the volume is larger even if that failed.
            if api.volume_size(vm, Volume.PRIVATE.value) < size:
                raise
        if api.volume_size(vm, Volume.PRIVATE.value) < size:
            raise not_so(vm, what)
        # A VM that starts sees to that itself.
        try:
            if _disk(qrexec, vm, device).can_grow:
                _grow_file_system(qrexec, vm, device)
        except VMNotRunning:
            return
        except VMInterfaceError as error:
            reason = f"{vm}: {what} now has {size} bytes, but its file system has not grown: {error}"
            raise VMInterfaceError(reason) from error

    return Step(vm, what, {"size": Change(former, size)}, grow, done="resized")


def _grow_file_system(qrexec: Qrexec, vm: str, device: str) -> None:
    disk.resize(qrexec, vm, Volume.PRIVATE)
    if _disk(qrexec, vm, device).can_grow:
        raise not_so(vm, f"the file system on {printable_path(device)}")


@dataclass(frozen=True, slots=True)
class _Disk:
    """A volume's *size*, how much of it the file system has (*used*), and what *spare* it may leave: bytes."""

    size: int
    used: int
    spare: int

    @property
    def can_grow(self) -> bool:
        return self.size - self.used > self.spare


def _disk(qrexec: Qrexec, vm: str, device: str) -> _Disk:
    argv = ["sh", "-c", _PROBE_DISK, "sh", device]
    output = commands.execute(qrexec, vm, argv, root=True, stdout_limit=_LIMIT, name="dumpe2fs")
    if not there(output):
        raise InvalidValue(f"{vm}: the device {printable_path(device)} does not exist")
    size, *lines = output.untrusted_stdout.decode("latin-1").splitlines() or [""]
    fields = {shown[1]: int(shown[2]) for line in lines if (shown := _FIELD.match(line))}
    if not size.isascii() or not size.isdecimal() or len(size) > 18 or not {"Block count", "Block size"} <= {*fields}:
        raise RemoteProtocolError(f"{vm}: what {printable_path(device)} is reported to hold is not an ext file system")
    block = fields["Block size"]
    # resize2fs leaves out a last group that would hold hardly more than its own tables (e2fsprogs, resize2fs.c).
    spare = fields.get("Inode blocks per group", 0) + fields.get("Reserved GDT blocks", 0) + 128
    return _Disk(int(size), fields["Block count"] * block, spare * block)
