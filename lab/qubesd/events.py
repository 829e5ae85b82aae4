"""What happens in qubesd, for those who listen to ``admin.Events``."""

from __future__ import annotations

import queue
import threading

#: How many of the last calls, and of the last events, are kept for tests: a lab may run for hours.
KEPT = 1_000


class Listener:
    """One stream of events; those of one VM where *vm* is not None."""

    def __init__(self, vm: str | None) -> None:
        self.vm = vm
        #: None is the end of the stream.
        self.waiting: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()


class Events:
    """Sends what happens to everybody who listens, and keeps the names of it for tests."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: set[Listener] = set()
        #: (VM, event) of the last that happened, KEPT at most.
        self.log: list[tuple[str, str]] = []

    def fire(self, vm: str, event: str, /, **values: object) -> None:
        """Something has happened to *vm*; empty: to the host."""
        data = encoded(vm, event, values)
        with self._lock:
            self.log.append((vm, event))
            del self.log[:-KEPT]
            for listener in self._listeners:
                if listener.vm in (None, vm):
                    listener.waiting.put(data)

    def listen(self, vm: str | None) -> Listener:
        """Begin a stream."""
        listener = Listener(vm)
        with self._lock:
            self._listeners.add(listener)
        return listener

    def leave(self, listener: Listener) -> None:
        """End a stream whose client has gone."""
        with self._lock:
            self._listeners.discard(listener)

    @property
    def listeners(self) -> int:
        """How many streams there are."""
        with self._lock:
            return len(self._listeners)

    def hang_up(self) -> None:
        """End every stream, as a qubesd that is started anew does."""
        with self._lock:
            for listener in self._listeners:
                listener.waiting.put(None)


def encoded(vm: str, event: str, values: dict[str, object]) -> bytes:
    """Return an event as it is sent."""
    pairs = "".join(f"{key}\0{value}\0" for key, value in values.items())
    return f"1\0{vm}\0{event}\0{pairs}\0".encode("ascii")
