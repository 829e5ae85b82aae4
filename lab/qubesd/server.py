"""The socket of qubesd: one connection is one call, of which all has arrived when the client stops sending.

A request is ``METHOD+ARGUMENT SOURCE name DESTINATION``, a NUL and the value. The reply starts with ``0`` and a NUL;
with ``2`` and a NUL where it is an exception; a stream of events has ``1`` and a NUL before each. What the caller may
not do, what breaks the protocol and what fails in qubesd gets no reply at all.
"""

from __future__ import annotations

import queue
import select
import socket
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lab.qubesd.errors import Unanswered
from lab.qubesd.events import Listener

#: Bytes of a request at most; a connection that sends more is cut off.
REQUEST_LIMIT = 65536
#: Bytes that are read at once. Python sets them aside before they come, and each thread has a heap of its own for that.
_PIECE = 4096
#: The name of the threads that reply.
THREADS = "qubesd-reply"


@dataclass(frozen=True, slots=True)
class Request:
    """What a client has sent."""

    method: str
    argument: str
    source: str
    vm: str
    payload: bytes

    @classmethod
    def parse(cls, data: bytes) -> Request:
        """Read a request. Raises Unanswered."""
        header, nul, payload = data.partition(b"\0")
        words = header.split(b" ", 3)
        if not nul or len(words) != 4 or len(data) > REQUEST_LIMIT:
            raise Unanswered("framing error")
        call, source, kind, vm = words
        if (kind, vm) == (b"keyword", b"adminvm"):
            kind, vm = b"name", b"dom0"
        if kind != b"name":
            raise Unanswered("only names of VMs are taken")
        method, _, argument = call.partition(b"+")
        try:
            return cls(
                method.decode("ascii"), argument.decode("ascii"), source.decode("ascii"), vm.decode("ascii"), payload
            )
        except UnicodeDecodeError:
            raise Unanswered("not ASCII") from None


class Server:
    """Listens at *path*; *reply* makes a call and returns what to send, or the listener of a stream."""

    def __init__(
        self, path: Path, reply: Callable[[bytes], bytes | Listener], leave: Callable[[Listener], None]
    ) -> None:
        self._path, self._reply, self._leave = path, reply, leave
        path.unlink(missing_ok=True)
        self._ear = socket.socket(socket.AF_UNIX)
        self._ear.bind(str(path))
        self._ear.listen(128)

    def start(self) -> None:
        """Reply from now on."""
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        """Reply no more; the socket goes."""
        self._path.unlink(missing_ok=True)
        with suppress(OSError):
            self._ear.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._ear.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._ear.accept()
                threading.Thread(target=self._serve, args=(connection,), name=THREADS, daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                found = self._reply(_request(connection))
                if isinstance(found, bytes):
                    connection.sendall(found)
                    return
                try:
                    _stream(connection, found)
                finally:
                    self._leave(found)
            except (OSError, Unanswered):
                pass
            except Exception:  # whatever else fails in qubesd is told to its journal alone
                traceback.print_exc()


def _request(connection: socket.socket) -> bytes:
    """Return what a client sends until it stops, or a byte more than it may send."""
    data = bytearray()
    while len(data) <= REQUEST_LIMIT and (piece := connection.recv(min(_PIECE, REQUEST_LIMIT + 1 - len(data)))):
        data += piece
    return bytes(data)


def _stream(connection: socket.socket, listener: Listener) -> None:
    """Send events until the client has closed its end of the connection, or they end here."""
    gone = select.poll()
    gone.register(connection, select.POLLHUP)
    while not any(event & (select.POLLHUP | select.POLLERR) for _, event in gone.poll(0)):
        try:
            data = listener.waiting.get(timeout=0.05)
        except queue.Empty:
            continue
        if data is None:
            return
        connection.sendall(data)
