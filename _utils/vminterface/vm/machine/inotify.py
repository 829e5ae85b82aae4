"""The kernel's events of files and folders (inotify(7))."""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Self

from vminterface.errors import VMInterfaceError, printable_path

MODIFY, ATTRIBUTES, CLOSE_WRITE, CLOSE, OPEN = 0x2, 0x4, 0x8, 0x10, 0x20
MOVED_FROM, MOVED_TO, CREATE, DELETE = 0x40, 0x80, 0x100, 0x200
DELETE_SELF, MOVE_SELF, OVERFLOW = 0x400, 0x800, 0x4000
#: wd, mask, cookie, len; then len bytes of name, padded with NUL.
_EVENT = struct.Struct("=iIII")
_CHUNK = 65536


class Inotify:
    """One queue of events. Raises VMInterfaceError where the kernel gives none."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None, use_errno=True)
        self._descriptor: int = self._library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor < 0:
            raise VMInterfaceError(f"files cannot be watched: {os.strerror(ctypes.get_errno())}")

    def watch(self, path: str, mask: int) -> None:
        """Have the events *mask* of *path* and, for a folder, of what is in it; anew for one that is watched already.

        Raises VMInterfaceError.
        """
        if self._library.inotify_add_watch(self._descriptor, os.fsencode(path), mask) < 0:
            raise VMInterfaceError(f"{printable_path(path)}: cannot be watched: {os.strerror(ctypes.get_errno())}")

    def fileno(self) -> int:
        """Return the descriptor that is readable when there are events."""
        return self._descriptor

    def events(self) -> list[tuple[int, bytes]]:
        """Return what has come since the last call: the bits of each event, and the name in the folder, if any."""
        found: list[tuple[int, bytes]] = []
        while True:
            try:
                data = os.read(self._descriptor, _CHUNK)
            except BlockingIOError:
                return found
            while data:
                _, mask, _, length = _EVENT.unpack_from(data)
                found.append((mask, data[_EVENT.size : _EVENT.size + length].rstrip(b"\0")))
                data = data[_EVENT.size + length :]

    def close(self) -> None:
        """Give the queue up; may be called twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
