"""One XenStore connection: pipelined requests, every wait with a deadline.

A fault in the middle of an exchange closes the connection for good, so that no late answer can ever be taken for
another request's.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Sequence

from vminterface.channel.connection import StoreConnection, nobody
from vminterface.channel.xenstore.transport import SocketTransport, connect
from vminterface.deadline import Deadline
from vminterface.errors import ConnectionLost, DeadlineExceeded
from vminterface.wire.xenstore import CLIENT, Connection, ErrorReply, Reply, Request, WatchEvent

AnyReply = Reply | ErrorReply
_REPLIES = (Reply, ErrorReply)

#: Requests in flight on a socket; dom0 has no quota for them.
WINDOW = 512


class XenStoreConnection(StoreConnection):
    """Requests out, answers in. *on_event* is called with each watch event, whenever it comes."""

    def __init__(
        self, path: str, on_event: Callable[[WatchEvent], None], timeout: float, window: int | None = None
    ) -> None:
        super().__init__(path)
        self._on_event = on_event
        self._transport = connect(path, timeout)
        # A device keeps one message, and queues it without copying it (Linux, xenbus_dev_frontend.c): before its answer
        # has come, the next one would be written over it, and be sent with the former one's header.
        self._window = 1 if self._transport.one_at_a_time else window or WINDOW
        self._wire = Connection(CLIENT, payload_max=self._transport.payload_max)
        self._listen_to(self._transport)

    def _release(self) -> None:
        self._transport.close()
        self._on_event = nobody

    def _hear(self) -> None:
        self._read({})

    def ask(self, request: Request, deadline: Deadline) -> AnyReply:
        """Send one request and return its answer; for the rest like :meth:`exchange`."""
        return self.exchange([request], deadline)[0]

    def exchange(self, requests: Sequence[Request], deadline: Deadline) -> list[AnyReply]:
        """Send all *requests*, a window of them in flight, and return their answers in order.

        Raises LocalProtocolError before anything is sent if one of them cannot be; DeadlineExceeded,
        ConnectionLost, RemoteProtocolError after which the connection is closed.
        """
        self._check_open()
        if not requests:
            return []
        deadline.check(self.path)
        frames, ids = self._wire.send_all(requests)
        replies: dict[int, AnyReply] = {}
        self._guarded(self._exchange, frames, replies, deadline)
        return [replies[request_id] for request_id in ids]

    def ask_at_once(self, request: Request, seconds: float) -> AnyReply:
        """Do as :meth:`ask`, with fewer system calls where one recv brings the whole answer."""
        transport = self._transport
        if self._closed_because is not None or not isinstance(transport, SocketTransport):
            return self.ask(request, Deadline.after(seconds))
        deadline = Deadline.after(seconds)
        deadline.check(self.path)
        frame = self._wire.send(request)
        replies: dict[int, AnyReply] = {}
        self._guarded(self._ask_at_once, transport, frame, replies, deadline)
        return replies[self._wire.request_id]

    def _ask_at_once(
        self, transport: SocketTransport, frame: bytes, replies: dict[int, AnyReply], deadline: Deadline
    ) -> None:
        unwritten = self._write(frame)
        if not unwritten:
            try:
                data = transport.read_within(deadline.seconds)
            except BlockingIOError:
                data = None
            if data is not None:
                self._take(data, replies)
        if not replies:
            self._exchange([unwritten], replies, deadline)

    def _exchange(self, frames: list[bytes], replies: dict[int, AnyReply], deadline: Deadline) -> None:
        count, taken, unwritten = len(frames), 0, b""
        while len(replies) < count:
            room = min(self._window - taken + len(replies), count - taken)
            if room and not unwritten and (room == count - taken or 2 * room >= self._window):
                unwritten = b"".join(frames[taken : taken + room])
                taken += room
            if unwritten:
                unwritten = self._write(unwritten)
            # Reads while it writes: a daemon that waits for us to read would never read what we write.
            ready = (self._both if unwritten else self._readable).poll(deadline.remaining * 1000)
            if deadline.passed:
                raise DeadlineExceeded(
                    f"{self.path}: no reply within {deadline.seconds:g} s ({len(replies)} of {count} came)"
                )
            if ready and ready[0][1] & ~select.POLLOUT:
                if count - len(replies) > 1:
                    # xenstored writes each answer by itself: on its CPU, let it write more of them before we read.
                    os.sched_yield()
                self._read(replies)

    def _write(self, data: bytes) -> bytes:
        """Write what can be written now; return the rest."""
        try:
            return data[self._transport.write(data) :]
        except BlockingIOError:
            return data

    def _read(self, replies: dict[int, AnyReply]) -> None:
        try:
            self._take(self._transport.read(), replies)
        except BlockingIOError:
            return

    def _take(self, data: bytes, replies: dict[int, AnyReply]) -> None:
        """Give the answers in *data* to *replies*, its watch events to their handler."""
        self._wire.receive_data(data)
        for event in self._wire.events():
            if isinstance(event, _REPLIES):
                replies[event.request_id] = event
            elif isinstance(event, WatchEvent):
                self._on_event(event)
            else:
                raise ConnectionLost(f"{self.path}: the daemon closed the connection")
