"""Sends files and folders as a Qubes file copy: walks them in a stable order and yields the stream.

Symbolic links are sent as links. On request, those that lead out of the folder are followed: what they lead to takes
their place. Sockets, pipes and devices in a folder are left out and noted, and refused where they are named. What a
file promises in its header is what is sent: one that is gone, cannot be read, shrinks or grows ends the transfer.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike

from vminterface.errors import InvalidValue, InvalidValues, VMInterfaceError
from vminterface.errors import printable_path as shown
from vminterface.wire.qfile import Entry, Packer
from vminterface.wire.qfile_names import check_link, check_name, is_plain
from vminterface.wire.qfile_result import NAME_MAX_BYTES, Refused

#: Bytes of a file that are read at once, and those from which on what is to be sent is a chunk: a quarter of a pipe,
#: so that one end can write while the other one reads.
BLOCK, JOINED = 1 << 18, 1 << 14
#: Files, folders and links that may come by links that are followed: a few links can lead to any number of copies.
FOLLOWED = 1 << 18

# Not to wait for a writer, should a pipe have taken the place of the file.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
#: What ``os.fsencode`` encodes by, after checks that names of a folder do not need.
_ENCODING, _ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
_SENDABLE = frozenset({stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK})
Progress = Callable[[int, int], None]


class SourceError(VMInterfaceError):
    """A file that is to be sent cannot be read, or is not any more what its header has promised."""


@dataclass(slots=True)
class Found:
    """One file, folder or link: where it is here, and its name in the transfer."""

    source: bytes
    name: bytes
    #: Its type, as in ``stat``, 0 for one that is never sent.
    kind: int
    #: The folder that it is in, None for one of the paths to send.
    folder: Found | None = None
    #: The second time that a folder comes, after its content.
    again: bool = False
    #: Where in the name the last link begins that was followed on the way, 0: none was.
    followed_at: int = 0
    #: Of one of the paths to send, that path, be it a link that was followed.
    top: bytes = b""
    #: The results of :meth:`stat`.
    seen: os.stat_result | None = None

    def stat(self) -> os.stat_result:
        """Return its type, size, times and permissions, examined when first asked for. Raises SourceError."""
        if self.seen is None:
            try:
                self.seen = os.lstat(self.source)
            except OSError as error:
                raise _unreadable(self.source, error) from error
        return self.seen

    @property
    def place(self) -> bytes:
        """Where its name is here: *source*, but for links that were followed."""
        return self.top if self.folder is None else os.path.join(self.folder.place, os.path.basename(self.name))


@dataclass(frozen=True, slots=True)
class Survey:
    """What a transfer would carry: *total_bytes* of content, and the paths that are *skipped*.

    *needs_all_names* is the first path of which the name or link target has characters that are taken only by a
    receiver that was called with the argument ``allow-all-names``, None: no path. *may_need_all_names*: one has some
    beyond ASCII, of which a receiver of another version may take fewer. *least_bytes*: what the files take at least on
    another disk, holes left out.
    """

    total_bytes: int
    needs_all_names: bytes | None
    skipped: tuple[bytes, ...]
    may_need_all_names: bool = False
    least_bytes: int = field(default=0, compare=False)


class Sender:
    """One transfer of *paths*. Names in it are relative to the folder that each path is in.

    *skip_links* leaves symbolic links out; *follow_links* sends what is at the end of those that a receiver would
    refuse because they lead out of their folder, or are not in one, and all others as links. Raises
    :class:`InvalidValue` for both of them, no path, a path without a last part (``/``) and two paths with the same
    last part.
    """

    def __init__(
        self, paths: Sequence[str | bytes | PathLike[str]], *, skip_links: bool = False, follow_links: bool = False
    ) -> None:
        if skip_links and follow_links:
            raise InvalidValue("skip_links and follow_links cannot be used together (expected at most one of them)")
        self._tops = [os.path.abspath(os.fsencode(path)) for path in paths]
        self._skip_links, self._follow_links = skip_links, follow_links
        #: Has the checksum of the stream as far as it is made.
        self.packer = Packer()
        #: Bytes of content in it.
        self._done = 0
        names = [os.path.basename(top) for top in self._tops]
        if not names:
            raise InvalidValue("nothing to send (expected at least one file or folder)")
        for top, name in zip(self._tops, names, strict=True):
            if not name:
                raise InvalidValue(f"{shown(top)}: cannot be sent (the path has no name)")
            if names.count(name) > 1:
                raise InvalidValue(f"{shown(top)}: two of the paths to send have the same name")

    @property
    def crc(self) -> int:
        """The checksum of the stream as far as it is made; what is yielded may lack the last files of it."""
        return self.packer.crc

    def survey(self) -> Survey:
        """Read everything once, before anything is sent.

        Raises :class:`InvalidValues` with every symbolic link and name that a receiver would refuse, and every link
        that cannot be followed, and :class:`SourceError`.
        """
        total, least, may_need_all = 0, 0, False
        errors: list[InvalidValue] = []
        needs_all: bytes | None = None
        skipped: list[bytes] = []
        for found in self.walk(skipped.append, errors.append):
            try:
                check_name(found.name, allow_all_names=True)
                texts = [found.name]
                if len(found.name) >= NAME_MAX_BYTES:
                    raise InvalidValue(f"{shown(found.place)}: its name has more than {NAME_MAX_BYTES - 1} bytes")
                if found.kind == stat.S_IFLNK:
                    target = _link_target(found)
                    check_link(found.name, target, allow_all_names=True)
                    texts.append(target)
                if needs_all is None and not all(map(is_plain, texts)):
                    needs_all = found.place
                may_need_all = may_need_all or not all(map(bytes.isascii, texts))
            except Refused as error:
                errors.append(InvalidValue(f"{shown(found.source)}: {error}"))
            except InvalidValue as error:
                errors.append(error)
            if found.kind == stat.S_IFREG:
                size = found.stat().st_size
                total += size
                least += min(size, found.stat().st_blocks * 512)
        if errors:
            raise InvalidValues(errors)
        return Survey(total, needs_all, tuple(skipped), may_need_all, least)

    def chunks(self, progress: Progress | None = None, total_bytes: int = 0) -> Iterator[bytes]:
        """Yield the stream. *progress* is given the bytes of content sent so far and *total_bytes*, after each chunk.

        Small files come many in a chunk, as each chunk is a system call of its own. Raises :class:`SourceError`, once
        all before that has been yielded. May be used once.
        """
        joined: list[bytes] = []
        size = 0
        try:
            for piece in self._pieces():
                joined.append(piece)
                size += len(piece)
                if size >= JOINED:
                    yield b"".join(joined)
                    joined, size = [], 0
                    if progress is not None:
                        progress(self._done, total_bytes)
        except SourceError:
            if joined:
                yield b"".join(joined)
            raise
        yield b"".join(joined)
        if progress is not None:
            progress(self._done, total_bytes)

    def _pieces(self) -> Iterator[bytes]:
        """Yield the stream in pieces."""
        regular, packer = stat.S_IFREG, self.packer
        for found in self.walk():
            if found.kind == regular:
                source = found.source
                try:
                    fd = os.open(source, _READ)
                    try:
                        now = os.fstat(fd)
                        mode, size = now.st_mode, now.st_size
                        if not stat.S_ISREG(mode):
                            raise SourceError(f"{shown(source)}: is no longer a regular file")
                        # One byte more than there should be: a read that gives less has come to the end, so that
                        # nobody need look at the size once more.
                        content = os.read(fd, size + 1 if size < BLOCK else BLOCK)
                        if len(content) == size < BLOCK:
                            self._done += size
                            yield packer.whole(found.name, mode, content, now.st_atime_ns, now.st_mtime_ns)
                        else:
                            yield from self._blocks(found, fd, now, content)
                    finally:
                        os.close(fd)
                except OSError as error:
                    raise _unreadable(source, error) from error
            elif found.kind == stat.S_IFLNK:
                now = found.stat()
                yield packer.whole(found.name, now.st_mode, _link_target(found), now.st_atime_ns, now.st_mtime_ns)
            else:
                yield packer.entry(_entry(found.name, found.stat(), 0))
        yield packer.end()

    def _blocks(self, found: Found, fd: int, now: os.stat_result, block: bytes) -> Iterator[bytes]:
        """Yield the pieces of the file *fd*, of which *block* comes first."""
        header, left = self.packer.entry(_entry(found.name, now, now.st_size)), now.st_size
        while block:
            if len(block) > left:
                raise SourceError(f"{shown(found.source)}: changed its size of {now.st_size} bytes while being sent")
            left -= len(block)
            self.packer.data(block)
            self._done += len(block)
            yield header + block
            header, block = b"", os.read(fd, min(left + 1, BLOCK))
        if left:
            raise SourceError(
                f"{shown(found.source)}: shrank while being sent, {left} of {now.st_size} bytes are missing"
            )

    def walk(
        self, skip: Callable[[bytes], None] = lambda _: None, refuse: Callable[[InvalidValue], None] | None = None
    ) -> Iterator[Found]:
        """Yield what is sent, in that order, each folder again after its content.

        *skip* is called with the paths that are left out, *refuse* with links that cannot be followed, and with what is
        to be sent itself and is a pipe, a socket or a device; without it the first of these is raised. Raises
        :class:`SourceError`, and InvalidValue where more than FOLLOWED entries come by links.
        """
        todo = [_top(top) for top in reversed(self._tops)]
        count = 0
        while todo:
            found = todo.pop()
            here = found.source
            try:
                if self._follow_links and found.kind == stat.S_IFLNK:
                    found = _followed(found)
                if found.folder is None and found.kind not in _SENDABLE:
                    raise InvalidValue(f"{shown(here)}: cannot be sent (expected a file, a folder or a symbolic link)")
            except InvalidValue as error:
                if refuse is None:
                    raise
                refuse(error)
                continue
            if found.kind not in _SENDABLE or (found.kind == stat.S_IFLNK and self._skip_links):
                skip(here)
                continue
            if found.followed_at:
                count += 1
                if count > FOLLOWED:
                    raise InvalidValue(f"{shown(here)}: more than {FOLLOWED} entries are reached by followed links")
            yield found
            if found.kind == stat.S_IFDIR and not found.again:
                todo.append(replace(found, again=True))
                todo += _content(found)


def _entry(name: bytes, found: os.stat_result, size: int) -> Entry:
    return Entry(name, found.st_mode, size, found.st_atime_ns, found.st_mtime_ns)


def _top(path: bytes) -> Found:
    found = Found(path, os.path.basename(path), 0, top=path)
    found.kind = stat.S_IFMT(found.stat().st_mode)
    return found


def _content(folder: Found) -> list[Found]:
    """Return what is in *folder*, the last name first."""
    try:
        fd = os.open(folder.source, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            with os.scandir(fd) as entries:
                kinds = {entry.name.encode(_ENCODING, _ERRORS): _kind(entry) for entry in entries}
        finally:
            os.close(fd)
    except OSError as error:
        raise _unreadable(folder.source, error) from error
    source, name, at = os.path.join(folder.source, b""), folder.name + b"/", folder.followed_at
    return [Found(source + own, name + own, kinds[own], folder, False, at) for own in sorted(kinds, reverse=True)]


def _kind(entry: os.DirEntry[str]) -> int:
    """Return the type of *entry*, which the folder itself has on most file systems."""
    if entry.is_file(follow_symlinks=False):
        return stat.S_IFREG
    if entry.is_dir(follow_symlinks=False):
        return stat.S_IFDIR
    return stat.S_IFLNK if entry.is_symlink() else 0


def _link_target(found: Found) -> bytes:
    try:
        return os.readlink(found.source)
    except OSError as error:
        raise _unreadable(found.source, error) from error


def _followed(link: Found) -> Found:
    """Return what is at the end of *link*, or the link itself where it stays in its folder. Raises InvalidValue."""
    target = _link_target(link)
    try:
        check_link(link.name[link.followed_at :], target, allow_all_names=True)
        return link
    except Refused as error:
        if error.code != errno.ENOLINK:
            return link
    where = f"{shown(link.source)}: the symbolic link to {shown(target)}"
    try:
        source = os.path.realpath(link.source, strict=True)
        found = os.lstat(source)
    except OSError as error:
        raise InvalidValue(f"{where} cannot be followed: {error.strerror}") from error
    folder = link.folder
    while folder is not None:
        if (folder.stat().st_dev, folder.stat().st_ino) == (found.st_dev, found.st_ino):
            raise InvalidValue(f"{where} points to a folder that contains it (following it would never end)")
        folder = folder.folder
    begins = len(link.name) - len(os.path.basename(link.name))
    kind = stat.S_IFMT(found.st_mode)
    return Found(source, link.name, kind, link.folder, followed_at=begins, top=link.top, seen=found)


def _unreadable(source: bytes, error: OSError) -> SourceError:
    return SourceError(f"{shown(source)}: cannot be read: {error.strerror}")
