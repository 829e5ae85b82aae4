"""A connection of the GUI protocol on a socket: one event at a time, each within its deadline.

In Qubes the bytes go over a vchan; a program that speaks vchan hands them on through a stream socket.
"""

from __future__ import annotations

import socket

from vminterface.deadline import Deadline
from vminterface.errors import ConnectionLost, DeadlineExceeded
from vminterface.wire.gui import CLOSED, NEED_DATA, Connection, Event, Sentinel


class GuiStream:
    """*connection*'s bytes on *stream*, which stays its maker's to close."""

    def __init__(self, stream: socket.socket, connection: Connection) -> None:
        self.connection = connection
        self._stream = stream

    def send(self, event: Event, deadline: Deadline) -> None:
        """Send *event* whole. Raises LocalProtocolError, DeadlineExceeded, ConnectionLost."""
        data = self.connection.send(event)
        try:
            self._stream.settimeout(deadline.check("the GUI connection"))
            self._stream.sendall(data)
        except TimeoutError:
            raise _late(deadline) from None
        except OSError as error:
            raise ConnectionLost(f"the GUI connection ended: {error.strerror or error}") from None

    def receive(self, deadline: Deadline) -> Event:
        """Return the next event. Raises RemoteProtocolError, DeadlineExceeded, ConnectionLost at the stream's end."""
        while True:
            event = self.connection.next_event()
            if not isinstance(event, Sentinel):
                return event
            if event is CLOSED:
                raise ConnectionLost("the GUI connection ended: the other side closed it")
            assert event is NEED_DATA
            try:
                self._stream.settimeout(deadline.check("the GUI connection"))
                self.connection.receive_data(self._stream.recv(65536))
            except DeadlineExceeded:
                raise
            except TimeoutError:
                raise _late(deadline) from None
            except ConnectionResetError:
                # The other side has closed it without reading all: an end like any other.
                self.connection.receive_data(b"")
            except OSError as error:
                raise ConnectionLost(f"the GUI connection ended: {error.strerror or error}") from None


def _late(deadline: Deadline) -> DeadlineExceeded:
    return DeadlineExceeded(f"the GUI connection: no answer within {deadline.seconds:g} s")
