"""Receives a Qubes file copy: reads the stream, fills a folder, and sends one result.

What comes is read ahead into a few blocks (``readahead.py``) and written from there; memory use does not depend on the
sizes of the files or of the transfer.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from vminterface.errors import InvalidValue
from vminterface.values.vmname import VMName
from vminterface.vm.handlers.files.readahead import ReadAhead
from vminterface.vm.handlers.files.tree import PartialFile, Tree
from vminterface.wire.qfile import Data, Directory, EntryEnd, EntryStart, Event, Symlink, Unpacker
from vminterface.wire.qfile_result import Refused, Result

#: Seconds without a byte after which the sender is given up.
IDLE_TIMEOUT = 600.0

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Terms:
    """What a receiver takes.

    *total_bytes* and *entries* (files, folders and links) bound the whole transfer, None: no bound. *allow_all_names*
    lifts the rules on characters, not those on the form of names. *keep_special_modes*: see ``filecopy_tree.Tree``.
    *sync*: the file system has written everything to its disk before success is reported. *idle_timeout*: seconds.
    """

    total_bytes: int | None = None
    entries: int | None = None
    allow_all_names: bool = False
    keep_special_modes: bool = False
    sync: bool = True
    idle_timeout: float = IDLE_TIMEOUT


def open_incoming(source: str, home: Path) -> int:
    """Return ``QubesIncoming/<source>`` below *home* as an open folder; both parts are made (0700) where missing.

    Either may be a symbolic link, to a folder with more room, that is this user's or root's; another's is not followed.

    Raises :class:`InvalidValue` if *source* is not a valid VM name, or if one of the two is there and leads to no
    folder.
    """
    VMName.parse(source)
    folder = os.open(home, _FOLDER)
    for part in ("QubesIncoming", source):
        with contextlib.suppress(FileExistsError):
            os.mkdir(part, 0o700, dir_fd=folder)
        try:
            below = _open_folder(part, folder)
        except OSError as error:
            if error.errno not in (errno.ENOTDIR, errno.ENOENT, errno.ELOOP):
                raise
            raise InvalidValue(
                f"{home}/QubesIncoming: '{part}' is not a folder, nor your own link to a folder"
            ) from None
        finally:
            os.close(folder)
        folder = below
    return folder


def _open_folder(name: str, parent: int) -> int:
    try:
        return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=parent)
    except NotADirectoryError:
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if not stat.S_ISLNK(found.st_mode) or found.st_uid not in (os.geteuid(), 0):
            raise
        return os.open(name, _FOLDER, dir_fd=parent)


def receive(source: int, folder: int, terms: Terms = Terms()) -> Result:
    """Receive one transfer from the descriptor *source* into the open *folder* and return the result to send.

    Whatever goes wrong, in the stream or on the disk, is in the result; entries that were whole before it stay.
    """
    unpacker = Unpacker(allow_all_names=terms.allow_all_names)
    with (
        ReadAhead(source, terms.idle_timeout) as stream,
        Tree(folder, keep_special_modes=terms.keep_special_modes) as tree,
    ):
        filler = _Filler(tree, terms)
        try:
            for block in stream:
                unpacker.receive_data(block.data, block.crc)
                filler.take_all(unpacker)
                if unpacker.ended:
                    break
            if terms.sync:
                _sync(folder)
        except Refused as error:
            return unpacker.result(error)
        except OSError as error:
            return unpacker.result(Refused(error.errno or errno.EIO, unpacker.last_name))
        finally:
            filler.close()
    return unpacker.result()


def serve(source: int, reply: int, folder: int, terms: Terms = Terms()) -> Result:
    """Receive from *source* into *folder*, write the result to *reply* and return it: it has the status to end with.

    *source* is closed before the result is written, so that a sender in the middle of a file stops at once.
    A sender that is gone takes no answer; that changes nothing here.
    """
    result = receive(source, folder, terms)
    os.close(source)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        _write_all(reply, memoryview(result.render()))
    return result


class _Filler:
    """Does with the folder what the events say."""

    def __init__(self, tree: Tree, terms: Terms) -> None:
        self._tree = tree
        self._bytes_left = terms.total_bytes
        self._entries_left = terms.entries
        self._file: PartialFile | None = None
        self._start: EntryStart | None = None

    def take_all(self, unpacker: Unpacker) -> None:
        """Do what is in the data that *unpacker* has. Raises OSError or Refused."""
        while True:
            while (file := unpacker.next_file()) is not None:
                self._count(file.path, len(file.content))
                mode = self._tree.mode(file.mode)
                self._tree.whole_file(file.path, file.content, mode, (file.atime_ns, file.mtime_ns))
            if (event := unpacker.next_event()) is None:
                return
            self._take(event)

    def _take(self, event: Event) -> None:
        match event:
            case Data(chunk):
                assert self._file is not None
                self._file.write(chunk)
            case EntryStart():
                self._count(event.path, event.size)
                self._start = event
                self._file = self._tree.file(event.path, event.size)
            case EntryEnd():
                assert self._file is not None
                assert self._start is not None
                self._file.complete(self._tree.mode(self._start.mode), (self._start.atime_ns, self._start.mtime_ns))
                self._file = None
            case Directory():
                if self._tree.folder(event.path, event.mode, (event.atime_ns, event.mtime_ns)):
                    self._count(event.path, 0)
            case Symlink(path, target):
                self._count(path, len(target))
                self._tree.link(path, target)

    def close(self) -> None:
        """Leave nothing of a file that is not whole."""
        if self._file is not None:
            self._file.discard()

    def _count(self, path: bytes, size: int) -> None:
        if self._entries_left is not None:
            self._entries_left -= 1
            if self._entries_left < 0:
                raise Refused(errno.EDQUOT, path, "more entries than accepted here")
        if self._bytes_left is not None:
            self._bytes_left -= size
            if self._bytes_left < 0:
                raise Refused(errno.EDQUOT, path, "more bytes than accepted here")


def _write_all(fd: int, data: memoryview) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _sync(folder: int) -> None:
    """Have the file system of *folder* written to its disk."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syncfs(folder):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
