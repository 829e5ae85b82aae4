"""Both XenStore daemons behind one face, and a client that shows every answer and event as it came."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

from lab.xenstored.fakexen import RealXenstored, missing
from lab.xenstored.process import OwnXenstored
from tests.support.stores import WarmXenstored, need
from vminterface.wire.xenstore import (
    CLIENT,
    HEADER,
    NEED_DATA,
    Connection,
    ConnectionClosed,
    ErrorReply,
    Op,
    Reply,
    Request,
    WatchEvent,
)

Daemon = OwnXenstored | RealXenstored

#: What fixtures take as ``params`` to run a test against both.
KINDS = ("ours", "xenstored")

#: An answer: ``OK`` with value and strings, or an errno.
AnyReply = tuple[str, bytes, tuple[str, ...]]


def daemon(kind: str, root: Path) -> Daemon:
    """Return the daemon of that kind, not started; skip the test where the real one cannot run."""
    if kind == "ours":
        return WarmXenstored(root)
    need(missing())
    return RealXenstored(root)


class RawClient:
    """One connection. Nothing is interpreted: an answer is a value and strings, or the name of an errno."""

    def __init__(self, path: str, seconds: float = 20.0) -> None:
        self._stream = socket.socket(socket.AF_UNIX)
        self._stream.connect(path)  # waits for its turn, which it would not with a timeout
        self._stream.settimeout(seconds)
        self._connection = Connection(CLIENT)
        self.events: list[tuple[str, str]] = []
        #: How many events came before the last answer.
        self.before = 0

    def ask(
        self, op: Op, path: str = "", value: bytes = b"", arguments: tuple[str, ...] = (), transaction: int = 0
    ) -> AnyReply:
        """Send one request and return its answer; events that come before it are kept."""
        return self._send(self._connection.send(Request(op, path, value, arguments, transaction)))

    def ask_raw(self, like: Request, payload: bytes) -> AnyReply:
        """Do so with *payload* in the place of what the well-formed request *like* has."""
        kind, request_id, transaction, _ = HEADER.unpack(self._connection.send(like)[: HEADER.size])
        return self._send(HEADER.pack(kind, request_id, transaction, len(payload)) + payload)

    def _send(self, message: bytes) -> AnyReply:
        self._stream.sendall(message)
        self.before = 0
        while True:
            event = self._connection.next_event()
            if isinstance(event, WatchEvent):
                self.events.append((event.path, event.token))
                self.before += 1
            elif isinstance(event, Reply):
                return ("OK", event.value, event.strings)
            elif isinstance(event, ErrorReply):
                return (event.error, b"", ())
            elif isinstance(event, ConnectionClosed):
                return ("closed", b"", ())
            elif event is NEED_DATA:
                self._connection.receive_data(self._stream.recv(65536))

    def new_events(self) -> set[tuple[str, str]]:
        """Return the events of everything that was done before now; equal ones may have been merged on the way."""
        self.ask(Op.GET_DOMAIN_PATH, arguments=("0",))
        events, self.events = set(self.events), []
        return events

    def ended(self) -> bool:
        """Wait for the daemon to say something unasked; whether that is the end of the connection."""
        try:
            return self._stream.recv(1) == b""
        except ConnectionError:
            return True

    def close(self) -> None:
        """End the connection."""
        self._stream.close()


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> bool:
    """Wait for *condition*; say whether it came true."""
    import time

    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True
