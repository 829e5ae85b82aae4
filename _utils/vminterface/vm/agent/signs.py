"""Wakes the agent when something besides its store may have changed, so that it need not check again and again.

Those are this machine's interfaces (rtnetlink(7)) and some files (inotify(7)). What is in an event does not matter: it
is a reason to check.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable, Sequence
from contextlib import suppress

from vminterface.channel.store import Readable
from vminterface.errors import VMInterfaceError
from vminterface.vm.machine import inotify
from vminterface.vm.machine.files import Files
from vminterface.vm.machine.inotify import Inotify

#: linux/rtnetlink.h: RTMGRP_LINK, of interfaces that come, go or change.
_LINKS = 1
_IN_FOLDERS = (
    inotify.CLOSE_WRITE | inotify.ATTRIBUTES | inotify.MOVED_FROM | inotify.MOVED_TO | inotify.CREATE | inotify.DELETE
)
_OF_FILES = inotify.MODIFY | inotify.ATTRIBUTES | inotify.DELETE_SELF | inotify.MOVE_SELF
_CHUNK = 65536


class Signs:
    """The events of the interfaces, and of the files *paths* of *machine*, which need not be there."""

    def __init__(self, machine: Files, paths: Iterable[str]) -> None:
        self._machine, self._paths = machine, tuple(paths)
        self._links: socket.socket | None = None
        self._files: Inotify | None = None
        with suppress(OSError):
            self._links = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
            self._links.setblocking(False)
            self._links.bind((0, _LINKS))
        with suppress(VMInterfaceError):
            self._files = Inotify()
        #: Whether all changes wake; else somebody has to check now and then.
        self.complete = self._links is not None and self._watch()

    @property
    def descriptors(self) -> Sequence[Readable]:
        """What is readable when there is a reason to check."""
        return [one for one in (self._links, self._files) if one is not None]

    def clear(self) -> None:
        """Wait for later events only; check everything after that."""
        if self._files is not None and self._files.events():
            # A folder or file that was made, or put in another's place, has to be watched from now on.
            self.complete = self.complete and self._watch()
        while self._links is not None:
            try:
                self._links.recv(_CHUNK)
            except OSError as error:
                # Where the kernel has dropped some there may still be others.
                if error.errno != errno.ENOBUFS:
                    break

    def close(self) -> None:
        """Give the events up; may be called twice."""
        for one in (self._links, self._files):
            if one is not None:
                one.close()

    def _watch(self) -> bool:
        """Watch each file, the folder that it really is in, and the nearest folder on the way to where it may come."""
        if self._files is None:
            return False
        try:
            for path in self._paths:
                place = self._machine.path(path)
                folder = os.path.dirname(place)
                while not os.path.isdir(folder):
                    folder = os.path.dirname(folder)
                self._files.watch(folder, _IN_FOLDERS)
                if os.path.exists(real := self._machine.real_path(path)):
                    self._files.watch(real, _OF_FILES)
                    self._files.watch(os.path.dirname(real), _IN_FOLDERS)
        except VMInterfaceError:
            return False
        return True
