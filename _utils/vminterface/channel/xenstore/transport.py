"""How bytes reach the XenStore: a Unix socket of the daemon, or the kernel's device file.

Both are open byte streams: ``write`` and ``read`` raise BlockingIOError instead of waiting, OSError when it is lost.
Where there is ``one_at_a_time``, the next message may be written only when the answer to the last one has come.
"""

from __future__ import annotations

import os
import socket
import stat
import struct

from vminterface.channel.connection import Piece
from vminterface.errors import ConnectionLost, DeadlineExceeded
from vminterface.wire.xenstore import DEVICE_PAYLOAD_MAX, PAYLOAD_MAX

#: Where the daemon or the kernel may be met, in this order, after ``XENSTORED_PATH``.
PLACES = ("/run/xenstored/socket", "/var/run/xenstored/socket", "/dev/xen/xenbus", "/proc/xen/xenbus")


class SocketTransport:
    """The daemon's socket. Besides, :meth:`read_within` waits in the same system call that reads."""

    payload_max = PAYLOAD_MAX
    one_at_a_time = False

    def __init__(self, path: str, timeout: float) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._waits = 0.0
        self._piece = Piece()
        try:
            # The daemon's backlog is short: a connection may have to wait for its turn.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(timeout))
            self._socket.connect(path)
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        return self._socket.fileno()

    def write(self, data: bytes) -> int:
        return self._socket.send(data, socket.MSG_DONTWAIT)

    def read(self) -> bytes:
        return self._piece.of(self._socket.recv(self._piece.size, socket.MSG_DONTWAIT))

    def read_within(self, seconds: float) -> bytes:
        """Return what has come as soon as there is something. Raises BlockingIOError after *seconds*."""
        if seconds != self._waits:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(seconds))
            self._waits = seconds
        return self._piece.of(self._socket.recv(self._piece.size))

    def close(self) -> None:
        self._socket.close()


class DeviceTransport:
    """The kernel's device file, such as ``/dev/xen/xenbus``."""

    payload_max = DEVICE_PAYLOAD_MAX
    one_at_a_time = True

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        self._piece = Piece()

    def fileno(self) -> int:
        return self._fd

    def write(self, data: bytes) -> int:
        return os.write(self._fd, data)

    def read(self) -> bytes:
        return self._piece.of(os.read(self._fd, self._piece.size))

    def close(self) -> None:
        os.close(self._fd)


def find_place() -> str:
    """Return the first path that exists. Raises ConnectionLost, because of a FileNotFoundError."""
    named = os.environ.get("XENSTORED_PATH")
    places = (named, *PLACES) if named else PLACES
    for place in places:
        if os.path.exists(place):
            return place
    raise ConnectionLost(f"no XenStore: none of {', '.join(places)} exists") from FileNotFoundError()


def connect(path: str, timeout: float) -> SocketTransport | DeviceTransport:
    """Connect to the socket, or open the device file, at *path*. Raises ConnectionLost because of an OSError, and
    DeadlineExceeded after *timeout* seconds in which a daemon that hangs had too many connections waiting already.
    """
    try:
        if stat.S_ISSOCK(os.stat(path).st_mode):
            return SocketTransport(path, timeout)
        return DeviceTransport(path)
    except BlockingIOError:
        raise DeadlineExceeded(f"{path}: the daemon accepted no connection within {round(timeout, 2):g} s") from None
    except OSError as error:
        raise ConnectionLost(f"{path}: {error.strerror or error}") from error


def _timeval(seconds: float) -> bytes:
    # All zeros would mean "for ever".
    micros = max(1, int(seconds * 1e6))
    return struct.pack("@ll", micros // 1_000_000, micros % 1_000_000)
