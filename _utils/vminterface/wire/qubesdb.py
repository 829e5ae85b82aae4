"""The QubesDB protocol without I/O: bytes in, events out, bytes to send; client and daemon in one core.

A message is a header of 72 bytes (type, path of 64 bytes with its terminator, three bytes of padding, length) and as
many bytes of value, in little-endian order (``include/qubesdb.h`` of qubes-core-qubesdb). What follows a path's
terminator, and the padding, may be anything. Requests are answered in their order. Use::

    connection = Connection(CLIENT)
    socket.sendall(connection.send(Request(Command.READ, "/qubes-timezone")))
    connection.receive_data(socket.recv(65536))         # b"" at the end of the stream
    event = connection.next_event()                     # until it is NEED_DATA

A client gets :class:`Reply` (after the :class:`Entry` events of a series), :class:`ErrorReply`, :class:`WatchEvent`
(between any two others) and :class:`ConnectionClosed`; a daemon gets :class:`Request`, :class:`BadRequest` and
:class:`ConnectionClosed`. A peer that breaks the protocol makes ``next_event`` raise RemoteProtocolError, then and
ever after. What is kept between two calls is never more than one message, if the caller takes all events before it
feeds more; data that a daemon has to skip is not kept at all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from enum import Enum

from vminterface.errors import LocalProtocolError, RemoteProtocolError, printable
from vminterface.wire.qubesdb_messages import (
    HEADER,
    KEY_FIELD,
    MAY_MISS,
    NEED_DATA,
    PATH_MAX,
    SERIES,
    VALUE_MAX,
    Asked,
    BadRequest,
    Command,
    ConnectionClosed,
    Entry,
    ErrorReply,
    Event,
    Malformed,
    Reply,
    Request,
    Response,
    Sentinel,
    WatchEvent,
    check_value,
    encode_reply,
    encode_request,
    has_good_characters,
    is_changed_path,
    is_key_path,
)

__all__ = [
    "CLIENT", "DAEMON", "HEADER", "NEED_DATA", "PATH_MAX", "VALUE_MAX", "BadRequest", "Command", "Connection",
    "ConnectionClosed", "Entry", "ErrorReply", "Event", "Reply", "Request", "Response", "Role", "WatchEvent",
    "is_key_path",
]  # fmt: skip


class Role(Enum):
    """Which end of the connection this is."""

    CLIENT = "client"
    DAEMON = "daemon"


CLIENT = Role.CLIENT
DAEMON = Role.DAEMON

_CLOSED = ConnectionClosed()
_SIZE = HEADER.size
_COMMANDS: dict[int, Command] = {command.value: command for command in Command}
_RESPONSES = frozenset(response.value for response in Response)
#: What a good answer to each other command is; that of READ has a value.
_ANSWERED_BY = {
    one: (Response.READ if one is Command.READ else Response.OK).value for one in Command if one not in SERIES
}


class Connection:
    """One end of a QubesDB connection."""

    def __init__(self, role: Role) -> None:
        self.role = role
        self._buffer = b""
        self._at = 0
        self._eof = False
        self._error: str | None = None
        self._in_flight: deque[Asked] = deque()
        self._entries = 0
        #: A request that is refused once so many bytes of its data have been skipped.
        self._refused: BadRequest | None = None
        self._skip = 0

    @property
    def in_message(self) -> bool:
        """Whether the peer has sent a part of a message, once all events are taken."""
        return self._refused is not None or len(self._buffer) > self._at

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
        if self._refused is not None:
            return self._skip_data()
        at, available = self._at, len(self._buffer) - self._at
        if available < _SIZE:
            if not self._eof:
                return NEED_DATA
            if available:
                raise self._broken(f"stream ended after {available} of the {_SIZE} bytes of a header")
            return _CLOSED
        kind, field, length = HEADER.unpack_from(self._buffer, at)
        if self.role is DAEMON:
            return self._request(kind, field, length)
        try:
            return self._from_daemon(kind, field, length)
        except Malformed as error:
            raise self._broken(str(error)) from None

    def events(self) -> list[Event]:
        """Return all that ``next_event`` gives until it gives NEED_DATA, or the end of the stream as the last one."""
        found: list[Event] = []
        while True:
            if self.role is CLIENT and self._error is None:
                self._take_good(found)
                if self._at == len(self._buffer) and not self._eof:
                    return found
            event = self.next_event()
            if isinstance(event, Sentinel):
                return found
            found.append(event)
            if event is _CLOSED:
                return found

    def _take_good(self, found: list[Event]) -> None:
        """Take the good answers and entries that come next: the same as ``next_event`` does, in two tight loops."""
        buffer, at, size, in_flight = self._buffer, self._at, len(self._buffer), self._in_flight
        unpack, add = HEADER.unpack_from, found.append
        while size - at >= _SIZE and in_flight:
            command, path, expected = in_flight[0]
            if command in SERIES:
                self._take_entries(found)
                return
            kind, field, length = unpack(buffer, at)
            end = at + _SIZE + length
            if kind != _ANSWERED_BY[command] or not field.startswith(expected) or end > size:
                return
            value = b""
            if length:
                value = buffer[at + _SIZE : end]
                if command is not Command.READ or length > VALUE_MAX or 0 in value:
                    return
            in_flight.popleft()
            add(Reply(command, path, value))
            self._at = at = end

    def _take_entries(self, found: list[Event]) -> None:
        """Take the good entries of the series that comes next, up to its end."""
        buffer, at, size = self._buffer, self._at, len(self._buffer)
        unpack, key_field, add, before = HEADER.unpack_from, KEY_FIELD.match, found.append, len(found)
        command, _, expected = self._in_flight[0]
        series, start = SERIES[command].value, expected[:-1]
        most = VALUE_MAX if command is Command.MULTIREAD else 0
        while size - at >= _SIZE:
            kind, field, length = unpack(buffer, at)
            key, end = key_field(field), at + _SIZE + length
            if key is None or kind != series or not field.startswith(start) or length > most or end > size:
                break
            value = buffer[at + _SIZE : end] if length else b""
            if length and 0 in value:
                break
            add(Entry(command, key[1].decode("ascii"), value))
            at = end
        self._at = at
        self._entries += len(found) - before

    def _from_daemon(self, kind: int, field: bytes, length: int) -> Event | Sentinel:
        """Take one message of a daemon."""
        if kind not in _RESPONSES:
            raise Malformed(f"message of type {kind} (expected a reply (7 to 13))")
        limit = VALUE_MAX if kind in (Response.READ, Response.MULTIREAD) else 0
        if length > limit:
            raise Malformed(f"{Response(kind).name} with {length} bytes of data (expected at most {limit})")
        path, terminator, _ = field.partition(b"\0")
        if not terminator:
            raise Malformed("path without its terminator")
        end = self._at + _SIZE + length
        if len(self._buffer) < end:
            if self._eof:
                raise Malformed(f"stream ended before the {length} bytes of a value were there")
            return NEED_DATA
        value = self._buffer[self._at + _SIZE : end]
        if 0 in value:
            raise Malformed("value with a NUL byte")
        event = self._change(path) if kind == Response.WATCH else self._reply(Response(kind), path, value)
        self._at = end
        return event

    def _change(self, path: bytes) -> WatchEvent:
        if not is_changed_path(path):
            raise Malformed(f"watch event for '{printable(path)}', which is not a valid path")
        return WatchEvent(path.decode("ascii"))

    def _reply(self, kind: Response, path: bytes, value: bytes) -> Event:
        if not self._in_flight:
            raise Malformed(f"{kind.name} although nothing was requested")
        command, asked, expected = self._in_flight[0]
        event: Event
        if (response := SERIES.get(command)) is not None and kind is response:
            if path:
                if not is_key_path(path) or not path.startswith(expected[:-1]):
                    raise Malformed(f"entry '{printable(path)}' in reply to {command.name} {asked}")
                self._entries += 1
                return Entry(command, path.decode("ascii"), value)
            if value:
                raise Malformed(f"end of {command.name} {asked} with {len(value)} bytes of data")
            event = Reply(command, asked)
        elif path != expected[:-1]:
            raise Malformed(f"reply about '{printable(path)}' to {command.name} {asked}")
        elif kind is Response.ERROR and not self._entries:
            event = ErrorReply(asked)
        elif kind is Response.ERROR_NOENT and command in MAY_MISS:
            event = ErrorReply(asked, True)
        elif kind is (Response.READ if command is Command.READ else Response.OK) and response is None:
            event = Reply(command, asked, value)
        else:
            raise Malformed(f"{kind.name} in reply to {command.name} {asked}")
        self._in_flight.popleft()
        self._entries = 0
        return event

    def _request(self, kind: int, field: bytes, length: int) -> Event | Sentinel:
        """Take one message of a client, as the daemon of qubes-core-qubesdb takes it."""
        raw = field[:PATH_MAX].partition(b"\0")[0]
        path = raw.decode("latin-1")
        command = _COMMANDS.get(kind)
        if command is None:
            # No terminator is set before the command is known: all 64 bytes come back.
            return self._refuse(field.partition(b"\0")[0].decode("latin-1"), f"unknown command {kind}", length)
        if not has_good_characters(raw):
            return self._refuse(path, "bad character in the path", length)
        if command is not Command.WRITE:
            if length and command is Command.READ:
                raise self._broken(f"READ with {length} bytes of data")
            if length:
                return self._refuse(path, f"{command.name} with data", length)
            self._at += _SIZE
            return Request(command, path)
        if length > VALUE_MAX:
            return self._refuse(path, f"value of {length} bytes", length)
        end = self._at + _SIZE + length
        if len(self._buffer) < end:
            if self._eof:
                raise self._broken(f"stream ended before the {length} bytes of a value were there")
            return NEED_DATA
        value = self._buffer[self._at + _SIZE : end]
        self._at = end
        if 0 in value:
            return BadRequest(path, "value with a NUL byte")
        if not path.startswith("/") or path.endswith("/"):
            return BadRequest(path, "not the path of a key", True)
        return Request(command, path, value)

    def _refuse(self, path: str, reason: str, length: int) -> Event | Sentinel:
        self._at += _SIZE
        self._refused, self._skip = BadRequest(path, reason), length
        return self._skip_data()

    def _skip_data(self) -> Event | Sentinel:
        """Skip the data of a refused request; give the refusal when that is done."""
        here = min(self._skip, len(self._buffer) - self._at)
        self._at += here
        self._skip -= here
        if self._skip:
            if self._eof:
                raise self._broken(f"stream ended {self._skip} bytes before the end of a message")
            return NEED_DATA
        refused, self._refused = self._refused, None
        assert refused is not None
        return refused

    def _broken(self, reason: str) -> RemoteProtocolError:
        self._error = f"QubesDB peer: {reason}"
        self._buffer, self._at = b"", 0
        return RemoteProtocolError(self._error)

    def send(self, event: Event) -> bytes:
        """Return the bytes of *event*, one message. Raises LocalProtocolError; then nothing has changed here.

        A client sends :class:`Request`, a daemon :class:`Reply`, :class:`Entry`, :class:`ErrorReply` and
        :class:`WatchEvent`.
        """
        if self.role is CLIENT:
            if not isinstance(event, Request):
                raise LocalProtocolError(f"a client does not send {type(event).__name__}")
            return self.send_all([event])[0]
        try:
            return encode_reply(event)
        except (Malformed, UnicodeEncodeError) as error:
            raise LocalProtocolError(str(error)) from None

    def send_all(self, requests: Sequence[Request]) -> list[bytes]:
        """Return the bytes of each request. Raises LocalProtocolError; then none of them was taken."""
        if self.role is DAEMON:
            raise LocalProtocolError("a daemon does not send requests")
        messages: list[bytes] = []
        asked: list[Asked] = []
        pack, write = HEADER.pack, Command.WRITE
        try:
            for request in requests:
                command, path, value = request.command, request.path, request.value
                message, awaited = encode_request(command, path)
                if command is write:
                    check_value(path, value)
                    message = pack(command, awaited[2], len(value)) + value
                elif value:
                    raise Malformed(f"{command.name} {path}: only WRITE has a value")
                messages.append(message)
                asked.append(awaited)
        except Malformed as error:
            raise LocalProtocolError(str(error)) from None
        self._in_flight.extend(asked)
        return messages
