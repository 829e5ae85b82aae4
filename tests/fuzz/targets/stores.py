"""The protocols of the two stores, both ends: whatever the peer sends, whole or in pieces; and whatever is sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.fuzz.pieces import Pieces, in_pieces
from tests.fuzz.target import Target, bytes_target, check_error
from vminterface.errors import LocalProtocolError, RemoteProtocolError
from vminterface.wire import qubesdb, xenstore
from vminterface.wire.qubesdb_messages import Command
from vminterface.wire.qubesdb_messages import Request as QubesDBRequest
from vminterface.wire.xenstore import HEADER, Op
from vminterface.wire.xenstore import Request as XenStoreRequest
from vminterface.wire.xenstore_messages import SHAPES

#: A request of each kind that is in flight when the daemon speaks, by number from 1 on.
ASKED = (
    XenStoreRequest(Op.READ, "name"), XenStoreRequest(Op.READ, "/local/domain/3/name"),
    XenStoreRequest(Op.DIRECTORY, "a"),
    XenStoreRequest(Op.DIRECTORY, "b"), XenStoreRequest(Op.GET_PERMS, "a"), XenStoreRequest(Op.WRITE, "a", b"1"),
    XenStoreRequest(Op.WATCH, "a", b"", ("t",)), XenStoreRequest(Op.TRANSACTION_START),
    XenStoreRequest(Op.TRANSACTION_END, "", b"", ("T",)), XenStoreRequest(Op.GET_DOMAIN_PATH, "", b"", ("3",)),
    XenStoreRequest(Op.IS_DOMAIN_INTRODUCED, "", b"", ("3",)), XenStoreRequest(Op.DIRECTORY_PART, "a", b"", ("0",)),
    XenStoreRequest(Op.CONTROL, "", b"", ("help",)), XenStoreRequest(Op.RM, "a"),
)  # fmt: skip
_REPLIES = (
    (Op.READ, 1, b"work"), (Op.READ, 2, b""), (Op.DIRECTORY, 3, b"a\0b\0"), (Op.DIRECTORY, 4, b""),
    (Op.GET_PERMS, 5, b"n0\0r3\0"),
    (Op.WRITE, 6, b"OK\0"), (Op.WATCH_EVENT, 0, b"a/b\0t\0"), (Op.TRANSACTION_START, 8, b"7\0"),
    (Op.ERROR, 9, b"EAGAIN\0"),
    (Op.GET_DOMAIN_PATH, 10, b"/local/domain/3\0"), (Op.IS_DOMAIN_INTRODUCED, 11, b"T\0"),
    (Op.DIRECTORY_PART, 12, b"1\0a\0\0"),
    (Op.CONTROL, 13, b"\0x"),
)  # fmt: skip
_WRONG = (
    (Op.READ, 99, b""), (Op.WRITE, 1, b"OK\0"), (Op.DIRECTORY, 3, b"\0"), (Op.DIRECTORY, 3, b"a"),
    (Op.DIRECTORY, 3, b"\xff\0"),
    (Op.GET_PERMS, 5, b"x\0"), (Op.WRITE, 6, b"NO\0"), (Op.WATCH_EVENT, 0, b"a\0"), (Op.WATCH_EVENT, 0, b"@x\0t\0"),
    (Op.TRANSACTION_START, 8, b"0\0"), (Op.ERROR, 1, b"x\0"), (Op.GET_DOMAIN_PATH, 10, b"a\0b\0"),
    (Op.DIRECTORY_PART, 12, b""),
    (Op.IS_DOMAIN_INTRODUCED, 11, b"x\0"), (Op.WATCH_EVENT, 0, b"a b\0t\0"), (Op.DIRECTORY, 3, b"a\0" * 1000),
    (Op.RM, 14, b""),
)  # fmt: skip
QUBESDB_ASKED = (
    QubesDBRequest(Command.READ, "/name"), QubesDBRequest(Command.MULTIREAD, "/qubes-"),
    QubesDBRequest(Command.LIST, "/a"),
    QubesDBRequest(Command.WRITE, "/a", b"1"), QubesDBRequest(Command.RM, "/a/"), QubesDBRequest(Command.READ, "/b"),
    QubesDBRequest(Command.WATCH, "/a/"), QubesDBRequest(Command.MULTIREAD, ""), QubesDBRequest(Command.UNWATCH, "/a/"),
)  # fmt: skip


def _message(op: int, number: int, payload: bytes, length: int | None = None) -> bytes:
    return HEADER.pack(op, number, 0, len(payload) if length is None else length) + payload


def _db(kind: int, path: bytes, value: bytes = b"", length: int | None = None) -> bytes:
    return qubesdb.HEADER.pack(kind, path, len(value) if length is None else length) + value


def heard(connection: Any, pieces: list[bytes], need_data: object, *, at_once: bool = False) -> list[Any]:
    """Return all events of *pieces* and of the end of the stream behind them; a breach of the protocol is the last."""
    found: list[Any] = []
    try:
        for piece in [*filter(None, pieces), b""]:
            connection.receive_data(piece)
            if at_once:
                found += connection.events()
                continue
            while (event := connection.next_event()) is not need_data:
                found.append(event)
                if type(event).__name__ == "ConnectionClosed":
                    break
    except RemoteProtocolError as error:
        check_error(error)
        found += [str(error), *_broken_again(connection)]
        _check_twice(found)
    return found


def _broken_again(connection: Any) -> list[str]:
    try:
        connection.next_event()
    except RemoteProtocolError as error:
        return [str(error)]
    return []


def _check_twice(found: list[Any]) -> None:
    """Raise AssertionError unless the last two of *found*, of which one goes, are the same breach."""
    assert found.pop() == found[-1], "a connection that was broken does not stay so"


def _whole_and_cut(connect: Callable[[], Any], need_data: object, data: bytes) -> list[Any]:
    """Return the events of *data*, behind its first byte, which says where it is cut."""
    cut, data = (data[0] if data else 0), data[1:]
    whole = heard(connect(), [data], need_data)
    assert heard(connect(), [data[:cut], data[cut:]], need_data) == whole, "what is cut in two means something else"
    if len(data) < 600:
        one_by_one = heard(connect(), [bytes([b]) for b in data], need_data)
        assert one_by_one == whole, "what comes byte by byte means something else"
    at_once = heard(connect(), [data[:cut], data[cut:]], need_data, at_once=True)
    if not whole or not isinstance(whole[-1], str):
        assert at_once == whole, "all events at once are others"
    else:
        # What came in one go with a breach is lost.
        assert at_once[-1] == whole[-1]
    return whole


def _xenstore_client() -> Any:
    connection = xenstore.Connection(xenstore.CLIENT)
    connection.send_all(ASKED)
    return connection


def _xenstore_replies(data: bytes) -> list[Any]:
    return _whole_and_cut(_xenstore_client, xenstore.NEED_DATA, data)


def _xenstore_replies_hold(events: list[Any]) -> None:
    """What a client understands, a server can say."""
    server = xenstore.Connection(xenstore.SERVER)
    unsaid: list[Any] = []
    for event in events:
        if not isinstance(event, xenstore.Reply | xenstore.ErrorReply | xenstore.WatchEvent):
            continue
        try:
            said = server.send(event)
        except LocalProtocolError as error:
            check_error(error)
            unsaid.append(event)
            continue
        client = _xenstore_client()
        assert heard(client, [said], xenstore.NEED_DATA)[0] == event
    # But for a directory that only oxenstored sends in one message.
    assert all(isinstance(event, xenstore.ErrorReply) or len(str(event)) > 4000 for event in unsaid), unsaid


def _xenstore_requests(data: bytes) -> list[Any]:
    return _whole_and_cut(lambda: xenstore.Connection(xenstore.SERVER), xenstore.NEED_DATA, data)


def _xenstore_requests_hold(events: list[Any]) -> None:
    """What a server understands, a client says in the same bytes, unless it says no such thing."""
    for event in events:
        if isinstance(event, XenStoreRequest):
            client = xenstore.Connection(xenstore.CLIENT, first_request_id=event.request_id)
            try:
                said = client.send(event)
            except LocalProtocolError as error:
                check_error(error)
                continue
            assert heard(xenstore.Connection(xenstore.SERVER), [said], xenstore.NEED_DATA)[0] == event


def _xenstore_sent(data: bytes) -> list[bytes]:
    """Send a request made of pieces: operation, transaction, then path, value and arguments."""
    pieces = Pieces(data)
    number, transaction = pieces.byte(), pieces.number() * (1 + pieces.byte() % 2)
    path, value, *arguments = (*pieces.pieces(), b"", b"")
    op = Op(number) if number in Op.__members__.values() else Op.READ
    texts = tuple(one.decode("utf-8", "surrogateescape") for one in arguments[:-2])
    client = xenstore.Connection(xenstore.CLIENT, payload_max=xenstore.DEVICE_PAYLOAD_MAX)
    request = XenStoreRequest(op, path.decode("utf-8", "surrogateescape"), value, texts, transaction)
    frames, ids = client.send_all([request, request])
    assert len({*ids}) == 2
    (event, *_) = heard(xenstore.Connection(xenstore.SERVER), frames, xenstore.NEED_DATA)
    assert isinstance(event, XenStoreRequest), f"{request!r} is understood as {event!r}"
    expected = XenStoreRequest(op, request.path, value if op is Op.WRITE else b"", texts, transaction, ids[0])
    assert event == expected, f"{request!r} is understood as {event!r}"
    return frames


def _said(data: bytes) -> bytes:
    """Let a server say an answer made of pieces: kind, operation, then value and strings."""
    pieces = Pieces(data)
    kind, number = pieces.byte() % 4, pieces.byte()
    value, *rest = (*pieces.pieces(), b"")
    strings = tuple(one.decode("latin-1") for one in rest[:-1])
    op = Op(number) if number in Op.__members__.values() else Op.ERROR
    event: Any = xenstore.Reply(1, op, value, strings)
    if kind == 1:
        event = xenstore.ErrorReply(1, value.decode("latin-1"))
    elif kind == 2:
        event = xenstore.WatchEvent(value.decode("latin-1"), "".join(strings))
    elif kind == 3:
        event = xenstore.ConnectionClosed()
    said = xenstore.Connection(xenstore.SERVER).send(event)
    client = xenstore.Connection(xenstore.CLIENT)
    if isinstance(event, xenstore.Reply):
        shape = SHAPES[op]
        arguments = {"TRANSACTION_END": ("T",), "SET_PERMS": ("n0",)}.get(op.name, ("1",) * shape.arguments[0])
        client.send(XenStoreRequest(op, "a" if shape.path else "", b"", arguments))
        assert heard(client, [said], xenstore.NEED_DATA)[0].op is op
    elif isinstance(event, xenstore.WatchEvent):
        assert heard(client, [said], xenstore.NEED_DATA)[0] == event
    return said


def _qubesdb_client() -> Any:
    connection = qubesdb.Connection(qubesdb.CLIENT)
    connection.send_all(QUBESDB_ASKED)
    return connection


def _qubesdb_replies(data: bytes) -> list[Any]:
    return _whole_and_cut(_qubesdb_client, qubesdb.NEED_DATA, data)


def _qubesdb_replies_hold(events: list[Any]) -> None:
    daemon, client = qubesdb.Connection(qubesdb.DAEMON), _qubesdb_client()
    said = b"".join(daemon.send(event) for event in events if not isinstance(event, str | qubesdb.ConnectionClosed))
    again = heard(client, [said], qubesdb.NEED_DATA)
    assert again[: len(events) - 1] == events[:-1], "what a client understands is another thing when a daemon says it"


def _qubesdb_requests(data: bytes) -> list[Any]:
    return _whole_and_cut(lambda: qubesdb.Connection(qubesdb.DAEMON), qubesdb.NEED_DATA, data)


def _qubesdb_requests_hold(events: list[Any]) -> None:
    for event in events:
        if isinstance(event, QubesDBRequest):
            try:
                said = qubesdb.Connection(qubesdb.CLIENT).send(event)
            except LocalProtocolError as error:
                check_error(error)
                continue
            assert heard(qubesdb.Connection(qubesdb.DAEMON), [said], qubesdb.NEED_DATA)[0] == event


def _qubesdb_sent(data: bytes) -> bytes:
    """Send what is made of pieces: as a client a request, as a daemon any event."""
    pieces = Pieces(data)
    kind, number = pieces.byte() % 7, pieces.byte()
    path, value = pieces.piece().decode("utf-8", "surrogateescape"), pieces.rest()
    command = Command(number % len(Command))
    event: Any = {
        0: QubesDBRequest(command, path, value), 1: qubesdb.Reply(command, path, value),
        2: qubesdb.Entry(command, path, value),
        3: qubesdb.ErrorReply(path, bool(number & 8)), 4: qubesdb.WatchEvent(path), 5: qubesdb.ConnectionClosed(),
        6: qubesdb.BadRequest(path, "x"),
    }[kind]  # fmt: skip
    daemon, client = qubesdb.Connection(qubesdb.DAEMON), qubesdb.Connection(qubesdb.CLIENT)
    if not isinstance(event, QubesDBRequest):
        _must_refuse(lambda: client.send(event))
        return daemon.send(event)
    _must_refuse(lambda: daemon.send_all([event]))
    said = client.send(event)
    assert heard(daemon, [said], qubesdb.NEED_DATA)[0] == event
    return said


def _must_refuse(send: Callable[[], object]) -> None:
    try:
        send()
    except LocalProtocolError as error:
        check_error(error)
    else:
        raise AssertionError("one side sends what is the other's")


_SMALL_NUMBERS = tuple(number.to_bytes(4, "little") for number in (*range(23), 4096, 4097, 1 << 20, 0xFFFFFFFF))
_KINDS = tuple(bytes([number]) for number in range(14))
_PATHS = tuple(path.ljust(64, b"\0") for path in (b"/name", b"/qubes-timezone", b"/a", b"/a/", b"/a/b", b"", b"/b"))
_GOOD_DB = (
    _db(10, b"/name", b"work"), _db(11, b"/qubes-timezone", b"UTC"), _db(11, b"/qubes-ip"), _db(11, b""),
    _db(12, b"/a/b"), _db(12, b""),
    _db(7, b"/a"), _db(8, b"/a/"), _db(9, b"/b"), _db(7, b"/a/"), _db(13, b"/a/b"), _db(11, b"/x", b"y"), _db(11, b""),
    _db(7, b"/a/"),
)  # fmt: skip
_WRONG_DB = (
    _db(6, b"/a"), _db(7, b"/a", b"x"), _db(10, b"/" * 64), _db(10, b"/name", b"\0"), _db(13, b"x"), _db(10, b"/x"),
    _db(11, b"/name"),
    _db(8, b"/name"), _db(9, b"/name"), _db(7, b"/name"), _db(10, b"/name", b"x", 5), _db(10, b"/name", b"", 4000),
    _db(13, b"/a/"),
)  # fmt: skip
_REQUESTS_DB = (
    _db(0, b"/name"), _db(1, b"/a", b"1"), _db(2, b"/q"), _db(3, b""), _db(4, b"/a/"), _db(5, b"/"), _db(6, b"/"),
    _db(77, b"/x", b"abc"),
    _db(2, b"/-", b"x"), _db(1, b"/a", b"\0"), _db(1, b"a/", b""), _db(1, b"/a", b"", 4000), _db(0, b"-x"),
    _db(4, b"/", b"xx"),
)  # fmt: skip

TARGETS: tuple[Target, ...] = (
    bytes_target(
        "wire.xenstore-client", _xenstore_replies,
        *(b"\x14" + b"".join(_message(*one) for one in _REPLIES[: n + 1]) for n in (3, 12)),
        *(b"\0" + _message(*one) for one in _WRONG), b"\0" + _message(Op.READ, 1, b"x", 5000),
        b"\0" + _message(Op.DIRECTORY, 3, b"x", 2 << 20),
        b"\0" + _message(Op.DIRECTORY, 99, b"x", 2 << 20), b"\0" + _message(Op.READ, 1, b"x", 5), b"\0x", b"\0",
        b"\0" + _message(Op.RM, 14, b"OK\0"),
        b"\0" + _message(Op.DIRECTORY, 3, b"a\0" * 100_001), b"\0" + _message(Op.DIRECTORY, 3, b"x", 65 << 20),
        b"\0" + _message(Op.DIRECTORY, 3, b"x" * 20, 2 << 20) + b"y" * 300,
        holds=_xenstore_replies_hold, words="EAGAIN ENOENT OK n0 r3 /local/domain/3 @introduceDomain",
        more_words=_SMALL_NUMBERS,
    ),
    bytes_target(
        "wire.xenstore-server", _xenstore_requests, b"\x08" + _message(Op.WRITE, 1, b"memory/meminfo\x00123456"),
        *(
            b"\0" + _message(op, 7, payload)
            for op, payload in (
                (Op.READ, b"a\0"), (Op.READ, b"a"), (Op.WATCH, b"@x\0t\0"), (Op.UNWATCH, b"a b\0t\0"),
                (Op.TRANSACTION_START, b"\0"),
                (Op.TRANSACTION_END, b"T\0"), (Op.TRANSACTION_END, b"x\0"), (Op.SET_PERMS, b"a\0n0\0r3\0"),
                (Op.INTRODUCE, b"1\x002\x003\0"),
                (Op.RESET_WATCHES, b""), (Op.ERROR, b""), (99, b""), (Op.DIRECTORY_PART, b"a\x000\0"),
                (Op.CONTROL, b"help\0"),
                (Op.READ, b"/local/domain/3/" + b"x" * 2049 + b"\0"), (Op.READ, b"@x\0"), (Op.WATCH, b"@/\0t\0"),
                (Op.WATCH, b"a\0t"),
                (Op.WATCH, b"a\0"), (Op.READ, b"/\0"), (Op.READ, b"/" + b"x" * 3072 + b"\0"), (Op.DIRECTORY, b"//\0"),
            )
        ),
        b"\0" + _message(Op.READ, 1, b"", 5000),
        holds=_xenstore_requests_hold, words="memory/meminfo /local/domain/3 @releaseDomain T F n0 b7",
        more_words=_SMALL_NUMBERS,
    ),
    bytes_target(
        "wire.xenstore-sent", _xenstore_sent,
        *(
            bytes([op, 0, 0, 0, 0, 0]) + in_pieces([path, value, *arguments])
            for op, path, value, *arguments in (
                (2, b"name", b""), (11, b"a", b"x"), (2, b"a", b"x"), (4, b"a", b"", b"t"), (4, b"a", b""),
                (9, b"", b"", b"3"), (6, b"", b""),
                (6, b"x", b""), (14, b"a", b"", b"n0", b"x"), (4, b"a", b"", b"a\0b"), (4, b"a", b"", "€".encode()),
                (15, b"", b""),
                (11, b"a", b"x" * 4090), (2, b"a b", b""), (8, b"", b"", b"1", b"2", b"x"),
            )
        ),
        b"\2\xff\xff\xff\xff\1" + in_pieces([b"a"]), words="name @introduceDomain T n0",
    ),
    bytes_target(
        "wire.xenstore-said", _said, b"\0\2" + in_pieces([b"work"]), b"\0\1" + in_pieces([b"", b"a", b"b"]), b"\0\x0b",
        b"\1\0" + in_pieces([b"ENOENT"]),
        b"\2\0" + in_pieces([b"a/b", b"t"]), b"\3", b"\0\x10", b"\0\1" + in_pieces([b"", b"a\0"]),
        b"\0\1" + in_pieces([b"", "é".encode()]),
        b"\0\2" + in_pieces([b"x" * 4097]), b"\0\x06" + in_pieces([b"", b"7"]), words="ENOENT n0 T",
    ),
    bytes_target(
        "wire.qubesdb-client", _qubesdb_replies, *(b"\x48" + b"".join(_GOOD_DB[:n]) for n in (1, 3, 4, 6, 9, 14)),
        *(b"\0" + one for one in _WRONG_DB),
        b"\0" + b"".join(_GOOD_DB[:1]) + _db(11, b"x"), b"\0" + _GOOD_DB[0] + _db(11, b"", b"x"), b"\0x",
        b"\0" + b"".join(_GOOD_DB) + _db(7, b"/a"),
        b"\0" + _GOOD_DB[0] + _GOOD_DB[1] + _db(9, b"/qubes-"),
        b"\0" + b"".join(_GOOD_DB[:4]) + _db(12, b"/zz") + _db(12, b"/a-"),
        holds=_qubesdb_replies_hold, more_words=(*_KINDS, *_PATHS),
    ),
    bytes_target(
        "wire.qubesdb-daemon", _qubesdb_requests, *(b"\x30" + one for one in _REQUESTS_DB),
        b"\0" + _db(0, b"/a", b"xyz"), b"\x50" + b"".join(_REQUESTS_DB[:8]),
        b"\0" + _db(1, b"/qubes-timezone", b"Europe/Warsaw"), b"\0" + _db(77, b"x", b"a", 9),
        b"\0" + _db(1, b"/a", b"x", 9),
        holds=_qubesdb_requests_hold, more_words=(*_KINDS, *_PATHS),
    ),
    bytes_target(
        "wire.qubesdb-sent", _qubesdb_sent, *(bytes([kind,
            number]) + in_pieces([b"/a"]) for kind in range(7) for number in (0, 2, 3)),
        b"\0\1" + in_pieces([b"/a"]) + b"value", b"\0\0" + in_pieces([b"/a"]) + b"x", b"\0\0" + in_pieces([b"a"]),
        b"\0\0" + in_pieces([b"/\xff"]),
        b"\0\1" + in_pieces([b"/a"]) + b"\0", b"\0\1" + in_pieces([b"/a/"]), b"\0\3" + in_pieces([b""]),
        b"\0\0" + in_pieces([b"/" + b"x" * 64]),
        b"\0\1" + in_pieces([b"/a"]) + b"x" * 3072, b"\2\2" + in_pieces([b"/a"]) + b"x",
        b"\1\0" + in_pieces(["é".encode()]),
        b"\0\0" + in_pieces([b"/ "]), words="/a /qubes-",
    ),
)  # fmt: skip
