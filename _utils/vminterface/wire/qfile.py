"""The stream of a Qubes file copy (qfile), both ends, without I/O: bytes in, events out, bytes to send.

Source of the format: ``struct file_header`` and ``unpack.c``/``pack.c`` of Qubes' ``libqubes-rpc-filecopy``. An
entry is a 32-byte header, a name with its final NUL, and the data: a file's content, a symbolic link's target,
nothing for a folder. A folder is sent twice, before and after its content; the second one carries what is to stay.
A header with name length 0 ends the stream. Integers are little-endian, as on every machine that Qubes runs on.
The checksum is the CRC-32 of zlib over every byte of the stream.
"""

from __future__ import annotations

import errno
import stat
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from vminterface.errors import LocalProtocolError
from vminterface.wire.crc32 import crc32
from vminterface.wire.qfile_names import LINK_TARGET_MAX_BYTES, check_link, check_name
from vminterface.wire.qfile_result import LEGAL_EOF, NAME_MAX_BYTES, Refused, Result

#: Largest file that the format takes, bytes.
SIZE_MAX = 2**63 - 1

_HEADER = struct.Struct("<IIQIIII")
_END = bytes(_HEADER.size)
_NS = 1_000_000_000
_LAST_NS = 2**32 * _NS - 1


class Entry(NamedTuple):
    """The header of one entry. *mode* as in ``stat``, *size* in bytes, times in nanoseconds since 1970."""

    path: bytes
    mode: int
    size: int
    atime_ns: int
    mtime_ns: int


class EntryStart(Entry):
    """A regular file begins; *size* bytes follow as :class:`Data`, then :class:`EntryEnd`."""

    __slots__ = ()


class Directory(Entry):
    """A folder, before or after its content."""

    __slots__ = ()


class Data(NamedTuple):
    """Some bytes of the file: a view of what was received, valid until ``receive_data`` is called again."""

    chunk: memoryview


class File(NamedTuple):
    """A regular file from its header to its end; *content* is valid as long as :class:`Data` is."""

    path: bytes
    mode: int
    content: memoryview
    atime_ns: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class EntryEnd:
    """The file is whole."""


class Symlink(NamedTuple):
    """A symbolic link that stays inside what is copied (links carry no times and no permissions)."""

    path: bytes
    target: bytes


@dataclass(frozen=True, slots=True)
class End:
    """The stream is whole; what comes after it is not read."""


Event = EntryStart | Directory | Data | EntryEnd | Symlink | End


class Packer:
    """The sender's end: turns entries and data into the stream and keeps its checksum.

    Raises :class:`LocalProtocolError` for what a receiver could not take; the stream is then unchanged.
    """

    def __init__(self) -> None:
        self.crc = 0
        self._left = 0
        self._ended = False

    def entry(self, entry: Entry) -> bytes:
        """Return header and name of *entry*; ``size`` bytes of :meth:`data` must follow unless it is a folder.

        Times before 1970 and after 2106 are sent as the nearest that the format has.
        """
        self._between_entries()
        size = 0 if stat.S_ISDIR(entry.mode) else entry.size
        if not 0 <= size <= SIZE_MAX:
            raise LocalProtocolError(f"{entry.path[:40]!r}: {size} bytes (expected 0 to {SIZE_MAX})")
        header = _header(entry.path, entry.mode, size, entry.atime_ns, entry.mtime_ns)
        self._left = size
        return self._counted(header)

    def whole(self, path: bytes, mode: int, content: bytes, atime_ns: int, mtime_ns: int) -> bytes:
        """Return a file or link with its *content* in one piece: the same as :meth:`entry` and :meth:`data`, faster."""
        self._between_entries()
        piece = _header(path, mode, len(content), atime_ns, mtime_ns) + content
        self.crc = crc32(piece, self.crc)
        return piece

    def data(self, chunk: bytes | memoryview) -> bytes | memoryview:
        """Return *chunk*, the next bytes of the entry, as it is."""
        if len(chunk) > self._left:
            raise LocalProtocolError(f"{len(chunk)} bytes of data (expected at most {self._left})")
        self._left -= len(chunk)
        self.crc = crc32(chunk, self.crc)
        return chunk

    def end(self) -> bytes:
        """Return the end of the stream."""
        self._between_entries()
        self._ended = True
        return self._counted(_END)

    def _between_entries(self) -> None:
        if self._ended:
            raise LocalProtocolError("the stream has ended")
        if self._left:
            raise LocalProtocolError(f"{self._left} bytes of the entry are still to send")

    def _counted(self, data: bytes) -> bytes:
        self.crc = crc32(data, self.crc)
        return data


def _header(path: bytes, mode: int, size: int, atime_ns: int, mtime_ns: int) -> bytes:
    """Return header and name. Raises LocalProtocolError for a name that cannot be sent."""
    length = len(path) + 1
    # 0 is found in a tenth of the time of b"\0".
    if not 1 < length <= NAME_MAX_BYTES or 0 in path:
        raise LocalProtocolError(f"a name has 1 to {NAME_MAX_BYTES - 1} bytes without NUL, not {path[:40]!r}")
    atime, atime_rest = divmod(atime_ns, _NS)
    mtime, mtime_rest = divmod(mtime_ns, _NS)
    try:
        return _HEADER.pack(length, mode, size, atime, atime_rest, mtime, mtime_rest) + path + b"\0"
    except struct.error:
        times = (*_seconds(atime_ns), *_seconds(mtime_ns))
    return _HEADER.pack(length, mode, size, *times) + path + b"\0"


def _seconds(time_ns: int) -> tuple[int, int]:
    return divmod(min(max(time_ns, 0), _LAST_NS), _NS)


class Unpacker:
    """The receiver's end: feed it with :meth:`receive_data`, take events until None, feed again.

    It holds at most one header, name or link target, never file data. Whatever is fed in, in whatever pieces, it
    gives events or raises :class:`Refused` with the code that the result must carry; the same one from then on.
    Who asks for :meth:`next_file` before each :meth:`next_event` gets small files in one step instead of three.
    """

    def __init__(self, *, allow_all_names: bool = False) -> None:
        self._allow_all_names = allow_all_names
        #: The name of the entry that was read last, empty before the first one.
        self.last_name = b""
        #: Whether the stream is whole.
        self.ended = False
        self._input = memoryview(b"")
        self._at = 0
        #: Where the file ends that was given last, 0 once what follows has been asked for.
        self._file_end = 0
        #: The checksum of what came up to this place in the input, and of all up to its end where that is known.
        self._crc = self._counted = 0
        self._known_crc: int | None = None
        self._buffered = bytearray()
        self._end_of_input = False
        self._error: Refused | None = None
        self._header_step = self._read_header
        self._step: Callable[[], Event | None] = self._header_step
        self._name_length = self._left = 0
        self._fields: list[int] = []
        self._path = b""

    def receive_data(self, data: bytes | bytearray | memoryview, crc: int | None = None) -> None:
        """Take the next bytes of the stream; none at all means that the sender has closed it.

        They are not copied: leave *data* unchanged until :meth:`next_event` has returned None. *crc* is the checksum of
        the stream up to the end of *data*, where that is known already: it is then not computed again.
        """
        self._leave_file()
        if self._at < len(self._input) and not self.ended and self._error is None:
            raise LocalProtocolError("the events of the last data have not all been read")
        self._count()
        self._input = memoryview(data).cast("B")
        self._at = self._counted = 0
        self._known_crc = crc
        self._end_of_input = self._end_of_input or not len(self._input)

    def next_event(self) -> Event | None:
        """Return what comes next in the stream, None if that needs more data or nothing comes any more."""
        if self._error is not None:
            raise self._error
        self._leave_file()
        try:
            event = self._step()
        except Refused as error:
            self._error = error
            raise
        if event is None:
            self._count()
        return event

    def next_file(self) -> File | None:
        """Return what comes next if it is a good file of which all has come; else None: it takes :meth:`next_event`."""
        self._leave_file()
        if self._step is not self._header_step or self._buffered or self._error is not None:
            return None
        data, name_at = self._input, self._at + _HEADER.size
        if name_at > len(data):
            return None
        length, mode, size, atime, atime_ns, mtime, mtime_ns = _HEADER.unpack_from(data, self._at)
        start = name_at + length
        end = start + size
        good = 0 < length <= NAME_MAX_BYTES and stat.S_ISREG(mode) and atime_ns < _NS and mtime_ns < _NS
        if not good or end > len(data):
            return None
        path = bytes(data[name_at:start]).removesuffix(b"\0")
        try:
            check_name(path, allow_all_names=self._allow_all_names)
        except Refused:
            return None
        self.last_name = path
        # Up to what comes next, the checksum is that of the header: the one to send where there is such a file already.
        self._at, self._file_end = start, end
        return File(path, mode, data[start:end], atime * _NS + atime_ns, mtime * _NS + mtime_ns)

    @property
    def crc(self) -> int:
        """The checksum of what has been taken from the stream."""
        self._count()
        return self._crc

    def result(self, error: Refused | None = None) -> Result:
        """Return the result to send after the end of the stream, or after *error*."""
        if error is None:
            return Result(0, self.crc, self.last_name)
        return Result(error.code, self.crc, error.name)

    def _leave_file(self) -> None:
        if self._file_end:
            self._at, self._file_end = self._file_end, 0

    def _count(self) -> None:
        """Add to the checksum what was taken since the last time: mostly many entries at once, or a known one."""
        if self._known_crc is not None and self._at == len(self._input):
            self._crc = self._known_crc
        elif self._counted < self._at:
            self._crc = crc32(self._input[self._counted : self._at], self._crc)
        self._counted = self._at

    def _take(self, size: int) -> bytes | None:
        """Return *size* bytes, or None and keep what is there."""
        start, buffered = self._at, self._buffered
        piece = self._input[start : start + size - len(buffered)]
        self._at = start + len(piece)
        if len(buffered) + len(piece) < size:
            if self._end_of_input:
                inside_header = self._step is self._header_step
                raise Refused(errno.EREMOTEIO if inside_header else LEGAL_EOF, self.last_name)
            buffered += piece
            return None
        taken = bytes(buffered) + piece if buffered else bytes(piece)
        buffered.clear()
        return taken

    def _read_header(self) -> Event | None:
        header = self._take(_HEADER.size)
        if header is None:
            return None
        self._name_length, *self._fields = _HEADER.unpack(header)
        if not self._name_length:
            self._count()
            self.ended = True
            self._step = lambda: None
            return End()
        if self._name_length > NAME_MAX_BYTES:
            raise Refused(errno.ENAMETOOLONG, None, f"a name of {self._name_length} bytes")
        self._step = self._read_name
        return self._read_name()

    def _read_name(self) -> Event | None:
        untrusted_name = self._take(self._name_length)
        if untrusted_name is None:
            return None
        path = untrusted_name.removesuffix(b"\0")
        self.last_name = path
        self._path = check_name(path, allow_all_names=self._allow_all_names)
        mode, size, atime, atime_ns, mtime, mtime_ns = self._fields
        kind = stat.S_IFMT(mode)
        if kind == stat.S_IFLNK:
            if size > LINK_TARGET_MAX_BYTES:
                raise Refused(errno.ENAMETOOLONG, path, f"a link target of {size} bytes")
            self._left = size
            self._step = self._read_target
            return self._read_target()
        if kind not in (stat.S_IFREG, stat.S_IFDIR):
            raise Refused(errno.EINVAL, path, f"type and mode {mode:#o}: not a file, folder or symbolic link")
        # The stock receiver notices this only when it sets the times, and then sends no result at all.
        if atime_ns >= _NS or mtime_ns >= _NS:
            raise Refused(errno.EINVAL, path, f"a time with {max(atime_ns, mtime_ns)} nanoseconds in its second")
        times = atime * _NS + atime_ns, mtime * _NS + mtime_ns
        if kind == stat.S_IFDIR:
            self._step = self._header_step
            return Directory(path, mode, 0, *times)
        if size > SIZE_MAX:
            raise Refused(errno.EDQUOT, path, f"a file of {size} bytes")
        self._left = size
        self._step = self._read_data
        return EntryStart(path, mode, size, *times)

    def _read_target(self) -> Event | None:
        untrusted_target = self._take(self._left)
        if untrusted_target is None:
            return None
        target = check_link(self._path, untrusted_target, allow_all_names=self._allow_all_names)
        self._step = self._header_step
        return Symlink(self._path, target)

    def _read_data(self) -> Event | None:
        if not self._left:
            self._step = self._header_step
            return EntryEnd()
        start = self._at
        chunk = self._input[start : start + self._left]
        if not chunk:
            if self._end_of_input:
                raise Refused(LEGAL_EOF, self.last_name)
            return None
        self._at = start + len(chunk)
        self._left -= len(chunk)
        return Data(chunk)
