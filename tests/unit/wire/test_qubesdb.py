"""The QubesDB protocol in memory: what each end says, what the other makes of it, and what neither takes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vminterface.errors import LocalProtocolError, RemoteProtocolError
from vminterface.wire.qubesdb import (
    CLIENT,
    DAEMON,
    HEADER,
    NEED_DATA,
    BadRequest,
    Command,
    Connection,
    ConnectionClosed,
    Entry,
    ErrorReply,
    Event,
    Reply,
    Request,
    Response,
    Role,
    WatchEvent,
)

CHARACTERS = "abcXYZ019-_.:/@"
names = st.text(CHARACTERS, min_size=1, max_size=62).filter(lambda name: not name.endswith("/"))
paths = names.map(lambda name: f"/{name}")
values = st.binary(max_size=3071).map(lambda value: value.replace(b"\0", b""))


def message(kind: int, path: bytes = b"", value: bytes = b"", length: int | None = None) -> bytes:
    return HEADER.pack(kind, path, len(value) if length is None else length) + value


def asked(*requests: Request) -> Connection:
    """A client that waits for the answers to *requests*."""
    client = Connection(CLIENT)
    client.send_all(requests)
    return client


def told(connection: Connection, data: bytes) -> list[Event]:
    """The events of *data*: fed whole, byte by byte, and taken one by one, they are the same."""
    states = [connection, _copy(connection), _copy(connection)]
    states[0].receive_data(data)
    whole = states[0].events()
    bit_by_bit: list[Event] = []
    for at in range(len(data)):
        states[1].receive_data(data[at : at + 1])
        bit_by_bit += states[1].events()
    assert bit_by_bit == whole
    states[2].receive_data(data)
    single = []
    while (event := states[2].next_event()) is not NEED_DATA:
        single.append(event)
    assert single == whole
    return whole


def _copy(connection: Connection) -> Connection:
    twin = Connection(connection.role)
    twin._in_flight.extend(connection._in_flight)
    return twin


READ = Request(Command.READ, "/a")
WRITE = Request(Command.WRITE, "/a", b"v")
RM = Request(Command.RM, "/a")
LIST = Request(Command.LIST, "/a")
MULTIREAD = Request(Command.MULTIREAD, "/a")
WATCH = Request(Command.WATCH, "/a/")
UNWATCH = Request(Command.UNWATCH, "/a/")


def test_the_write_of_a_time_zone_is_these_85_bytes_and_its_answer_72() -> None:
    client = Connection(CLIENT)
    sent = client.send(Request(Command.WRITE, "/qubes-timezone", b"Europe/Warsaw"))
    assert sent == bytes.fromhex(
        "01"
        "2f 71 75 62 65 73 2d 74 69 6d 65 7a 6f 6e 65" + 49 * "00" + 3 * "00" + "0d 00 00 00"
        "45 75 72 6f 70 65 2f 57 61 72 73 61 77"
    )
    assert len(sent) == 85
    daemon = Connection(DAEMON)
    daemon.receive_data(sent)
    assert daemon.next_event() == Request(Command.WRITE, "/qubes-timezone", b"Europe/Warsaw")
    reply = daemon.send(Reply(Command.WRITE, "/qubes-timezone"))
    assert reply == b"\x07" + sent[1:68] + bytes(4)
    assert len(reply) == 72
    client.receive_data(reply)
    assert client.next_event() == Reply(Command.WRITE, "/qubes-timezone")
    assert not client._in_flight


@pytest.mark.parametrize(
    ("request_", "replies"),
    [
        (READ, [Reply(Command.READ, "/a", b"v")]),
        (READ, [Reply(Command.READ, "/a")]),
        (READ, [ErrorReply("/a", True)]),
        (WRITE, [Reply(Command.WRITE, "/a")]),
        (WRITE, [ErrorReply("/a")]),
        (RM, [Reply(Command.RM, "/a")]),
        (RM, [ErrorReply("/a", True)]),
        (LIST, [Reply(Command.LIST, "/a")]),
        (LIST, [Entry(Command.LIST, "/a"), Entry(Command.LIST, "/ab"), Reply(Command.LIST, "/a")]),
        (MULTIREAD, [Entry(Command.MULTIREAD, "/a", b"v"), Entry(Command.MULTIREAD, "/a/b"),
                     Reply(Command.MULTIREAD, "/a")]),
        (Request(Command.MULTIREAD, ""), [Entry(Command.MULTIREAD, "/z", b"v"), Reply(Command.MULTIREAD, "")]),
        (Request(Command.LIST, ""), [ErrorReply("")]),
        (WATCH, [Reply(Command.WATCH, "/a/")]),
        (UNWATCH, [Reply(Command.UNWATCH, "/a/")]),
        (UNWATCH, [ErrorReply("/a/", True)]),
    ],
)  # fmt: skip
def test_every_request_is_understood_and_every_answer_is(request_: Request, replies: list[Any]) -> None:
    daemon, client = Connection(DAEMON), asked()
    assert told(daemon, client.send(request_)) == [request_]
    said = b"".join(daemon.send(reply) for reply in replies)
    assert told(client, said) == replies
    assert not client._in_flight


def test_answers_come_in_the_order_of_their_requests_with_events_between_and_within_them() -> None:
    events: list[Event] = [
        WatchEvent("/w/"),
        Reply(Command.READ, "/a", b"1"),
        WatchEvent("/x"),
        Entry(Command.LIST, "/a"),
        WatchEvent("/"),
        Entry(Command.LIST, "/a/b"),
        Reply(Command.LIST, "/a"),
        ErrorReply("/a", True),
        Entry(Command.MULTIREAD, "/a", b"v"),
        WatchEvent("/a"),
        Reply(Command.MULTIREAD, "/a"),
        Reply(Command.WRITE, "/a"),
    ]
    daemon = Connection(DAEMON)
    said = b"".join(daemon.send(event) for event in events)
    assert told(asked(READ, LIST, READ, MULTIREAD, WRITE), said) == events


def test_what_follows_a_terminator_and_the_padding_may_be_anything() -> None:
    field = b"/a\0" + bytes(range(1, 62))
    said = bytearray(HEADER.pack(Response.READ, field, 1) + b"v")
    said[65:68] = b"\xff\xfe\xfd"
    assert told(asked(READ), bytes(said)) == [Reply(Command.READ, "/a", b"v")]
    end = HEADER.pack(Response.LIST, b"\0a garbage", 0)
    assert told(asked(LIST), end) == [Reply(Command.LIST, "/a")]


def test_the_end_of_a_series_has_only_its_first_path_byte_cleared() -> None:
    assert Connection(DAEMON).send(Reply(Command.LIST, "/abc"))[1:6] == b"\0abc\0"


@given(st.lists(st.tuples(paths, values), max_size=5))
def test_whatever_can_be_written_arrives(pairs: Any) -> None:
    requests = [Request(Command.WRITE, path, value) for path, value in pairs]
    client, daemon = Connection(CLIENT), Connection(DAEMON)
    daemon.receive_data(b"".join(client.send_all(requests)) or message(0, b"/a"))
    assert daemon.events() == (requests or [READ])


@pytest.mark.parametrize(
    "path", ["", "a", "a/b", "/a b", "/ä", "/a\0", "/a\n", "/a+", "/a~", "/" + 63 * "a", "-a", "\udc80", "/a\\"]
)
@pytest.mark.parametrize("command", list(Command))
def test_a_path_that_no_daemon_takes_is_not_sent(command: Command, path: str) -> None:
    if path == "" and command in (Command.LIST, Command.MULTIREAD, Command.WATCH, Command.UNWATCH):
        assert Connection(CLIENT).send(Request(command, path))
        return
    client = Connection(CLIENT)
    with pytest.raises(LocalProtocolError, match="expected"):
        client.send_all([READ, Request(command, path)])
    assert not client._in_flight


@pytest.mark.parametrize(("command", "fits"), [(c, c not in (Command.READ, Command.WRITE)) for c in Command])
def test_a_path_that_ends_with_a_slash_names_what_is_below_and_no_key(command: Command, fits: bool) -> None:
    client = Connection(CLIENT)
    if fits:
        assert client.send(Request(command, "/a/"))
    else:
        with pytest.raises(LocalProtocolError, match="does not end with /"):
            client.send(Request(command, "/a/"))


@pytest.mark.parametrize("value", [b"\0", b"a\0b", b"x" * 3072])
def test_a_value_that_no_daemon_takes_is_not_sent(value: bytes) -> None:
    with pytest.raises(LocalProtocolError):
        Connection(CLIENT).send(Request(Command.WRITE, "/a", value))


@pytest.mark.parametrize("command", [c for c in Command if c is not Command.WRITE])
def test_only_a_write_has_a_value(command: Command) -> None:
    with pytest.raises(LocalProtocolError, match="only WRITE"):
        Connection(CLIENT).send(Request(command, "/a", b"v"))


def test_the_limits_themselves_are_sent() -> None:
    path, value = "/" + 62 * "a", b"x" * 3071
    client, daemon = Connection(CLIENT), Connection(DAEMON)
    daemon.receive_data(client.send(Request(Command.WRITE, path, value)))
    assert daemon.next_event() == Request(Command.WRITE, path, value)


@pytest.mark.parametrize(
    ("role", "event"),
    [
        (CLIENT, Reply(Command.READ, "/a")),
        (CLIENT, WatchEvent("/a")),
        (DAEMON, READ),
        (DAEMON, BadRequest("/a", "")),
        (DAEMON, ConnectionClosed()),
        (DAEMON, Entry(Command.READ, "/a")),
        (DAEMON, Entry(Command.LIST, "/a", b"v")),
        (DAEMON, Entry(Command.MULTIREAD, "/a", b"\0")),
        (DAEMON, Entry(Command.MULTIREAD, "", b"")),
        (DAEMON, Entry(Command.LIST, "/a/")),
        (DAEMON, Reply(Command.WRITE, "/a", b"v")),
        (DAEMON, Reply(Command.LIST, "/a", b"v")),
        (DAEMON, Reply(Command.READ, "/a", b"x" * 3072)),
        (DAEMON, WatchEvent("")),
        (DAEMON, WatchEvent("/ä")),
    ],
)
def test_what_the_other_end_would_not_understand_is_not_said(role: Role, event: Any) -> None:
    with pytest.raises(LocalProtocolError):
        Connection(role).send(event)


@pytest.mark.parametrize(
    ("requests", "said", "what"),
    [
        ([READ], message(0, b"/a"), "type 0"),
        ([READ], message(14, b"/a"), "type 14"),
        ([READ], message(255, b"/a"), "type 255"),
        ([READ], message(7, b"/a"), "OK in reply to READ"),
        ([READ], message(10, b"/b", b"v"), "about '/b' to READ /a"),
        ([READ], message(10, b"", b"v"), "about '' to READ /a"),
        ([READ], message(10, b"/a", b"x" * 3072), "3072 bytes"),
        ([READ], message(10, b"/a", length=0xFFFFFFFF), "4294967295 bytes"),
        ([READ], message(10, b"/a", b"a\0b"), "NUL"),
        ([READ], message(10, b"a" * 64, b""), "terminator"),
        ([READ], message(11, b"/a", b"v"), "MULTIREAD in reply to READ"),
        ([READ], message(12, b"/a"), "LIST in reply to READ"),
        ([READ], message(8, b"/a", b"v"), "ERROR_NOENT with 1 bytes"),
        ([WRITE], message(8, b"/a"), "ERROR_NOENT in reply to WRITE"),
        ([WATCH], message(8, b"/a/"), "ERROR_NOENT in reply to WATCH"),
        ([LIST], message(8, b"/a"), "ERROR_NOENT in reply to LIST"),
        ([WRITE], message(10, b"/a", b"v"), "READ in reply to WRITE"),
        ([WRITE], message(7, b"/a", b"v"), "OK with 1 bytes"),
        ([LIST], message(7, b"/a"), "OK in reply to LIST"),
        ([LIST], message(12, b"/a", b"v"), "LIST with 1 bytes"),
        ([LIST], message(12, b"/b"), "entry '/b'"),
        ([LIST], message(12, b"/a/"), "entry '/a/'"),
        ([LIST], message(12, b"/a b"), "entry '/a b'"),
        ([LIST], message(12, b"/a") + message(9, b"/a"), "ERROR in reply to LIST"),
        ([LIST], message(11, b"/a", b"v"), "MULTIREAD in reply to LIST"),
        ([MULTIREAD], message(11, b"", b"v"), "end of MULTIREAD /a with 1 bytes"),
        ([MULTIREAD], message(11, b"/b", b"v"), "entry '/b'"),
        ([MULTIREAD], message(11, b"/a\xff", b"v"), "entry"),
        ([MULTIREAD], message(11, b"a" * 64), "terminator"),
        ([], message(7, b"/a"), "nothing was requested"),
        ([], message(10, b"/a", b"v"), "nothing was requested"),
        ([], message(13, b"a"), "not a valid path"),
        ([], message(13, b""), "not a valid path"),
        ([], message(13, b"/a\x1b[2J"), "not a valid path"),
        ([], message(13, b"/a", b"v"), "WATCH with 1 bytes"),
        ([], message(13, b"/" * 64), "terminator"),
    ],
)
def test_an_answer_that_breaks_the_protocol_is_told_then_and_ever_after(
    requests: list[Request], said: bytes, what: str
) -> None:
    client = asked(*requests)
    client.receive_data(said)
    with pytest.raises(RemoteProtocolError, match=what):
        client.events()
    with pytest.raises(RemoteProtocolError, match=what):
        client.next_event()


@pytest.mark.parametrize("said", [message(10, b"/a", b"v")[:-1], message(10, b"/a", b"v")[:72], b"\x0a"])
def test_a_stream_that_ends_in_an_answer_is_told(said: bytes) -> None:
    client = asked(READ)
    client.receive_data(said)
    assert client.next_event() is NEED_DATA
    client.receive_data(b"")
    with pytest.raises(RemoteProtocolError, match="stream ended"):
        client.next_event()


@pytest.mark.parametrize("role", [CLIENT, DAEMON])
def test_a_stream_that_ends_between_messages_is_an_event(role: Role) -> None:
    connection = Connection(role)
    connection.receive_data(b"")
    assert connection.events() == [ConnectionClosed()]
    with pytest.raises(LocalProtocolError):
        connection.receive_data(b"x")


@pytest.mark.parametrize(
    ("said", "event"),
    [
        (message(1, b"/a", b"a\0b"), BadRequest("/a", "value with a NUL byte")),
        (message(1, b"/a", b"x" * 3072), BadRequest("/a", "value of 3072 bytes")),
        (message(1, b"/a/", b"v"), BadRequest("/a/", "not the path of a key", True)),
        (message(1, b"/", b"v"), BadRequest("/", "not the path of a key", True)),
        (message(1, b"", b"v"), BadRequest("", "not the path of a key", True)),
        (message(1, b"a", b"v"), BadRequest("a", "not the path of a key", True)),
        (message(1, b"/a b", b"x" * 100_000), BadRequest("/a b", "bad character in the path")),
        (message(0, b"-a"), BadRequest("-a", "bad character in the path")),
        (message(4, b"/a", b"v"), BadRequest("/a", "RM with data")),
        (message(3, b"/a", b"v"), BadRequest("/a", "LIST with data")),
        (message(2, b"/a", b"v"), BadRequest("/a", "MULTIREAD with data")),
        (message(7, b"/a", b"v"), BadRequest("/a", "unknown command 7")),
        (message(255, b"/a"), BadRequest("/a", "unknown command 255")),
        (message(1, b"/" + 63 * b"a", b"v"), Request(Command.WRITE, "/" + 62 * "a", b"v")),
        (message(1, b"/a//b", b""), Request(Command.WRITE, "/a//b")),
        (message(0, b""), Request(Command.READ, "")),
        (message(5, b""), Request(Command.WATCH, "")),
    ],
)
def test_a_daemon_takes_requests_as_the_real_one_does(said: bytes, event: BadRequest | Request) -> None:
    daemon = Connection(DAEMON)
    assert told(daemon, said + message(0, b"/a")) == [event, READ]


def test_a_read_with_data_ends_the_connection_without_an_answer() -> None:
    daemon = Connection(DAEMON)
    daemon.receive_data(message(0, b"/a", b"v"))
    with pytest.raises(RemoteProtocolError, match="READ with 1 bytes"):
        daemon.next_event()


def test_data_that_is_refused_is_never_kept() -> None:
    daemon = Connection(DAEMON)
    daemon.receive_data(message(1, b"/a b", length=0xFFFFFFFF))
    for _ in range(100):
        daemon.receive_data(bytes(65536))
        assert daemon.next_event() is NEED_DATA
        assert daemon.in_message
        assert len(daemon._buffer) <= 65536 + HEADER.size
    daemon.receive_data(b"")
    with pytest.raises(RemoteProtocolError, match="stream ended"):
        daemon.next_event()


def test_a_series_without_end_keeps_no_memory_here() -> None:
    client = asked(MULTIREAD)
    entry = message(11, b"/a", b"x" * 3071)
    for _ in range(1000):
        client.receive_data(entry)
        assert client.events() == [Entry(Command.MULTIREAD, "/a", b"x" * 3071)]
        assert len(client._buffer) <= len(entry)
    assert len(client._in_flight) == 1


def test_a_client_sees_whether_a_message_is_half_there() -> None:
    daemon = Connection(DAEMON)
    whole = message(1, b"/a", b"v")
    daemon.receive_data(whole[:-1])
    assert daemon.next_event() is NEED_DATA
    assert daemon.in_message
    daemon.receive_data(whole[-1:])
    assert daemon.events() == [WRITE]
    assert not daemon.in_message
