"""The word that all threads of an agent shall end, also for one that waits in poll(2)."""

from __future__ import annotations

import os
import threading


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
