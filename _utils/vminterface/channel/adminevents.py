"""A stream of qubesd's events over one connection; make it with :meth:`AdminAPI.events`.

It ends with the first error: whoever wants more events opens another one, and has missed what happened in between.
"""

from __future__ import annotations

import socket
from types import TracebackType
from typing import Self

from vminterface.channel.connection import Piece, poll_of
from vminterface.deadline import Deadline
from vminterface.errors import ConnectionLost, DeadlineExceeded, PermissionDenied
from vminterface.wire.adminevents import AdminEvent, EventParser

#: The first event of a stream: qubesd sends every later one too.
ESTABLISHED = "connection-established"


class EventStream:
    """Use it in a ``with`` block."""

    def __init__(self, path: str, request: bytes, deadline: Deadline) -> None:
        """Send *request* to qubesd at *path* and wait until it sends events. Raises as :meth:`next`."""
        self._path = path
        self._parser = EventParser()
        self._piece = Piece()
        #: Whether qubesd has sent anything: what it refuses, it hangs up on.
        self._began = False
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            try:
                self._connection.settimeout(deadline.check("events of qubesd"))
                self._connection.connect(path)
                self._connection.sendall(request)
                self._connection.shutdown(socket.SHUT_WR)
                self._readable = poll_of(self._connection)
            except TimeoutError:
                raise DeadlineExceeded(f"events of qubesd: no reply within {deadline.seconds:g} s") from None
            except OSError as error:
                raise ConnectionLost(f"{path}: {error.strerror or error}") from error
            while self.next(deadline).name != ESTABLISHED:
                pass
        except BaseException:
            self.close()
            raise

    def next(self, deadline: Deadline) -> AdminEvent:
        """Wait for the next event.

        Raises DeadlineExceeded, after which it can be called again; ConnectionLost, PermissionDenied,
        RemoteProtocolError, OutputTooLarge, after which it cannot.
        """
        while (event := self._parser.next_event()) is None:
            # A read that waits has its memory set aside meanwhile, which leaves a hole behind in that of a watcher.
            if not self._readable.poll(deadline.check("events of qubesd") * 1000):
                raise DeadlineExceeded(f"events of qubesd: none within {deadline.seconds:g} s")
            try:
                data = self._piece.of(self._connection.recv(self._piece.size))
            except OSError as error:
                raise ConnectionLost(f"{self._path}: {error.strerror or error}") from error
            if not data:
                raise self._ended()
            self._began = True
            self._parser.receive_data(data)
        return event

    def _ended(self) -> ConnectionLost | PermissionDenied:
        if not self._began:
            return PermissionDenied("events of qubesd: refused without a reason (its journal may have one)")
        return ConnectionLost(f"{self._path}: qubesd stopped sending events")

    def close(self) -> None:
        """Hang up; may be called twice."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
