"""What others do with one file: the kernel's events of the folder that it is in (inotify(7)), and who has it open."""

from __future__ import annotations

import os

from vminterface.errors import VMInterfaceError
from vminterface.vm.machine import inotify
from vminterface.vm.machine.inotify import Inotify

#: Events after which the file may have another content, or be gone; some editors write a new file and rename it.
SAVED = inotify.CLOSE_WRITE | inotify.MOVED_FROM | inotify.MOVED_TO | inotify.DELETE | inotify.OVERFLOW
#: Events of a program that has begun to read it.
OPENED = inotify.OPEN | inotify.OVERFLOW
_ALL = SAVED | OPENED | inotify.MODIFY | inotify.CLOSE | inotify.CREATE


class FileWatch:
    """A watch of the file *path*, which need not be there. Raises VMInterfaceError where the kernel gives none."""

    def __init__(self, path: str) -> None:
        folder, name = os.path.split(path)
        self._name = os.fsencode(name)
        self._queue = Inotify()
        try:
            self._queue.watch(folder, _ALL & ~inotify.OVERFLOW)
        except VMInterfaceError:
            self.close()
            raise

    def fileno(self) -> int:
        """Return the descriptor that is readable when there are events."""
        return self._queue.fileno()

    def events(self) -> int:
        """Return what has happened to the file since the last call: bits of SAVED and OPENED, and others."""
        found = 0
        for mask, name in self._queue.events():
            if name == self._name or mask & inotify.OVERFLOW:
                found |= mask
        return found

    def close(self) -> None:
        """Give the watch up."""
        self._queue.close()

    def __enter__(self) -> FileWatch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def in_use(path: str) -> bool:
    """Whether a process has the file open or was started with it: some openers return before their program ends."""
    desired = os.fsencode(path)
    own = str(os.getpid())
    for process in filter(str.isdigit, os.listdir("/proc")):
        if process == own:
            continue
        try:
            with open(f"/proc/{process}/cmdline", "rb") as file:
                if desired in file.read(1 << 17):
                    return True
            names = [os.readlink(f"/proc/{process}/fd/{number}") for number in os.listdir(f"/proc/{process}/fd")]
        except OSError:  # ended meanwhile, or another user's
            continue
        if path in names:
            return True
    return False
