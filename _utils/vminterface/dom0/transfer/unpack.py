"""A file copy (qfile) that comes into dom0: unpacked beside its place, put there only when it is whole and accepted.

Taken are regular files and folders alone, as Qubes' dom0 takes updates and backups: no links, nothing executable.
Blocks of zeros become holes.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from vminterface.deadline import Deadline
from vminterface.dom0.transfer.wholefile import FileError
from vminterface.errors import InvalidValue, RemoteProtocolError, printable_path
from vminterface.wire.holes import written
from vminterface.wire.qfile import Data, Directory, EntryEnd, EntryStart, Event, Symlink, Unpacker
from vminterface.wire.qfile_result import Refused, Result

_FILE_MODE, _FOLDER_MODE = 0o600, 0o700


#: Bytes that a sender may have on the way when the stream has ended or is refused.
LATE_LIMIT = 1 << 20
#: Seconds that a sender has to hear of its refusal and to end.
GRACE = 10.0


class Overrun(Exception):
    """The sender goes on and on after the end of its stream, or after its refusal."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What is taken at most: *total_bytes* of content, *entries* (files and folders).

    *reserve* are the bytes that the disk is to have left when an entry is there: what Qubes' own dom0 wants free.
    """

    total_bytes: int = 1 << 40
    entries: int = 1 << 16
    reserve: int = 500 << 20


class Arrival:
    """One transfer into *place*, which must not be there yet. Used in a ``with`` block.

    :meth:`write` takes the stream and raises for nothing that is in it but its length: the fault is in :attr:`result`,
    which the sender gets as a reply; :meth:`put` raises it. After an error, what has come is removed at once, and the
    *deadline* of the call is at most GRACE seconds away: a sender shall not keep dom0's disk full, nor dom0 waiting.
    *single*: the transfer is one file, and *place* will be that file. Raises InvalidValue if there is something at
    *place*, FileError.
    """

    def __init__(self, place: str, limits: Limits, *, single: bool = False, deadline: Deadline | None = None) -> None:
        self._place = os.path.abspath(place)
        if os.path.lexists(self._place):
            raise InvalidValue(f"{printable_path(self._place)}: already exists")
        folder, name = os.path.split(self._place)
        try:
            self._folder = tempfile.mkdtemp(prefix=f".{name[:60]}.", dir=folder)
        except OSError as error:
            raise FileError.at(folder, error) from error
        self._limits, self._single, self._deadline = limits, single, deadline
        self._unpacker = Unpacker()
        self._file, self._at_byte = -1, 0
        #: Files by their names.
        self.files: list[str] = []
        #: A dict for their order.
        self._folders: dict[bytes, None] = {}
        self.total_bytes = 0
        #: The reply to the sender, as soon as the stream has ended or is refused.
        self.result: Result | None = None
        self._error: Refused | None = None
        self._late_bytes = 0

    def write(self, untrusted_data: bytes) -> None:
        """Take the next bytes of the stream; after its end or a fault they are dropped. Raises Overrun."""
        if self.result is not None:
            self._late_bytes += len(untrusted_data)
            if self._late_bytes > LATE_LIMIT:
                raise Overrun
            return
        self._unpacker.receive_data(untrusted_data)
        try:
            while (event := self._unpacker.next_event()) is not None:
                self._take(event)
            if self._unpacker.ended:
                self.result = self._unpacker.result()
        except Refused as error:
            self._refuse(error)
        except OSError as error:
            self._refuse(Refused(error.errno or errno.EIO, self._unpacker.last_name))

    def put(self, what: str) -> None:
        """Move what was received to its place. Raises RemoteProtocolError, with *what*, FileError."""
        if self.result is None:
            raise RemoteProtocolError(f"{what}: the stream ended before the end of the files")
        if self._error is not None:
            raise RemoteProtocolError(f"{what}: {self._error}") from self._error
        if self._late_bytes > LATE_LIMIT:
            raise RemoteProtocolError(f"{what}: more than {LATE_LIMIT} bytes were received after the end of the files")
        if self._single and (len(self.files) != 1 or self._folders):
            raise RemoteProtocolError(f"{what}: {len(self.files)} files were received (expected one)")
        made = os.path.join(self._folder, self.files[0]) if self._single else self._folder
        try:
            if self._single:
                os.link(made, self._place)
            else:
                # Onto a folder that somebody has made meanwhile only if it is empty.
                os.rename(made, self._place)
        except OSError as error:
            raise FileError.at(self._place, error) from error

    def _refuse(self, error: Refused) -> None:
        self._error = error
        self.result = self._unpacker.result(error)
        self._remove()
        if self._deadline is not None:
            self._deadline.shorten(GRACE)

    def _take(self, event: Event) -> None:
        match event:
            case Data(chunk):
                for place, piece in written(chunk, self._at_byte):
                    while piece:
                        count = os.pwrite(self._file, piece, place)
                        place, piece = place + count, piece[count:]
                self._at_byte += len(chunk)
            case EntryStart():
                self._count(event.path, event.size)
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                self._file = os.open(self._at(event.path), flags, _FILE_MODE)
                self._at_byte = 0
                self.files.append(os.fsdecode(event.path))
            case EntryEnd():
                os.ftruncate(self._file, self._at_byte)
                os.fsync(self._file)
                self._close()
            case Directory():
                # Each folder comes a second time after its content.
                if event.path not in self._folders:
                    self._count(event.path, 0)
                    os.mkdir(self._at(event.path), _FOLDER_MODE)
                    self._folders[event.path] = None
            case Symlink(path, _):
                raise Refused(errno.EINVAL, path, "a symbolic link, which is not accepted here")

    def _at(self, path: bytes) -> bytes:
        return os.path.join(os.fsencode(self._folder), path)

    def _count(self, path: bytes, size: int) -> None:
        self.total_bytes += size
        if self.total_bytes > self._limits.total_bytes:
            raise Refused(
                errno.EDQUOT, path, f"more than {self._limits.total_bytes} bytes (the limit of this transfer)"
            )
        if len(self.files) + len(self._folders) >= self._limits.entries:
            raise Refused(errno.EDQUOT, path, f"more than {self._limits.entries} entries (the limit of this transfer)")
        disk = os.statvfs(self._folder)
        if size + self._limits.reserve > disk.f_bavail * disk.f_frsize:
            reason = f"{size} bytes would leave less than {self._limits.reserve} bytes of the disk free"
            raise Refused(errno.ENOSPC, path, reason)

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._remove()

    def _remove(self) -> None:
        with contextlib.suppress(OSError):
            self._close()
        # Not by shutil, whose recursion a sender's nested folders can exhaust. Each folder came before what is in it.
        for path in self.files:
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(self._folder, path))
        for folder in (*reversed(self._folders), b""):
            with contextlib.suppress(OSError):
                os.rmdir(self._at(folder))
