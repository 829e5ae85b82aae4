"""``qubes.Backup`` and ``qubes.Restore``: a backup written into a VM, and one read back out of it.

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
from typing import BinaryIO, cast

from vminterface.channel.process import Input, Preceded, Progress
from vminterface.channel.qrexec import Qrexec, checked_timeout
from vminterface.deadline import Deadline
from vminterface.dom0.services import room
from vminterface.dom0.unpack import Arrival, Limits, Overrun
from vminterface.dom0.wholefile import FileFault
from vminterface.errors import DeadlineExceeded, InvalidValue, ServiceFailed, VMInterfaceError, printable

BACKUP = "qubes.Backup"
RESTORE = "qubes.Restore"
#: Seconds that a backup may take unless the call says otherwise.
TIMEOUT = 24 * 3600.0
#: Bytes of what the VM says about its progress.
_NOISE = 1 << 20
_LINE_LIMIT = 4096
#: Beside the content there are headers and names.
_OVERHEAD_A_FILE = 1 << 15
LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Restored:
    """What came: names of the *files* relative to the folder, and their *total_bytes*."""

    files: tuple[str, ...]
    total_bytes: int


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
    what blocks inside other pieces is not. Raises InvalidValue, FileFault (the archive cannot be read), else as
    :meth:`Qrexec.call`.
    """
    first = line(location)
    stdin: Input = chain((first,), archive)
    if hasattr(archive, "read"):
        if location.startswith("/"):
            room.check(qrexec, vm, [location], _size(cast(BinaryIO, archive)), f"{BACKUP} in {vm}")
        stdin = Preceded(first, cast(BinaryIO, archive))
    try:
        qrexec.call(vm, BACKUP, stdin=stdin, stdout_limit=_NOISE, progress=progress, timeout=timeout)
    except VMInterfaceError:
        raise
    except OSError as error:
        raise FileFault.at(str(getattr(archive, "name", "the archive")), error) from error


def _size(archive: BinaryIO) -> int:
    """Return the bytes of an archive, 0 for a pipe and whatever else does not say."""
    try:
        found = os.fstat(archive.fileno())
    except (OSError, ValueError):
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def open_archive(path: str) -> BinaryIO:
    """Open a backup of dom0, which may be a pipe: its writer is not waited for here. Raises FileFault."""
    try:
        return open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))
    except OSError as error:
        raise FileFault.at(path, error) from error


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

    *place* must not be there yet; it will be a folder, with *single* a file, and is made only when everything has
    come. *members* are the names, or beginnings of names, wanted of the archive, none: all. A sender that is refused
    has :data:`~vminterface.dom0.unpack.GRACE` seconds to end.

    Raises InvalidValue, FileFault, RemoteProtocolError, OutputTooLarge, else as :meth:`Qrexec.call`.
    """
    lines = line(location) + _members(members)
    what = f"{RESTORE} in {vm}"
    bound = limits.total_bytes + limits.entries * _OVERHEAD_A_FILE
    deadline = Deadline.after(checked_timeout(timeout))
    with Arrival(fspath(place), limits, single=single, deadline=deadline) as arrival:
        try:
            qrexec.call(
                vm, RESTORE, stdin=_until_result(lines, arrival), stdout_limit=bound, stdout_to=arrival,
                progress=progress, timeout=timeout, deadline=deadline,
            )  # fmt: skip
        except Overrun:
            pass  # told below
        except (ServiceFailed, DeadlineExceeded):
            # A sender that was told of a fault here ends with a status of its own, or not; the fault is what matters.
            if arrival.result is None or not arrival.result.code:
                raise
        arrival.put(what)
        return Restored(tuple(arrival.files), arrival.total_bytes)


def line(location: str) -> bytes:
    """Return the line that names *location*. Raises InvalidValue for what is no one line."""
    text = location.encode("utf-8", "surrogateescape")
    if not text.strip() or len(text) > _LINE_LIMIT or any(byte < 0x20 or byte == 0x7F for byte in text):
        raise InvalidValue(
            f"'{printable(location, 60)}' is no place for a backup (expected one line of at most {_LINE_LIMIT} bytes,"
            " no control characters)"
        )
    return text + b"\n"


def _members(members: Sequence[str]) -> bytes:
    if isinstance(members, str):
        raise InvalidValue("the members of an archive are a list of names, not one text")
    for name in members:
        if not name or not name.isascii() or not name.isprintable() or " " in name:
            raise InvalidValue(f"'{printable(name, 60)}' is no member of a backup (expected printable, no blanks)")
    return " ".join(members).encode("ascii") + b"\n"


def _until_result(lines: bytes, arrival: Arrival) -> Iterator[bytes | None]:
    """Yield the lines, then, when the stream has ended or was refused, the result."""
    yield lines
    while arrival.result is None:
        yield None
    yield arrival.result.render()
