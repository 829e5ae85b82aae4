"""Sends files and folders as a Qubes file copy: walks them in a stable order and yields the stream.

Symbolic links are sent as links and never followed. Sockets, pipes and devices are left out and noted. What a file
promises in its header is what is sent: one that is gone, cannot be read, shrinks or grows ends the transfer.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from os import PathLike

from vminterface.channel import filecopy
from vminterface.errors import InvalidValue, InvalidValues, VMInterfaceError
from vminterface.errors import printable as shown
from vminterface.wire.qfile import Entry, Packer
from vminterface.wire.qfile_names import check_link, check_name, is_plain
from vminterface.wire.qfile_result import NAME_MAX_BYTES, Refused, Result

#: Bytes of a file that are read at once.
BLOCK = 1 << 18

_SENDABLE = frozenset({stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK})
Progress = Callable[[int, int], None]


class SourceFault(VMInterfaceError):
    """A file that is to be sent cannot be read, or is not any more what its header has promised."""


@dataclass(frozen=True, slots=True)
class Found:
    """One file, folder or link: where it is here, and its name in the transfer."""

    source: bytes
    name: bytes
    stat: os.stat_result
    #: The second time that a folder comes, after its content.
    again: bool = False


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

    *skip_links* leaves symbolic links out. Raises :class:`InvalidValue` for no path, a path without a last part
    (``/``) and two paths with the same last part.
    """

    def __init__(self, paths: Sequence[str | bytes | PathLike[str]], *, skip_links: bool = False) -> None:
        self._tops = [os.path.abspath(os.fsencode(path)) for path in paths]
        self._skip_links = skip_links
        #: Has the checksum of what has been yielded so far.
        self.packer = Packer()
        names = [os.path.basename(top) for top in self._tops]
        if not names:
            raise InvalidValue("nothing to send: expected at least one file or folder")
        for top, name in zip(self._tops, names, strict=True):
            if not name:
                raise InvalidValue(f"{shown(top)} cannot be sent: it has no name of its own")
            if names.count(name) > 1:
                raise InvalidValue(f"{shown(top)}: two of the paths to send have the same last part")

    @property
    def crc(self) -> int:
        """The checksum of what has been yielded so far."""
        return self.packer.crc

    def survey(self) -> Survey:
        """Look at everything once, before anything is sent.

        Raises :class:`InvalidValues` with every symbolic link and name that a receiver would refuse, and
        :class:`SourceFault`.
        """
        total, least, may_need_all, faults = 0, 0, False, []
        needs_all: bytes | None = None
        skipped: list[bytes] = []
        for found in self._walk(skipped.append):
            try:
                check_name(found.name, allow_all_names=True)
                texts = [found.name]
                if len(found.name) >= NAME_MAX_BYTES:
                    raise InvalidValue(f"{shown(found.source)}: its name has more than {NAME_MAX_BYTES - 1} bytes")
                if stat.S_ISLNK(found.stat.st_mode):
                    target = _link_target(found)
                    check_link(found.name, target, allow_all_names=True)
                    texts.append(target)
                if needs_all is None and not all(map(is_plain, texts)):
                    needs_all = found.source
                may_need_all = may_need_all or not all(map(bytes.isascii, texts))
            except Refused as fault:
                faults.append(InvalidValue(f"{shown(found.source)}: {fault}"))
            except InvalidValue as fault:
                faults.append(fault)
            if stat.S_ISREG(found.stat.st_mode):
                total += found.stat.st_size
                least += min(found.stat.st_size, found.stat.st_blocks * 512)
        if faults:
            raise InvalidValues(faults)
        return Survey(total, needs_all, tuple(skipped), may_need_all, least)

    def chunks(self, progress: Progress | None = None, total_bytes: int = 0) -> Iterator[bytes]:
        """Yield the stream. *progress* is told the bytes of content sent so far and *total_bytes*, after each chunk.

        Raises :class:`SourceFault`. May be used once.
        """
        done = 0
        for found in self._walk(lambda _: None):
            kind = stat.S_IFMT(found.stat.st_mode)
            if kind == stat.S_IFREG:
                for chunk, size in self._file(found):
                    yield chunk
                    done += size
                    if progress is not None:
                        progress(done, total_bytes)
            elif kind == stat.S_IFLNK:
                target = _link_target(found)
                yield self.packer.entry(_entry(found.name, found.stat, len(target)))
                yield bytes(self.packer.data(target))
            else:
                yield self.packer.entry(_entry(found.name, found.stat, 0))
        yield self.packer.end()

    def _file(self, found: Found) -> Iterator[tuple[bytes, int]]:
        try:
            # Not to wait for a writer, should a pipe have taken the place of the file.
            fd = os.open(found.source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise _unreadable(found.source, error) from error
        try:
            now = os.fstat(fd)
            if not stat.S_ISREG(now.st_mode):
                raise SourceFault(f"{shown(found.source)}: was a file when it was found and is none any more")
            yield self.packer.entry(_entry(found.name, now, now.st_size)), 0
            left = now.st_size
            while left:
                chunk = os.read(fd, min(left, BLOCK))
                if not chunk:
                    raise SourceFault(
                        f"{shown(found.source)}: shrank while it was sent, {left} of {now.st_size} bytes are missing"
                    )
                left -= len(chunk)
                self.packer.data(chunk)
                yield chunk, len(chunk)
            if os.fstat(fd).st_size != now.st_size:
                raise SourceFault(f"{shown(found.source)}: changed its size of {now.st_size} bytes while it was sent")
        except OSError as error:
            raise _unreadable(found.source, error) from error
        finally:
            os.close(fd)

    def _walk(self, skip: Callable[[bytes], None]) -> Iterator[Found]:
        todo = [self._found(top, os.path.basename(top)) for top in reversed(self._tops)]
        while todo:
            found = todo.pop()
            kind = stat.S_IFMT(found.stat.st_mode)
            if kind not in _SENDABLE or (kind == stat.S_IFLNK and self._skip_links):
                skip(found.source)
                continue
            yield found
            if kind == stat.S_IFDIR and not found.again:
                todo.append(Found(found.source, found.name, found.stat, again=True))
                todo += [
                    self._found(os.path.join(found.source, name), found.name + b"/" + name)
                    for name in sorted(_names(found.source), reverse=True)
                ]

    @staticmethod
    def _found(source: bytes, name: bytes) -> Found:
        try:
            return Found(source, name, os.lstat(source))
        except OSError as error:
            raise _unreadable(source, error) from error


def send(
    sender: Sender,
    output: int,
    answer: int,
    *,
    progress: Progress | None = None,
    total_bytes: int = 0,
    idle_timeout: float = filecopy.IDLE_TIMEOUT,
) -> Result:
    """Write the stream of *sender* to the descriptor *output* and read the receiver's result from *answer*.

    *output* is closed in every case. Raises :class:`SourceFault`, and what ``channel.filecopy.send`` raises for the
    receiver and the connection to it.
    """
    chunks = sender.chunks(progress, total_bytes)
    return filecopy.send(chunks, sender.packer, output, answer, idle_timeout=idle_timeout)


def _entry(name: bytes, found: os.stat_result, size: int) -> Entry:
    return Entry(name, found.st_mode, size, found.st_atime_ns, found.st_mtime_ns)


def _names(folder: bytes) -> list[bytes]:
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            return [os.fsencode(name) for name in os.listdir(fd)]
        finally:
            os.close(fd)
    except OSError as error:
        raise _unreadable(folder, error) from error


def _link_target(found: Found) -> bytes:
    try:
        return os.readlink(found.source)
    except OSError as error:
        raise _unreadable(found.source, error) from error


def _unreadable(source: bytes, error: OSError) -> SourceFault:
    return SourceFault(f"{shown(source)}: cannot be read: {error.strerror}")
