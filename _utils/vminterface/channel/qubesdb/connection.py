"""One QubesDB connection: pipelined requests, every wait with a deadline, no message ever half sent.

The daemon of qubes-core-qubesdb serves all its clients in one thread and waits for the rest of a message that has
begun. So each write is of whole messages, few enough that the kernel takes all or none of them; and a fault in the
middle of an exchange ends the connection for good, which also ends the daemon's wait. As long as the daemon may still
send something, be it a reply or a watch event, the connection is ended as ``qubesdb_readout`` describes.
"""

from __future__ import annotations

import errno
import os
import resource
import select
import socket
import struct
import weakref
from collections.abc import Callable, Sequence

from vminterface.channel.connection import Piece, StoreConnection, nobody
from vminterface.channel.qubesdb.readout import hang_up
from vminterface.deadline import Deadline
from vminterface.errors import ConnectionLost, DeadlineExceeded, StoreError
from vminterface.wire.qubesdb import CLIENT, Connection, Entry, ErrorReply, Reply, Request, WatchEvent

#: An answer, and before it the entries of a series; instead of both, a StoreError where there were too many of them.
AnyReply = tuple[Reply | ErrorReply | StoreError, Sequence[Entry]]

#: Requests in flight: few, as what is in flight when this process is killed is what ends dom0's daemon.
WINDOW = 128
#: Bytes that are written at once: Linux puts as many into one buffer, so it takes all of them or none.
CHUNK_OUT = 16384
#: Entries of one series, and bytes in them, that are kept: a VM may write as much as it likes into its QubesDB.
ENTRIES_MAX = 100_000
BYTES_MAX = 32 << 20


class _Line:
    """The stream of a connection, and whether the daemon may still say something on it."""

    def __init__(self, path: str) -> None:
        try:
            self.stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError as error:
            limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
            raise ConnectionLost(f"{path}: {error.strerror or error} (this process may have {limit})") from error
        self.owes = False
        self._pid = os.getpid()

    def end(self) -> None:
        """Close the stream; in a fork, only its own copy of it."""
        if self.owes and self._pid == os.getpid():
            hang_up(self.stream)
        else:
            self.stream.close()


class QubesDBConnection(StoreConnection):
    """Requests out, answers in. *on_event* is called with each watch event, whenever it comes."""

    def __init__(self, path: str, on_event: Callable[[WatchEvent], None]) -> None:
        super().__init__(path)
        self._on_event = on_event
        self._wire = Connection(CLIENT)
        self._entries: list[Entry] = []
        self._keep: Callable[[str], bool] | None = None
        #: Bytes in the entries that came, be they kept or not.
        self._size = 0
        self._watching = False
        self._piece = Piece()
        self._line = _Line(path)
        #: Ends the line once: when the connection is closed, when nobody has it any more, and when the program ends.
        self._end = weakref.finalize(self, self._line.end)
        self._socket = self._line.stream
        #: False while the daemon has too many clients that wait to be accepted.
        self._connected = False
        try:
            self._connect()
        except OSError as error:
            self._end()
            # By the cause a daemon that is gone is distinguished from one that may not be reached.
            raise ConnectionLost(f"{path}: {error.strerror or error}") from error
        self._listen_to(self._socket)

    @property
    def closed(self) -> bool:
        """Whether it is of no more use: closed here, or by the daemon."""
        if self._closed_because is None and self._connected:
            return any(what & (select.POLLHUP | select.POLLERR) for _, what in self._readable.poll(0))
        return self._closed_because is not None

    def _release(self) -> None:
        self._end()
        self._on_event = nobody

    def _hear(self) -> None:
        self._read([])

    def exchange(
        self, requests: Sequence[Request], deadline: Deadline, keep: Callable[[str], bool] | None = None
    ) -> list[AnyReply]:
        """Send all *requests*, a window of them in flight, and return their answers in order.

        *keep* decides for each path of a series whether its entry is kept; the others take no memory.
        Raises LocalProtocolError before anything is sent if one of them cannot be; DeadlineExceeded,
        ConnectionLost, RemoteProtocolError after which the connection is closed.
        """
        self._check_open()
        if not requests:
            return []
        deadline.check(self.path)
        messages = self._wire.send_all(requests)
        replies: list[AnyReply] = []
        self._line.owes = True
        self._keep = keep
        self._guarded(self._exchange, messages, replies, deadline)
        self._line.owes = self._watching
        return replies

    def expect_events(self, watching: bool) -> None:
        """Note whether the daemon has a watch for us, for which it may send an event at any time."""
        self._watching = self._line.owes = watching

    def _connect(self) -> None:
        try:
            self._socket.connect(self.path)
        except BlockingIOError:
            return
        self._connected = True

    def _connect_by(self, deadline: Deadline) -> None:
        """Wait for a place in the daemon's queue of new clients; the kernel has no other call for that."""
        micros = max(1, int(deadline.remaining * 1e6))
        self._socket.setsockopt(
            socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", micros // 1_000_000, micros % 1_000_000)
        )
        os.set_blocking(self._socket.fileno(), True)
        try:
            self._connect()
        finally:
            os.set_blocking(self._socket.fileno(), False)
        if not self._connected:
            raise DeadlineExceeded(f"{self.path}: no reply within {deadline.seconds:g} s (no process accepts clients)")

    def _exchange(self, messages: list[bytes], replies: list[AnyReply], deadline: Deadline) -> None:
        if not self._connected:
            self._connect_by(deadline)
        count, taken, unwritten = len(messages), 0, b""
        if count == 1:  # as :meth:`_chunk` does
            taken, unwritten = 1, messages[0]
        while len(replies) < count:
            # Few big writes: a window that is half full waits for answers.
            if not unwritten and taken < count and taken - len(replies) <= WINDOW // 2:
                taken, unwritten = self._chunk(messages, taken, len(replies))
            if unwritten:
                unwritten = self._write(unwritten)
                if not unwritten and taken < count and taken - len(replies) <= WINDOW // 2:
                    continue
            # Reads while it writes: what we do not read, the daemon must keep for us.
            left = deadline.remaining
            if not left:
                raise DeadlineExceeded(
                    f"{self.path}: no reply within {deadline.seconds:g} s ({len(replies)} of {count} came)"
                )
            ready = (self._both if unwritten else self._readable).poll(left * 1000)
            if ready and ready[0][1] != select.POLLOUT:
                self._read(replies)

    @staticmethod
    def _chunk(messages: list[bytes], taken: int, answered: int) -> tuple[int, bytes]:
        """Return how many messages are taken after this chunk, and the chunk: whole messages, as many as may go."""
        first, size, last = taken, 0, min(len(messages), answered + WINDOW)
        while taken < last and (taken == first or size + len(messages[taken]) <= CHUNK_OUT):
            size += len(messages[taken])
            taken += 1
        return taken, b"".join(messages[first:taken])

    def _write(self, data: bytes) -> bytes:
        """Write what can be written now; return the rest, which on Linux is all or nothing."""
        try:
            return data[self._socket.send(data) :]
        except BlockingIOError:
            return data
        except OSError as error:
            if error.errno in (errno.EPIPE, errno.ECONNRESET):
                # What the daemon sent before it closed is still to be read: it may be the reason.
                return b""
            raise

    def _read(self, replies: list[AnyReply]) -> None:
        """Give the answers that have come to *replies*, watch events to their handler."""
        piece, wire, keep = self._piece, self._wire, self._keep
        try:
            data = piece.of(self._socket.recv(piece.size))
        except BlockingIOError:
            return
        wire.receive_data(data)
        for event in wire.events():
            # One test each, the most frequent first: there may be thousands, and a union takes far longer.
            if isinstance(event, Reply):
                replies.append(self._reply(event) if self._size else (event, ()))
            elif isinstance(event, Entry):
                self._size += len(event.path) + len(event.value)
                room = len(self._entries) <= ENTRIES_MAX and self._size <= BYTES_MAX
                if room and (keep is None or keep(event.path)):
                    self._entries.append(event)
            elif isinstance(event, ErrorReply):
                replies.append(self._reply(event) if self._size else (event, ()))
            elif isinstance(event, WatchEvent):
                self._on_event(event)
            else:
                raise ConnectionLost(f"{self.path}: the daemon closed the connection")

    def _reply(self, event: Reply | ErrorReply) -> AnyReply:
        """Return the answer that ends a series with the entries that came before it."""
        entries, self._entries, size, self._size = self._entries, [], self._size, 0
        if len(entries) > ENTRIES_MAX or size > BYTES_MAX:
            return StoreError(f"{event.path}: more than {ENTRIES_MAX} keys or {BYTES_MAX} bytes match the prefix"), ()
        return event, entries
