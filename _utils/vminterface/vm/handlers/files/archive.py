"""Turns a tar archive into a Qubes file copy, member by member: regular files and the folders they are in.

After Qubes core-agent-linux's ``tar2qfile.c``. Memory use depends neither on the members' sizes nor on their number.
"""

from __future__ import annotations

import stat
import tarfile
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any, NoReturn, Self

from vminterface.errors import InvalidValue, printable, printable_path
from vminterface.wire.qfile import SIZE_MAX, Entry, Packer
from vminterface.wire.qfile_names import check_name

#: Bytes of a member that are read at once.
BLOCK = 1 << 18
#: Bytes that a header may add to itself (a long name, times): more than the longest name that a transfer can carry.
EXTENSION_LIMIT = 1 << 16
#: Empty blocks of 512 bytes in a row: many times what any tar leaves between archives, and not a disk full of them.
EMPTY_LIMIT = 1 << 14

#: Times that tarfile may find the end of an archive before that is taken for a loop.
_ENDS = 64
_EXTENSIONS = frozenset({tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK})
_NS = 1_000_000_000
_LAST_SECOND = 2**32


class _Member(tarfile.TarInfo):
    """A header, read more strictly: tarfile takes a damaged one for the end, and some extensions without any bound."""

    #: Whether this header has been checked here.
    strict = False
    #: Empty blocks since the last header. There is one archive a process.
    empty = 0

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        return cls._checked(super().frombuf, buf, encoding, errors)

    # What tarfile calls instead in Python's releases of 2026.
    @classmethod
    def _frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str, **how: bool) -> Self:
        return cls._checked(super()._frombuf, buf, encoding, errors, **how)  # type: ignore[misc]

    @classmethod
    def _checked(cls, read: Callable[..., Self], buf: bytes | bytearray, *args: str, **how: bool) -> Self:
        try:
            member = read(buf, *args, **how)
        except tarfile.HeaderError as error:
            if not buf.strip(b"\0"):  # the end of the archive, or of one of several
                _Member.empty += 1
                if _Member.empty > EMPTY_LIMIT:
                    raise InvalidValue(f"the archive has over {EMPTY_LIMIT * 512} empty bytes in a row") from None
                raise
            raise InvalidValue(f"the archive is damaged: {error}") from None
        _Member.empty = 0
        if member.type in _EXTENSIONS and member.size > EXTENSION_LIMIT:
            raise InvalidValue(f"the archive has a header of {member.size} bytes (expected at most {EXTENSION_LIMIT})")
        if member.type == tarfile.XGLTYPE:
            raise InvalidValue("the archive has a global header (a backup never has one)")
        if member.type == tarfile.GNUTYPE_SPARSE:
            cls._refuse_holes(member)
        member.strict = True
        return member

    @staticmethod
    def _refuse_holes(member: tarfile.TarInfo, *_: object) -> NoReturn:
        raise InvalidValue(
            f"'{printable_path(member.name, 120)}' in the archive is a sparse file (a backup never has one)"
        )

    # What tarfile calls for the three ways in which extended headers tell of holes; it would loop where they lie.
    _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _refuse_holes


class _Stream:
    """The archive *source* that cannot be sought in: tarfile would read on behind its end, for as long as it may be."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self._ends = 0

    def read(self, size: int) -> bytes:
        """Return the next bytes, none at the end. Raises InvalidValue for who does not stop there."""
        data = self._source.read(size)
        self._ends += not data
        if self._ends > _ENDS:
            raise InvalidValue("the archive ends inside a member")
        return data


class Conversion:
    """The transfer of those members of the archive *source* whose names start with one of *desired*, none: of all.

    Once each of *desired* was read and another member follows, the rest of the archive is ignored. A file
    that is not *seekable* is read from where it is.
    """

    def __init__(self, source: IO[bytes], desired: Sequence[bytes], *, seekable: bool) -> None:
        self._source = source
        self._desired = frozenset(desired)
        self._seekable = seekable
        #: Has the checksum of what has been yielded so far.
        self.packer = Packer()
        #: Whether the archive has been read to its end.
        self.whole = False
        self._folders: list[Entry] = []

    def chunks(self) -> Iterator[bytes]:
        """Yield the stream. May be used once.

        Raises InvalidValue for a damaged archive and for a desired member that is not a file or folder, ``Refused`` for
        a name that no receiver would take.
        """
        _Member.empty = 0
        source: Any = self._source if self._seekable else _Stream(self._source)
        try:
            # Archives that were appended to one another are read as one, as dom0 reads them.
            with tarfile.open(
                fileobj=source,
                mode="r:" if self._seekable else "r|",
                bufsize=BLOCK,
                tarinfo=_Member,
                ignore_zeros=True,
                encoding="utf-8",
                errors="surrogateescape",
            ) as archive:
                yield from self._members(archive)
        except InvalidValue:
            raise
        # Sizes and times that no file has make numbers that Python itself refuses.
        except (tarfile.TarError, RecursionError, OverflowError, ValueError) as error:
            raise InvalidValue(f"the archive cannot be read: {printable(str(error), 120)}") from None
        while self._folders:
            yield self.packer.entry(self._folders.pop())
        yield self.packer.end()

    def _members(self, archive: tarfile.TarFile) -> Iterator[bytes]:
        missing = set(self._desired)
        while (member := archive.next()) is not None:
            archive.members = []  # type: ignore[attr-defined]  # it would keep them all
            if not getattr(member, "strict", False):
                raise InvalidValue("the archive cannot be read: this Python's tarfile cannot check headers")
            name = member.name.encode("utf-8", "surrogateescape")
            if not 0 <= member.size <= SIZE_MAX:
                what = "a negative size" if member.size < 0 else f"more than {SIZE_MAX} bytes"
                raise InvalidValue(f"'{printable_path(name, 120)}' in the archive has {what}")
            matching = {prefix for prefix in self._desired if name.startswith(prefix)}
            if self._desired and not matching:
                if not missing:
                    return
                continue
            missing -= matching
            if not member.isdir():
                yield from self._file(archive, member, name)
        self.whole = True

    def _file(self, archive: tarfile.TarFile, member: tarfile.TarInfo, name: bytes) -> Iterator[bytes]:
        if not member.isreg():
            raise InvalidValue(f"'{printable_path(name, 120)}' in the archive is neither a file nor a folder")
        check_name(name)
        time_ns = int(min(max(0, member.mtime), _LAST_SECOND) * _NS)
        yield from self._enter(name, time_ns)
        yield self.packer.entry(Entry(name, stat.S_IFREG | (member.mode & 0o777), member.size, time_ns, time_ns))
        content = archive.extractfile(member)
        assert content is not None
        left = member.size
        while left:
            block = content.read(min(left, BLOCK))
            if not block:
                raise InvalidValue(f"the archive ends inside '{printable_path(name, 120)}'")
            left -= len(block)
            yield bytes(self.packer.data(block))

    def _enter(self, name: bytes, time_ns: int) -> Iterator[bytes]:
        """Yield the folders that *name* is in, and before them, for the second time, those that it is not in."""
        parts = name.split(b"/")[:-1]
        paths = [b"/".join(parts[: count + 1]) for count in range(len(parts))]
        while self._folders and self._folders[-1].path not in paths:
            yield self.packer.entry(self._folders.pop())
        for path in paths[len(self._folders) :]:
            self._folders.append(Entry(path, stat.S_IFDIR | 0o700, 0, time_ns, time_ns))
            yield self.packer.entry(self._folders[-1])
