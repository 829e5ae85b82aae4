"""One XenStore connection, socket or device file: pipelined requests, every wait with a deadline.

A fault in the middle of an exchange closes the connection for good, so that no late answer can ever be taken for
another request's.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import stat
from collections.abc import Callable, Sequence

from vminterface.deadline import Deadline
from vminterface.errors import ConnectionLost, DeadlineExceeded, VMInterfaceError
from vminterface.wire.xenstore import (
    CLIENT,
    DEVICE_PAYLOAD_MAX,
    PAYLOAD_MAX,
    Connection,
    ErrorReply,
    Reply,
    Request,
    WatchEvent,
)

Answer = Reply | ErrorReply

#: Where the daemon or the kernel may be met, in this order, after ``XENSTORED_PATH``.
PLACES = ("/run/xenstored/socket", "/var/run/xenstored/socket", "/dev/xen/xenbus", "/proc/xen/xenbus")
#: Requests in flight: a guest's quota is 20 for the whole guest (xenstored's ``outstanding``), dom0 has none.
GUEST_WINDOW = 16
DOM0_WINDOW = 512
#: Bytes that are read, and at most written, at once.
CHUNK = 65536


def find_place() -> str:
    """Return the first path that exists. Raises ConnectionLost."""
    named = os.environ.get("XENSTORED_PATH")
    places = (named, *PLACES) if named else PLACES
    for place in places:
        if os.path.exists(place):
            return place
    raise ConnectionLost(f"no XenStore here: none of {', '.join(places)} exists")


class XenStoreConnection:
    """Requests out, answers in. *on_event* is called with each watch event, whenever it comes."""

    def __init__(self, path: str, on_event: Callable[[WatchEvent], None], window: int | None = None) -> None:
        self.path = path
        self.closed_because: str | None = None
        self._on_event = on_event
        self._fd = -1
        try:
            self.is_device = not stat.S_ISSOCK(os.stat(path).st_mode)
            self._fd = _open_device(path) if self.is_device else _connect(path)
        except OSError as error:
            raise ConnectionLost(f"{path}: {error.strerror or error}") from None
        self.window = window or (GUEST_WINDOW if self.is_device else DOM0_WINDOW)
        self._wire = Connection(CLIENT, payload_max=DEVICE_PAYLOAD_MAX if self.is_device else PAYLOAD_MAX)
        self._readable = select.poll()
        self._readable.register(self._fd, select.POLLIN)
        self._both = select.poll()
        self._both.register(self._fd, select.POLLIN | select.POLLOUT)

    def close(self, because: str = "it was closed") -> None:
        """End the connection; every later call raises ConnectionLost with the reason given first."""
        if self.closed_because is None:
            self.closed_because = because
            with contextlib.suppress(OSError):
                os.close(self._fd)

    def ask(self, request: Request, deadline: Deadline) -> Answer:
        """Send one request and return its answer."""
        return self.exchange([request], deadline)[0]

    def exchange(self, requests: Sequence[Request], deadline: Deadline) -> list[Answer]:
        """Send all *requests*, at most ``window`` of them in flight, and return their answers in order.

        Raises LocalProtocolError before anything is sent if one of them cannot be; DeadlineExceeded,
        ConnectionLost, RemoteProtocolError after which the connection is closed.
        """
        self._check_open()
        if not requests:
            return []
        deadline.check(self.path)
        frames, ids = self._wire.send_all(requests)
        try:
            answers = self._exchange(frames, deadline)
        except VMInterfaceError as error:
            self.close(str(error))
            raise
        except BaseException as error:
            # An interrupt in the middle leaves answers on their way.
            self.close(f"interrupted by {type(error).__name__}")
            raise
        return [answers[request_id] for request_id in ids]

    def receive(self, deadline: Deadline) -> None:
        """Wait for bytes and handle the watch events in them; the connection stays good when nothing comes."""
        self._check_open()
        left = deadline.check(self.path)
        if not self._readable.poll(left * 1000):
            deadline.check(self.path)
        try:
            self._read({})
        except VMInterfaceError as error:
            self.close(str(error))
            raise

    def _check_open(self) -> None:
        if self.closed_because is not None:
            raise ConnectionLost(f"{self.path}: the connection is closed: {self.closed_because}")

    def _exchange(self, frames: list[bytes], deadline: Deadline) -> dict[int, Answer]:
        answers: dict[int, Answer] = {}
        count, taken, unwritten = len(frames), 0, b""
        while len(answers) < count:
            room = min(self.window - taken + len(answers), count - taken)
            if room and not unwritten and (room == count - taken or 2 * room >= self.window):
                # A device takes exactly one message at each write, a socket as many as there are.
                last = taken + (1 if self.is_device else room)
                unwritten = b"".join(frames[taken:last])
                taken = last
            if unwritten:
                unwritten = self._write(unwritten)
                if not unwritten and self.is_device and taken < count and taken - len(answers) < self.window:
                    continue
            # Reads while it writes: a daemon that waits for us to read would never read what we write.
            ready = (self._both if unwritten else self._readable).poll(deadline.remaining * 1000)
            if deadline.passed:
                raise DeadlineExceeded(
                    f"{self.path}: no answer within {deadline.seconds:g} s ({len(answers)} of {count} came)"
                )
            if ready and ready[0][1] & ~select.POLLOUT:
                self._read(answers)
        return answers

    def _write(self, data: bytes) -> bytes:
        """Write what can be written now; return the rest."""
        try:
            return data[os.write(self._fd, data) :]
        except BlockingIOError:
            return data
        except OSError as error:
            raise self._lost(error) from None

    def _read(self, answers: dict[int, Answer]) -> None:
        """Take the bytes that are there: answers into *answers*, watch events to their handler."""
        try:
            data = os.read(self._fd, CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            raise self._lost(error) from None
        self._wire.receive_data(data)
        for event in self._wire.events():
            if isinstance(event, Reply | ErrorReply):
                answers[event.request_id] = event
            elif isinstance(event, WatchEvent):
                self._on_event(event)
            else:
                raise ConnectionLost(f"{self.path}: the daemon closed the connection")

    def _lost(self, error: OSError) -> ConnectionLost:
        return ConnectionLost(f"{self.path}: {error.strerror or error}")


def _connect(path: str) -> int:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        stream.setblocking(False)  # a daemon whose backlog is full gives EAGAIN at once, never a wait
        stream.connect(path)
        return stream.detach()


def _open_device(path: str) -> int:
    return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
