"""``qubes.Backup``, ``qubes.Restore``, ``qubes.RestoreById``: a backup written into a VM, and one read back out of it.

Sources: Qubes core-agent-linux (handlers), core-admin ``qubes/backup.py``, core-admin-client ``backup/restore.py``.
The location may be a command that the VM runs: it comes from dom0's admin, never from a VM.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from os import PathLike, fspath
from typing import Any, BinaryIO, cast

from vminterface.channel.process import Input, Preceded, Progress
from vminterface.channel.qrexec.client import Call, Qrexec, checked_timeout
from vminterface.deadline import Deadline
from vminterface.dom0.services import backuplocation, room
from vminterface.dom0.transfer.unpack import Arrival, Limits, Overrun
from vminterface.dom0.transfer.wholefile import FileError
from vminterface.errors import DeadlineExceeded, InvalidValue, ServiceFailed, VMInterfaceError, printable

BACKUP = "qubes.Backup"
RESTORE = "qubes.Restore"
RESTORE_BY_ID = "qubes.RestoreById"
#: Seconds that a backup may take unless the call says otherwise.
TIMEOUT = 24 * 3600.0
#: Bytes of what the VM says about its progress.
_NOISE = 1 << 20
#: Beside the content there are headers and names.
_OVERHEAD_A_FILE = 1 << 15
LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Restored:
    """What came: names of the *files* relative to the folder, and their *total_bytes*."""

    files: tuple[str, ...]
    total_bytes: int

    def as_data(self) -> dict[str, Any]:
        """Return both as plain data, fit for a terminal."""
        return {"files": [printable(name, 4096) for name in self.files], "total_bytes": self.total_bytes}


def backup(
    qrexec: Qrexec,
    vm: str,
    location: str,
    archive: BinaryIO | Iterable[bytes],
    *,
    progress: Progress | None = None,
    timeout: float = TIMEOUT,
) -> None:
    """Have *vm* write *archive* to *location*, a folder of its or a command that reads it.

    *progress* is called with the bytes sent and received. A file that is a pipe and gives nothing is under *timeout*,
    what blocks inside other pieces is not. Raises InvalidValue, FileError (the archive cannot be read), else as
    :meth:`Qrexec.call`.
    """
    first = backuplocation.line(location)
    deadline = Deadline.after(checked_timeout(timeout))
    stdin: Input = chain((first,), archive)
    if hasattr(archive, "read"):
        if location.startswith("/"):
            room.check(qrexec, vm, [location], _size(cast(BinaryIO, archive)), f"{BACKUP} in {vm}", deadline)
        stdin = Preceded(first, cast(BinaryIO, archive))
    try:
        qrexec.call(Call(vm, BACKUP, stdin=stdin, stdout_limit=_NOISE, progress=progress, deadline=deadline))
    except VMInterfaceError:
        raise
    except OSError as error:
        raise FileError.at(str(getattr(archive, "name", "the archive")), error) from error


def _size(archive: BinaryIO) -> int:
    """Return the bytes of an archive, 0 for a pipe and whatever else does not say."""
    try:
        found = os.fstat(archive.fileno())
    except (OSError, ValueError):
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def open_archive(path: str) -> BinaryIO:
    """Open a backup of dom0, which may be a pipe: its writer is not waited for here. Raises FileError."""
    try:
        return open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))
    except OSError as error:
        raise FileError.at(path, error) from error


def backup_file(qrexec: Qrexec, vm: str, location: str, path: str, *, timeout: float = TIMEOUT) -> None:
    """Have *vm* write the file or pipe *path* of dom0 to *location*; else as :func:`backup`."""
    with open_archive(path) as archive:
        backup(qrexec, vm, location, archive, timeout=timeout)


def restore(
    qrexec: Qrexec,
    vm: str,
    location: str,
    place: str | PathLike[str],
    members: Sequence[str] = (),
    *,
    single: bool = False,
    limits: Limits = LIMITS,
    progress: Progress | None = None,
    timeout: float = TIMEOUT,
) -> Restored:
    """Unpack the backup that *vm* has at *location*, a file of its or a command that writes it, into *place* here.

    *place* must not be there yet; it will be a folder, with *single* a file, and is made only when everything has come.
    *members* are the names, or beginnings of names, to extract from the archive, none: all. Where all of a file is
    extracted, its size is read first, and nothing starts without enough room on the disk. A sender that is refused has
    :data:`~vminterface.dom0.transfer.unpack.GRACE` seconds to end.

    Raises InvalidValue, FileError, RemoteProtocolError, OutputTooLarge, else as :meth:`Qrexec.call`.
    """
    lines = backuplocation.line(location) + _members(members)
    call = (qrexec, vm, RESTORE, "")
    asked = "" if members else location
    return _restore(call, asked, lines, place, single=single, limits=limits, progress=progress, timeout=timeout)


def restore_by_id(
    qrexec: Qrexec,
    vm: str,
    identifier: str,
    place: str | PathLike[str],
    members: Sequence[str] = (),
    *,
    single: bool = False,
    limits: Limits = LIMITS,
    progress: Progress | None = None,
    timeout: float = TIMEOUT,
) -> Restored:
    """Unpack the backup at the location that *vm* knows as *identifier*; else as :func:`restore`.

    The id is what ``qubes.RegisterBackupLocation`` gave (:func:`backuplocation.lend`); it holds while that call lasts.
    """
    call = (qrexec, vm, RESTORE_BY_ID, backuplocation.parse_id(identifier))
    lines = _members(members)
    return _restore(call, "", lines, place, single=single, limits=limits, progress=progress, timeout=timeout)


def _restore(
    call: tuple[Qrexec, str, str, str],
    asked: str,
    lines: bytes,
    place: str | PathLike[str],
    *,
    single: bool,
    limits: Limits,
    progress: Progress | None,
    timeout: float,
) -> Restored:
    """Make *call* (its VM, service and argument); of *asked*, a location, the size is looked at first."""
    qrexec, vm, service, argument = call
    what = f"{service} in {vm}"
    bound = limits.total_bytes + limits.entries * _OVERHEAD_A_FILE
    deadline = Deadline.after(checked_timeout(timeout))
    with Arrival(fspath(place), limits, single=single, deadline=deadline) as arrival:
        if asked:
            room.check_here(qrexec, vm, asked, fspath(place), limits.reserve, what, deadline)
        try:
            qrexec.call(Call(
                vm, service, argument, stdin=_until_result(lines, arrival), stdout_limit=bound, stdout_to=arrival,
                progress=progress, deadline=deadline))  # fmt: skip
        except Overrun:
            pass  # reported below
        except (ServiceFailed, DeadlineExceeded):
            # A sender that was notified of an error here ends with any status; the error is what matters.
            if arrival.result is None or not arrival.result.code:
                raise
        arrival.put(what)
        return Restored(tuple(arrival.files), arrival.total_bytes)


def _members(members: Sequence[str]) -> bytes:
    if isinstance(members, str):
        raise InvalidValue("members: is one text (expected a list of names)")
    for name in members:
        if not name or not name.isascii() or not name.isprintable() or " " in name:
            raise InvalidValue(
                f"'{printable(name, 60)}' is not a valid member of a backup (expected printable, no blanks)"
            )
    return " ".join(members).encode("ascii") + b"\n"


def _until_result(lines: bytes, arrival: Arrival) -> Iterator[bytes | None]:
    """Yield the lines, then, when the stream has ended or was refused, the result."""
    yield lines
    while arrival.result is None:
        yield None
    yield arrival.result.render()
