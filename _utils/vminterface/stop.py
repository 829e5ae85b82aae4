"""The word that what a program does in its threads shall end, also for one that waits in poll(2) or for a signal."""

from __future__ import annotations

import os
import select
import signal
import threading
from contextlib import suppress


class Stop(threading.Event):
    """An event with a descriptor that is readable once it is set; it is never cleared."""

    def __init__(self) -> None:
        super().__init__()
        self._reader, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def set(self) -> None:
        """Set it, and wake whoever waits for the descriptor."""
        super().set()
        writer, self._writer = self._writer, -1
        if writer >= 0:
            os.close(writer)

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._reader

    def __del__(self) -> None:
        for descriptor in (self._reader, self._writer):
            if descriptor >= 0:
                os.close(descriptor)


def wait_for(stop: Stop) -> None:
    """Wait in the main thread until *stop* is set, also by a signal's handler. Raises what a handler raises.

    The kernel gives a signal to any thread, and Python runs handlers in this one alone, which neither a lock nor a
    call of the system's wakes for them then: only the descriptor for signals does.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    former, came = -1, b""
    try:
        former = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        poll = select.poll()
        poll.register(reader, select.POLLIN)
        poll.register(stop, select.POLLIN)
        while not stop.is_set():
            poll.poll()
            came += _read(reader)
    finally:
        signal.set_wakeup_fd(former, warn_on_full_buffer=former < 0)
        came += _read(reader)
        os.close(reader)
        os.close(writer)
        if former >= 0 and came:
            # Such as an event loop's: it is notified of the signals that came meanwhile.
            with suppress(OSError):
                os.write(former, came)


def _read(reader: int) -> bytes:
    try:
        return os.read(reader, 4096)
    except BlockingIOError:
        return b""
