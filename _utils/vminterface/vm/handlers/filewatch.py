"""What others do with one file: the kernel's events of the folder that it is in (inotify(7)), and who has it open."""

from __future__ import annotations

import ctypes
import os
import struct

from vminterface.errors import VMInterfaceError

_MODIFY, _CLOSE_WRITE, _CLOSE, _OPEN = 0x2, 0x8, 0x10, 0x20
_MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x40, 0x80, 0x100, 0x200
_OVERFLOW = 0x4000
#: Events after which the file may have another content, or be gone; some editors write a new file and rename it.
SAVED = _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _DELETE | _OVERFLOW
#: Events of a program that has begun to read it.
OPENED = _OPEN | _OVERFLOW
_ALL = _MODIFY | _CLOSE_WRITE | _CLOSE | _OPEN | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE
#: wd, mask, cookie, len; then len bytes of name, padded with NUL.
_EVENT = struct.Struct("=iIII")
_CHUNK = 65536


class FileWatch:
    """A watch of the file *path*, which need not be there. Raises VMInterfaceError where the kernel gives none."""

    def __init__(self, path: str) -> None:
        folder, name = os.path.split(path)
        self._name = os.fsencode(name)
        library = ctypes.CDLL(None, use_errno=True)
        self._descriptor: int = library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor < 0 or library.inotify_add_watch(self._descriptor, os.fsencode(folder), _ALL) < 0:
            reason = os.strerror(ctypes.get_errno())
            self.close()
            raise VMInterfaceError(f"{folder}: cannot be watched: {reason}")

    def fileno(self) -> int:
        """Return the descriptor that is readable when there are events."""
        return self._descriptor

    def events(self) -> int:
        """Return what has happened to the file since the last call: bits of SAVED and OPENED, and others."""
        found = 0
        while True:
            try:
                data = os.read(self._descriptor, _CHUNK)
            except BlockingIOError:
                return found
            while data:
                _, mask, _, length = _EVENT.unpack_from(data)
                name = data[_EVENT.size : _EVENT.size + length].rstrip(b"\0")
                data = data[_EVENT.size + length :]
                if name == self._name or mask & _OVERFLOW:
                    found |= mask

    def close(self) -> None:
        """Give the watch up."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> FileWatch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def in_use(path: str) -> bool:
    """Whether a process has the file open or was started with it: some openers return before their program ends."""
    wanted = os.fsencode(path)
    own = str(os.getpid())
    for process in filter(str.isdigit, os.listdir("/proc")):
        if process == own:
            continue
        try:
            with open(f"/proc/{process}/cmdline", "rb") as file:
                if wanted in file.read(1 << 17):
                    return True
            names = [os.readlink(f"/proc/{process}/fd/{number}") for number in os.listdir(f"/proc/{process}/fd")]
        except OSError:  # ended meanwhile, or another user's
            continue
        if path in names:
            return True
    return False
