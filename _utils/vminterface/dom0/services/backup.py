"""``qubes.Backup`` and ``qubes.Restore``: a backup written into a VM, and one read back out of it.

Sources: Qubes core-agent-linux (handlers), core-admin ``qubes/backup.py``, core-admin-client ``backup/restore.py``.
The location may be a command that the VM runs: it comes from dom0's admin, never from a VM.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from typing import BinaryIO

from vminterface.channel.process import Progress
from vminterface.channel.qrexec import Qrexec
from vminterface.dom0.unpack import Arrival, Limits
from vminterface.dom0.wholefile import FileFault
from vminterface.errors import InvalidValue, ServiceFailed, printable

BACKUP = "qubes.Backup"
RESTORE = "qubes.Restore"
#: Seconds that a backup may take unless the call says otherwise.
TIMEOUT = 24 * 3600.0
#: Bytes of what the VM says about its progress.
_NOISE = 1 << 20
_LINE_LIMIT = 4096
_BLOCK = 1 << 18
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

    *progress* is called with the bytes sent and received; what blocks inside *archive* is not under *timeout*.
    Raises InvalidValue, FileFault (the archive cannot be read), else as :meth:`Qrexec.call`.
    """
    stdin = _with_line(line(location), archive)
    qrexec.call(vm, BACKUP, stdin=stdin, stdout_limit=_NOISE, progress=progress, timeout=timeout)


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
    come. *members* are the names, or beginnings of names, wanted of the archive, none: all.

    Raises InvalidValue, FileFault, RemoteProtocolError, OutputTooLarge, else as :meth:`Qrexec.call`.
    """
    lines = line(location) + _members(members)
    what = f"{RESTORE} in {vm}"
    bound = limits.total_bytes + limits.entries * _OVERHEAD_A_FILE
    with Arrival(fspath(place), limits, single=single) as arrival:
        try:
            qrexec.call(
                vm, RESTORE, stdin=_until_result(lines, arrival), stdout_limit=bound, stdout_to=arrival,
                progress=progress, timeout=timeout,
            )  # fmt: skip
        except ServiceFailed:
            # A sender that was told of a fault here ends with a status of its own; the fault is what matters.
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


def _with_line(first: bytes, archive: BinaryIO | Iterable[bytes]) -> Iterator[bytes]:
    yield first
    if hasattr(archive, "read"):
        try:
            while block := archive.read(_BLOCK):
                yield block
        except OSError as error:
            raise FileFault.at(str(getattr(archive, "name", "the archive")), error) from error
    else:
        yield from archive


def _until_result(lines: bytes, arrival: Arrival) -> Iterator[bytes | None]:
    """Yield the lines, then, when the stream has ended or was refused, the result."""
    yield lines
    while arrival.result is None:
        yield None
    yield arrival.result.render()
