"""The folder that a file copy is received into: nothing is made outside of it, over a file, or half.

Every folder on the way to an entry is opened by its own name, without following symbolic links. Files have no name
until they are whole (``O_TMPFILE`` and ``link``); where the file system has no such files, they are created
exclusively with no permissions at all, which are given when they are whole, and removed if that never comes.
"""

from __future__ import annotations

import ctypes
import errno
import os
from contextlib import suppress
from types import TracebackType
from typing import Self

from vminterface.wire.holes import written
from vminterface.wire.qfile_result import Refused

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_UNNAMED_FILES = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT})
#: Permission bits that are taken from the sender; the set-user-ID, set-group-ID and sticky bits are not.
PLAIN_MODE = 0o777
#: Bytes for which room is set aside at once, and from which on it is.
RESERVED, RESERVED_FROM = 1 << 30, 1 << 24
#: Of linux/falloc.h: the file stays as long as it is; what was set aside is given back.
_KEEP_SIZE, _PUNCH_HOLE = 1, 2
#: Bytes of a hole for which what was set aside is given back; many small ones would cut the file into pieces.
_GIVEN_BACK_FROM = 1 << 16


class PartialFile:
    """A file of *size* bytes being written; :meth:`complete` or :meth:`discard` ends it.

    Blocks of zeros become holes: the stream does not include where the sender's file has some.
    """

    def __init__(self, tree: Tree, parent: int, name: bytes, size: int) -> None:
        self._tree, self._parent, self._name = tree, parent, name
        self._size = size
        # Up to where the file has come, and up to where its room is what it needs, and up to where room is set aside.
        self._at = self._settled = self._reserved = 0
        self._named = False
        self.fd = tree.open_unnamed(parent)
        if self.fd < 0:
            exclusive = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self.fd = os.open(name, exclusive, 0, dir_fd=parent)
            self._named = True

    def write(self, data: memoryview) -> None:
        """Add *data* to the file."""
        if self._at >= self._reserved and self._size - self._at >= RESERVED_FROM:
            self._reserve()
        for place, piece in written(data, self._at):
            self._settle(place)
            while piece:
                count = os.pwrite(self.fd, piece, place)
                place += count
                piece = piece[count:]
            self._settled = place
        self._at += len(data)

    def _reserve(self) -> None:
        """Have room set aside, so that the file system need not look for some at each write."""
        self._settle(self._at)
        room = min(self._size - self._at, RESERVED)
        self._reserved = self._at + room
        # Some file systems cannot, or know only at a write whether there is room: the write fails.
        self._allocate(_KEEP_SIZE, self._at, room)

    def _settle(self, end: int) -> None:
        """Give back what was set aside for the hole that is before *end*."""
        size = min(end, self._reserved) - self._settled
        if size >= _GIVEN_BACK_FROM:
            # Behind a file's end ext4 gives nothing back.
            os.ftruncate(self.fd, end)
            self._allocate(_KEEP_SIZE | _PUNCH_HOLE, self._settled, size)
        self._settled = end

    def _allocate(self, mode: int, start: int, size: int) -> None:
        libc = ctypes.CDLL(None)
        with suppress(AttributeError):  # not every C library has it
            libc.fallocate64.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
            libc.fallocate64(self.fd, mode, start, size)

    def complete(self, mode: int, times_ns: tuple[int, int]) -> None:
        """Give the file its permissions, times and, if it has none yet, its name. FileExistsError: name taken."""
        if self._settled < self._at:  # it ends with a hole
            self._settle(self._at)
            os.ftruncate(self.fd, self._at)
        os.utime(self.fd, ns=times_ns)
        os.fchmod(self.fd, mode)
        if not self._named:
            self._tree.link_unnamed(self.fd, self._parent, self._name)
        os.close(self.fd)
        self.fd = -1

    def discard(self) -> None:
        """Leave nothing of a file that is not complete; does nothing after :meth:`complete`."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
            if self._named:
                with suppress(OSError):
                    os.unlink(self._name, dir_fd=self._parent)


class Tree:
    """Makes files, folders and links below an open folder. Paths are names that ``check_name`` has accepted.

    *keep_special_modes*: apply the set-user-ID, set-group-ID and sticky bits too, as the stock receiver does. Only
    for a folder mounted ``nosuid``: elsewhere the sender would choose whose rights a program here has.

    Methods raise OSError as the system gives it, and :class:`Refused` for a folder on the way that is missing or
    is not a folder.
    """

    def __init__(self, folder: int, *, keep_special_modes: bool = False) -> None:
        self._mode_bits = 0o7777 if keep_special_modes else PLAIN_MODE
        self._root = os.dup(folder)
        # The folder that was used last: files mostly come folder by folder.
        self._near = self._root
        self._near_path = b""
        # Lengths of the prefixes of _deepest that are folders whose second header is still to come.
        self._deepest = b""
        self._unfinished: list[int] = []
        self._links = -1
        with suppress(OSError):
            self._links = os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._has_unnamed_files = self._links >= 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the folders that are open; may be called twice."""
        for fd in {self._near, self._root, self._links} - {-1}:
            os.close(fd)
        self._near = self._root = self._links = -1

    def file(self, path: bytes, size: int) -> PartialFile:
        """Return a new file for *path*, of *size* bytes. Raises FileExistsError if there is anything of that name."""
        parent, name = self._parent(path)
        with suppress(FileNotFoundError):
            os.stat(name, dir_fd=parent, follow_symlinks=False)
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        return PartialFile(self, parent, name, size)

    def whole_file(self, path: bytes, content: memoryview, mode: int, times_ns: tuple[int, int]) -> None:
        """Make the file *path* of all its *content*. Raises FileExistsError if there is anything of that name."""
        parent, name = self._parent(path)
        file = PartialFile(self, parent, name, len(content))
        try:
            file.write(content)
            file.complete(mode, times_ns)
        finally:
            file.discard()

    def link(self, path: bytes, target: bytes) -> None:
        """Make the symbolic link *path* to *target*."""
        parent, name = self._parent(path)
        os.symlink(target, name, dir_fd=parent)

    def folder(self, path: bytes, mode: int, times_ns: tuple[int, int]) -> bool:
        """Take the header of a folder: the first one makes it (0700) unless it is there, the second one sets it.

        Returns whether it was the first.
        """
        parent, name = self._parent(path)
        if self._is_second(path):
            fd = os.open(name, _FOLDER, dir_fd=parent)
            try:
                os.fchmod(fd, mode & self._mode_bits)
                os.utime(fd, ns=times_ns)
            finally:
                os.close(fd)
            return False
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            os.close(os.open(name, _FOLDER, dir_fd=parent))
        return True

    def mode(self, mode: int) -> int:
        """Return the bits of *mode* that are applied here."""
        return mode & self._mode_bits

    def open_unnamed(self, parent: int) -> int:
        """Return a new unnamed file in the file system of *parent*, -1 if it does not support such files."""
        if self._has_unnamed_files:
            try:
                return os.open(".", os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o600, dir_fd=parent)
            except OSError as error:
                if error.errno not in _NO_UNNAMED_FILES:
                    raise
                self._has_unnamed_files = False
        return -1

    def link_unnamed(self, fd: int, parent: int, name: bytes) -> None:
        """Name the unnamed file *fd*, never instead of another one."""
        os.link(b"%d" % fd, name, src_dir_fd=self._links, dst_dir_fd=parent, follow_symlinks=True)

    def _is_second(self, path: bytes) -> bool:
        while self._unfinished:
            innermost = self._deepest[: self._unfinished[-1]]
            if path.startswith(innermost + b"/"):
                break
            self._unfinished.pop()
            if path == innermost:
                return True
        self._deepest = path
        self._unfinished.append(len(path))
        return False

    def _parent(self, path: bytes) -> tuple[int, bytes]:
        """Return the open folder of *path* (ours: not to be closed) and the last part of *path*."""
        above, _, name = path.rpartition(b"/")
        if not above:
            return self._root, name
        if above != self._near_path:
            self._go(above)
        return self._near, name

    def _go(self, path: bytes) -> None:
        start, rest = self._root, path
        if self._near_path and path.startswith(self._near_path + b"/"):
            start, rest = self._near, path[len(self._near_path) + 1 :]
        else:
            self._leave()
        for part in rest.split(b"/"):
            try:
                fd = os.open(part, _FOLDER, dir_fd=start)
            except OSError as error:
                self._leave()
                raise Refused(error.errno or errno.EIO, part) from error
            if start != self._root:
                os.close(start)
            start = self._near = fd
        self._near_path = path

    def _leave(self) -> None:
        if self._near != self._root:
            os.close(self._near)
        self._near, self._near_path = self._root, b""
