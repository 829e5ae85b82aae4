"""A connection of the GUI protocol on a socket: one event at a time, each within its deadline.

In Qubes the bytes go over a vchan. Spoken to here are its stand-in on stream sockets (Qubes core-vchan-socket, whose
names and variables these are), and whatever else hands the bytes on through a stream socket.
"""

from __future__ import annotations

import os
import socket

from vminterface.deadline import Deadline
from vminterface.errors import ConnectionLost, DeadlineExceeded, InvalidValue, printable_path
from vminterface.wire.gui import CLOSED, NEED_DATA, Connection, Event, Sentinel

#: The folder of the sockets that stand for vchans, and the variable that names another one.
FOLDER, FOLDER_VARIABLE = "/var/run/vchan", "VCHAN_SOCKET_DIR"
#: The number of the domain that this program runs in, dom0's where it is not set.
DOMAIN_VARIABLE = "VCHAN_DOMAIN"
#: Where a GUI agent offers its vchan.
PORT = 6000


def socket_path(domid: int) -> str:
    """Return the path of the socket that stands for the vchan of the GUI agent in domain *domid*."""
    own = os.environ.get(DOMAIN_VARIABLE) or "0"
    if not (own.isascii() and own.isdecimal()):
        raise InvalidValue(f"{DOMAIN_VARIABLE}: '{printable_path(own)}' is not a valid domain number")
    return f"{os.environ.get(FOLDER_VARIABLE) or FOLDER}/vchan.{domid}.{own}.{PORT}.sock"


def connect(path: str, deadline: Deadline) -> socket.socket:
    """Connect to the GUI agent that listens on the stream socket *path*.

    Raises ConnectionLost where nobody listens or the agent has connections enough, DeadlineExceeded.
    """
    shown = printable_path(path)
    seconds = deadline.check(f"the GUI agent at {shown}")
    stream = socket.socket(socket.AF_UNIX)
    try:
        stream.settimeout(seconds)
        stream.connect(path)
    except OSError as error:
        stream.close()
        if isinstance(error, BlockingIOError):
            raise ConnectionLost(f"the GUI agent at {shown} takes no more connections") from None
        if isinstance(error, TimeoutError):
            raise DeadlineExceeded(f"the GUI agent at {shown}: not connected within {deadline.seconds:g} s") from None
        raise ConnectionLost(f"no GUI agent listens at {shown}: {error.strerror or error}") from None
    return stream


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
    return DeadlineExceeded(f"the GUI connection: no reply within {deadline.seconds:g} s")
