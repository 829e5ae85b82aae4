"""Notices when devices or mounts of this machine may have changed: the kernel's and udev's events, or a timer.

The content of an event does not matter: it is a reason to check again. Source: kernel ``lib/kobject_uevent.c``, systemd
``device-monitor.c`` (the netlink groups), proc(5) (mount and swap tables report changes to poll).
"""

from __future__ import annotations

import os
import select
import socket
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

from vminterface.stop import Stop
from vminterface.vm.machine.files import Files
from vminterface.vm.report import udev

_KOBJECT_UEVENT = 15
_KERNEL, _UDEV = 1, 2
_TABLES = ("/proc/self/mountinfo", "/proc/swaps")
#: Seconds between two checks without an event: where events come, and where there are none.
RARELY, OFTEN = 30.0, 2.0
#: Seconds without an event after which a burst of them is over, and how long one may last.
_QUIET, _BURST = 0.1, 1.0


class Uevents:
    """A subscription to events of one *subsystem* (``block``, ``usb``), and of mounts where *mounts*."""

    def __init__(self, machine: Files, subsystem: str, *, mounts: bool = False) -> None:
        self._marks = (f"SUBSYSTEM={subsystem}\0".encode(), f"DEVTYPE={subsystem}_".encode())
        self._socket: socket.socket | None = None
        self._tables: list[int] = []
        self._poll = select.poll()
        # A folder that stands for a machine has no kernel of its own to listen to.
        if machine.is_whole:
            # udev's own events come when its rules have had their say.
            self._subscribe(_UDEV if udev.is_running(machine) else _KERNEL)
            for table in _TABLES if mounts else ():
                with suppress(OSError):
                    self._tables.append(os.open(table, os.O_RDONLY | os.O_CLOEXEC))
                    self._poll.register(self._tables[-1], select.POLLPRI)

    def _subscribe(self, group: int) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        try:
            self._socket = socket.socket(socket.AF_NETLINK, kind, _KOBJECT_UEVENT)
            self._socket.bind((0, group))
        except OSError:
            self.close()
        else:
            self._poll.register(self._socket, select.POLLIN)

    @property
    def interval(self) -> float:
        """Seconds after which to check even without an event."""
        return RARELY if self._socket is not None else OFTEN

    def wait(self, seconds: float, stop: Stop) -> bool:
        """Wait for a burst of events and its end; return False if *seconds* passed or *stop* was set first."""
        self._poll.register(stop, select.POLLIN)
        end = time.monotonic() + seconds
        while not stop.is_set() and (left := end - time.monotonic()) > 0.0:
            if self._one(left, stop):
                end = time.monotonic() + _BURST
                while self._one(_QUIET, stop) and time.monotonic() < end:
                    pass
                return True
        return False

    def _one(self, seconds: float, stop: Stop) -> bool:
        """Wait for one event that matters, or *stop*."""
        matters = False
        for descriptor, _ in self._poll.poll(seconds * 1000):
            if self._socket is not None and descriptor == self._socket.fileno():
                matters = self._receive() or matters
            elif descriptor != stop.fileno():
                # Reading the table is what ends its report of a change.
                os.lseek(descriptor, 0, os.SEEK_SET)
                os.read(descriptor, 1)
                matters = True
        return matters

    def _receive(self) -> bool:
        assert self._socket is not None
        try:
            message = self._socket.recv(65536)
        except BlockingIOError:
            return False
        except OSError:
            return True  # so many came that the kernel dropped some
        return any(mark in message for mark in self._marks)

    def close(self) -> None:
        """Give the subscription up."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        for descriptor in self._tables:
            os.close(descriptor)
        self._tables = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
