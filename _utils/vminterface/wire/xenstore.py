"""The XenStore protocol without I/O: bytes in, events out, bytes to send; client and server in one core.

The format is that of ``xen/include/public/io/xs_wire.h``: a header of four little-endian words (type, request
id, transaction id, length), then at most 4096 bytes; but oxenstored answers DIRECTORY with as many as it takes. Use::

    connection = Connection(CLIENT)
    socket.sendall(connection.send(Request(Op.READ, "domid")))
    connection.receive_data(socket.recv(65536))         # b"" at the end of the stream
    event = connection.next_event()                     # until it is NEED_DATA

A client gets :class:`Reply`, :class:`ErrorReply`, :class:`WatchEvent` and :class:`ConnectionClosed`; a server
gets :class:`Request`, :class:`BadRequest` and :class:`ConnectionClosed`. A peer that breaks the protocol makes
``next_event`` raise RemoteProtocolError, then and ever after. What is kept between two calls is never more than
one message, if the caller takes all events before it feeds more. A directory with more names than are taken is passed
over, and an :class:`ErrorReply` with ``TOO_MANY_NAMES``.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from struct import Struct

from vminterface.errors import LocalProtocolError, RemoteProtocolError, printable
from vminterface.wire.xenstore_events import (
    NEED_DATA,
    BadRequest,
    ConnectionClosed,
    ErrorReply,
    Event,
    Reply,
    Request,
    Sentinel,
    WatchEvent,
)
from vminterface.wire.xenstore_messages import (
    ACKNOWLEDGED,
    DEVICE_PAYLOAD_MAX,
    LISTING_MAX,
    NAMES_MAX,
    PASSED_OVER_MAX,
    PAYLOAD_MAX,
    RAW,
    SHAPES,
    TOO_MANY_NAMES,
    Malformed,
    Op,
    check_path,
    decode_error,
    decode_reply,
    decode_request,
    decode_watch_event,
    encode_request,
)

__all__ = [
    "CLIENT", "DEVICE_PAYLOAD_MAX", "NEED_DATA", "PAYLOAD_MAX", "SERVER", "TOO_MANY_NAMES", "BadRequest",
    "Connection", "ConnectionClosed", "ErrorReply", "Event", "Op", "Reply", "Request", "Role", "Sentinel", "WatchEvent",
]  # fmt: skip

HEADER = Struct("<IIII")
_IDS = 1 << 32


class Role(Enum):
    """Which end of the connection this is."""

    CLIENT = "client"
    SERVER = "server"


CLIENT = Role.CLIENT
SERVER = Role.SERVER


_CLOSED = ConnectionClosed()
_OPS: dict[int, Op] = {op.value: op for op in Op}


class Connection:
    """One end of a XenStore connection. *payload_max* is 4080 for a client of ``/dev/xen/xenbus``."""

    def __init__(self, role: Role, *, payload_max: int = PAYLOAD_MAX, first_request_id: int = 1) -> None:
        self.role = role
        self.payload_max = payload_max
        self._client = role is CLIENT
        self._buffer = b""
        self._at = 0
        self._eof = False
        self._error: str | None = None
        #: Bytes of an answer that are still to be passed over.
        self._skip = 0
        self._next_id = first_request_id % _IDS
        self._in_flight: dict[int, Op] = {}
        #: The id that the last request sent was given.
        self.request_id = 0

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the peer, ``b""`` for the end of the stream."""
        if not data:
            self._eof = True
        elif self._eof:
            raise LocalProtocolError("data after the end of the stream")
        elif self._at == len(self._buffer):
            self._buffer, self._at = bytes(data), 0
        else:
            self._buffer, self._at = self._buffer[self._at :] + data, 0

    def next_event(self) -> Event | Sentinel:
        """Return the next event, or NEED_DATA. Raises RemoteProtocolError."""
        if self._error is not None:
            raise RemoteProtocolError(self._error)
        if self._skip:
            self._pass_over()
        at, available = self._at, len(self._buffer) - self._at
        if available < 16:
            if not self._eof:
                return NEED_DATA
            if available:
                raise self._broken(f"stream ended after {available} of the 16 bytes of a header")
            return _CLOSED
        kind, request_id, transaction, length = HEADER.unpack_from(self._buffer, at)
        if length > PAYLOAD_MAX:
            listing = self._client and kind == Op.DIRECTORY
            if length > (PASSED_OVER_MAX if listing else PAYLOAD_MAX):
                raise self._broken(f"message of {length} bytes (expected at most {PAYLOAD_MAX})")
            if length > LISTING_MAX:
                return self._too_many_names(request_id, transaction, length)
        if available < 16 + length:
            if self._eof:
                raise self._broken(f"stream ended after {available - 16} of the {length} bytes of a message")
            return NEED_DATA
        end = at + 16 + length
        payload = self._buffer[at + 16 : end]
        self._at = end
        if not self._client:
            return self._request(kind, request_id, transaction, payload)
        try:
            return self._reply(kind, request_id, transaction, payload)
        except Malformed as error:
            raise self._broken(str(error)) from None

    def _too_many_names(self, request_id: int, transaction: int, length: int) -> Event:
        """Refuse the answer that begins here and pass over its *length* bytes."""
        if self._in_flight.pop(request_id, None) is not Op.DIRECTORY:
            raise self._broken(
                f"reply of type {Op.DIRECTORY.value} to request {request_id}, which expects no such reply"
            )
        self._at += 16
        self._skip = length
        self._pass_over()
        return ErrorReply(request_id, TOO_MANY_NAMES, transaction)

    def _pass_over(self) -> None:
        here = min(self._skip, len(self._buffer) - self._at)
        self._at += here
        self._skip -= here

    def events(self) -> list[Event]:
        """Return all that ``next_event`` gives until it gives NEED_DATA, or the end of the stream as the last one."""
        found: list[Event] = []
        while True:
            if self._client and self._error is None:
                self._take_values(found)
            event = self.next_event()
            if isinstance(event, Sentinel):
                return found
            found.append(event)
            if event is _CLOSED:
                return found

    def _take_values(self, found: list[Event]) -> None:
        """Take the good answers to READ that come next: the same as ``next_event`` does, in one tight loop."""
        if self._skip:
            return
        buffer, at, size, in_flight = self._buffer, self._at, len(self._buffer), self._in_flight
        read, unpack = Op.READ, HEADER.unpack_from
        while size - at >= 16:
            kind, request_id, transaction, length = unpack(buffer, at)
            end = at + 16 + length
            if kind != read or length > PAYLOAD_MAX or end > size or in_flight.get(request_id) is not read:
                break
            del in_flight[request_id]
            found.append(Reply(request_id, read, buffer[at + 16 : end], (), transaction))
            at = end
        self._at = at

    def _reply(self, kind: int, request_id: int, transaction: int, payload: bytes) -> Event:
        if kind == Op.WATCH_EVENT:
            return WatchEvent(*decode_watch_event(payload))
        op = self._in_flight.get(request_id)
        if op is None:
            raise Malformed(f"reply to request {request_id}, which is not in flight")
        if op is Op.DIRECTORY and kind == op and payload.count(0) > NAMES_MAX:
            event: Event = ErrorReply(request_id, TOO_MANY_NAMES, transaction)
        elif kind == op:
            event = Reply(request_id, op, *decode_reply(op, payload), transaction)
        elif kind == Op.ERROR:
            event = ErrorReply(request_id, decode_error(payload), transaction)
        else:
            raise Malformed(f"reply of type {kind} to request {request_id} (expected {op.value} ({op.name}))")
        del self._in_flight[request_id]
        return event

    def _request(self, kind: int, request_id: int, transaction: int, payload: bytes) -> Event:
        op = _OPS.get(kind)
        if op is None or op is Op.WATCH_EVENT or op is Op.ERROR:
            return BadRequest(request_id, transaction, "ENOSYS", f"unknown operation {kind}")
        try:
            path, value, arguments = decode_request(op, payload)
        except Malformed as error:
            return BadRequest(request_id, transaction, "EINVAL", str(error))
        return Request(op, path, value, arguments, transaction, request_id)

    def _broken(self, reason: str) -> RemoteProtocolError:
        self._error = f"XenStore peer: {reason}"
        self._buffer, self._at = b"", 0
        return RemoteProtocolError(self._error)

    def send(self, event: Event) -> bytes:
        """Return the bytes of *event*. Raises LocalProtocolError; then nothing has changed here.

        A client sends :class:`Request` (its id is then in ``request_id``), a server :class:`Reply`,
        :class:`ErrorReply` and :class:`WatchEvent`.
        """
        try:
            if isinstance(event, Request):
                return self._send_request(event)
            return self._send_reply(event)
        except (Malformed, UnicodeEncodeError) as error:
            raise LocalProtocolError(str(error)) from None

    def send_all(self, requests: Sequence[Request]) -> tuple[list[bytes], list[int]]:
        """Return the bytes and the id of each request. Raises LocalProtocolError; then none of them was taken."""
        frames: list[bytes] = []
        ids: list[int] = []
        try:
            for request in requests:
                frames.append(self._send_request(request))
                ids.append(self.request_id)
        except Malformed as error:
            for request_id in ids:
                del self._in_flight[request_id]
            raise LocalProtocolError(str(error)) from None
        return frames, ids

    def _send_request(self, request: Request) -> bytes:
        if not self._client:
            raise Malformed("a server does not send requests")
        op = request.op
        payload = encode_request(op, request.path, request.value, request.arguments)
        length = len(payload)
        if length > self.payload_max:
            raise self._too_long(op, request.path, length)
        if not 0 <= request.transaction < _IDS:
            raise Malformed(f"transaction {request.transaction} (expected 32 bits)")
        request_id = self._next_id
        in_flight = self._in_flight
        while request_id in in_flight:
            request_id = (request_id + 1) % _IDS
        self._next_id = (request_id + 1) % _IDS
        in_flight[request_id] = op
        self.request_id = request_id
        return HEADER.pack(op, request_id, request.transaction, length) + payload

    def _send_reply(self, event: Event) -> bytes:
        if self._client:
            raise Malformed(f"a client does not send {type(event).__name__}")
        request_id = transaction = 0
        if isinstance(event, WatchEvent):
            kind = Op.WATCH_EVENT
            check_path(event.path, special=True)
            payload = f"{event.path}\0{event.token}\0".encode("latin-1")
            decode_watch_event(payload)
        elif isinstance(event, ErrorReply):
            kind, request_id, transaction = Op.ERROR, event.request_id, event.transaction
            payload = f"{event.error}\0".encode("latin-1")
            decode_error(payload)
        elif isinstance(event, Reply):
            kind, request_id, transaction = event.op, event.request_id, event.transaction
            if kind not in SHAPES or any("\0" in string for string in event.strings):
                raise Malformed(
                    f"{printable(repr(kind), 40)} with {printable(repr(event.strings), 200)} is not a reply"
                )
            if kind in RAW:
                payload = event.value
            elif kind in ACKNOWLEDGED:
                payload = b"OK\0"
            else:
                payload = "".join([f"{string}\0" for string in event.strings]).encode("latin-1")
            decode_reply(kind, payload)
        else:
            raise Malformed(f"a server does not send {type(event).__name__}")
        if len(payload) > self.payload_max:
            raise self._too_long(kind, "", len(payload))
        return HEADER.pack(kind, request_id, transaction, len(payload)) + payload

    def _too_long(self, op: Op, path: str, length: int) -> Malformed:
        what = f"{op.name} {path[:60]}".rstrip()
        return Malformed(f"{what}: message of {length} bytes (expected at most {self.payload_max})")
