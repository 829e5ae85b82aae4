"""The XenStore protocol: two ends joined in memory, and peers that break it."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vminterface.errors import LocalProtocolError, RemoteProtocolError
from vminterface.wire.xenstore import (
    CLIENT,
    DEVICE_PAYLOAD_MAX,
    HEADER,
    NEED_DATA,
    PAYLOAD_MAX,
    SERVER,
    TOO_MANY_NAMES,
    BadRequest,
    Connection,
    ConnectionClosed,
    ErrorReply,
    Op,
    Reply,
    Request,
    WatchEvent,
)
from vminterface.wire.xenstore_messages import LISTING_MAX, NAMES_MAX, PASSED_OVER_MAX

REQUESTS = [
    Request(Op.CONTROL, arguments=("help",)),
    Request(Op.CONTROL, arguments=("log", "on")),
    Request(Op.DIRECTORY, "/local/domain"),
    Request(Op.READ, "domid", transaction=7),
    Request(Op.GET_PERMS, "/local"),
    Request(Op.WATCH, "@introduceDomain", arguments=("token 1",)),
    Request(Op.WATCH, "memory", arguments=("",)),
    Request(Op.UNWATCH, "memory", arguments=("x",)),
    Request(Op.TRANSACTION_START),
    Request(Op.TRANSACTION_END, arguments=("T",), transaction=0xFFFFFFFF),
    Request(Op.TRANSACTION_END, arguments=("F",), transaction=1),
    Request(Op.INTRODUCE, arguments=("3", "18446744073709551615", "2")),
    Request(Op.RELEASE, arguments=("3",)),
    Request(Op.GET_DOMAIN_PATH, arguments=("3",)),
    Request(Op.WRITE, "memory/meminfo", b"123456"),
    Request(Op.WRITE, "/a", b"\0nul\0 and \xff"),
    Request(Op.WRITE, "/a", b""),
    Request(Op.MKDIR, "/a/b"),
    Request(Op.RM, "/a/b"),
    Request(Op.SET_PERMS, "/a", arguments=("n0", "r3", "b12")),
    Request(Op.IS_DOMAIN_INTRODUCED, arguments=("3",)),
    Request(Op.RESUME, arguments=("3",)),
    Request(Op.SET_TARGET, arguments=("3", "4")),
    Request(Op.RESET_WATCHES),
    Request(Op.DIRECTORY_PART, "/a", arguments=("4090",)),
]
ANSWERS: dict[Op, dict[str, Any]] = {
    Op.CONTROL: {"value": b"any text"},
    Op.READ: {"value": b"\0 any \xff bytes"},
    Op.DIRECTORY: {"strings": ("0", "a-b", "c_d")},
    Op.DIRECTORY_PART: {"strings": ("12", "a", "b", "")},
    Op.GET_PERMS: {"strings": ("n0", "r3")},
    Op.TRANSACTION_START: {"strings": ("4294967295",)},
    Op.GET_DOMAIN_PATH: {"strings": ("/local/domain/3",)},
    Op.IS_DOMAIN_INTRODUCED: {"strings": ("F",)},
}


def events_of(connection: Connection, pieces: list[bytes]) -> list[object]:
    found: list[object] = []
    for piece in pieces:
        connection.receive_data(piece)
        while (event := connection.next_event()) is not NEED_DATA:
            found.append(event)
            if isinstance(event, ConnectionClosed):
                break
    return found


def asked(request: Request = Request(Op.READ, "domid")) -> Connection:  # noqa: B008
    client = Connection(CLIENT)
    client.send(request)
    return client


def message(kind: int, payload: bytes, request_id: int = 1, transaction: int = 0) -> bytes:
    return HEADER.pack(kind, request_id, transaction, len(payload)) + payload


BREACHES = [
    ("length over 4096", HEADER.pack(Op.READ, 1, 0, 4097)),
    ("length of 4 GiB", HEADER.pack(Op.READ, 1, 0, 0xFFFFFFFF)),
    ("unknown request id", message(Op.READ, b"v", request_id=2)),
    ("unknown type", message(99, b"v")),
    ("type of another request", message(Op.WRITE, b"OK\0")),
    ("watch event without strings", message(Op.WATCH_EVENT, b"", 0)),
    ("watch event with one string", message(Op.WATCH_EVENT, b"a\0", 0)),
    ("watch event without terminator", message(Op.WATCH_EVENT, b"a\0b", 0)),
    ("watch event with three strings", message(Op.WATCH_EVENT, b"a\0b\0c\0", 0)),
    ("watch event with a bad path", message(Op.WATCH_EVENT, b"\x1b[0m\0b\0", 0)),
    ("error without a name", message(Op.ERROR, b"")),
    ("error without terminator", message(Op.ERROR, b"ENOENT")),
    ("error that is no errno name", message(Op.ERROR, b"No such file\0")),
    ("error to no request", message(Op.ERROR, b"ENOENT\0", 5)),
    ("end of stream in a header", message(Op.READ, b"v")[:15]),
    ("end of stream after a header", message(Op.READ, b"v")[:16]),
    ("end of stream in a payload", message(Op.READ, b"value")[:18]),
]


def listing(size: int, request_id: int = 1) -> bytes:
    return message(Op.DIRECTORY, b"n" * (size - 1) + b"\0", request_id)


def test_a_directory_may_be_longer_than_a_message_up_to_a_bound() -> None:
    client = asked(Request(Op.DIRECTORY, "/a"))
    client.receive_data(listing(LISTING_MAX))
    assert client.next_event() == Reply(1, Op.DIRECTORY, strings=("n" * (LISTING_MAX - 1),))


@pytest.mark.parametrize("part", [1000, 1 << 20])
def test_a_longer_one_costs_its_own_request_alone_and_is_not_kept(part: int) -> None:
    client = asked(Request(Op.DIRECTORY, "/a"))
    client.send(Request(Op.READ, "/b"))
    came = []
    data = listing(LISTING_MAX + 3000) + message(Op.READ, b"v", 2)
    for at in range(0, len(data), part):
        client.receive_data(data[at : at + part])
        came += client.events()
        assert len(client._buffer) <= part
    assert came == [ErrorReply(1, TOO_MANY_NAMES), Reply(2, Op.READ, b"v")]
    assert not client._in_flight


def test_as_many_names_as_a_bound_and_no_more_are_taken() -> None:
    for count, taken in ((NAMES_MAX, True), (NAMES_MAX + 1, False)):
        client = asked(Request(Op.DIRECTORY, "/a"))
        client.receive_data(message(Op.DIRECTORY, b"n\0" * count))
        assert isinstance(client.next_event(), Reply) is taken


@pytest.mark.parametrize(
    ("op", "kind", "payload", "expected"),
    [
        (Op.READ, Op.READ, b"v", Reply(1, Op.READ, b"v", (), 7)),
        (Op.READ, Op.READ, b"x" * 4096, Reply(1, Op.READ, b"x" * 4096, (), 7)),
        (Op.READ, Op.READ, b"", Reply(1, Op.READ, b"", (), 7)),
        (Op.READ, Op.ERROR, b"ENOENT\0", ErrorReply(1, "ENOENT", 7)),
        (Op.DIRECTORY, Op.DIRECTORY, b"n\0" * (NAMES_MAX + 1), ErrorReply(1, TOO_MANY_NAMES, 7)),
        (Op.DIRECTORY, Op.DIRECTORY, b"n" * LISTING_MAX + b"\0", ErrorReply(1, TOO_MANY_NAMES, 7)),
    ],
)
def test_a_reply_in_a_transaction_says_so(op: Op, kind: Op, payload: bytes, expected: object) -> None:
    for one_by_one in (False, True):
        client = asked(Request(op, "/a", transaction=7))
        client.receive_data(HEADER.pack(kind, 1, 7, len(payload)) + payload)
        assert ([client.next_event()] if one_by_one else client.events()) == [expected]
        assert client.next_event() is NEED_DATA


def test_a_value_that_has_come_whole_is_too_long_still() -> None:
    client = asked(Request(Op.READ, "/a"))
    client.receive_data(HEADER.pack(Op.READ, 1, 0, 4097) + bytes(4097))
    with pytest.raises(RemoteProtocolError, match="message of 4097 bytes"):
        client.events()


@pytest.mark.parametrize(
    ("size", "message_"),
    [(15, "after 15 of the 16 bytes of a header"), (18, "after 2 of the 5 bytes of a message")],
)
def test_an_early_end_says_of_what(size: int, message_: str) -> None:
    client = asked(Request(Op.READ, "/a"))
    client.receive_data(message(Op.READ, b"value")[:size])
    client.receive_data(b"")
    with pytest.raises(RemoteProtocolError, match=message_):
        client.events()


@pytest.mark.parametrize(
    "data",
    [
        HEADER.pack(Op.DIRECTORY, 1, 0, PASSED_OVER_MAX + 1),
        HEADER.pack(Op.DIRECTORY, 2, 0, LISTING_MAX + 1),
        HEADER.pack(Op.READ, 1, 0, PAYLOAD_MAX + 1),
        HEADER.pack(Op.ERROR, 1, 0, PAYLOAD_MAX + 1),
    ],
)
def test_no_other_message_is_longer(data: bytes) -> None:
    client = asked(Request(Op.DIRECTORY, "/a"))
    client.receive_data(data)
    with pytest.raises(RemoteProtocolError):
        client.next_event()


def test_a_stream_that_ends_in_what_is_passed_over_has_ended() -> None:
    client = asked(Request(Op.DIRECTORY, "/a"))
    client.receive_data(listing(LISTING_MAX + 1)[:100])
    client.receive_data(b"")
    assert [type(event) for event in client.events()] == [ErrorReply, ConnectionClosed]


def test_a_write_and_its_reply_are_these_bytes() -> None:
    client, server = Connection(CLIENT), Connection(SERVER)
    sent = client.send(Request(Op.WRITE, "memory/meminfo", b"123456"))
    assert sent == bytes.fromhex("0b000000 01000000 00000000 15000000") + b"memory/meminfo\x00123456"
    server.receive_data(sent)
    request = server.next_event()
    assert request == Request(Op.WRITE, "memory/meminfo", b"123456", request_id=1)
    assert server.send(Reply(1, Op.WRITE)) == bytes.fromhex("0b000000 01000000 00000000 03000000 4f4b00")


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda r: f"{r.op.name} {r.path}")
def test_each_request_and_its_answer_arrive_as_they_were_sent(request_: Request) -> None:
    client, server = Connection(CLIENT), Connection(SERVER)
    server.receive_data(client.send(request_))
    came = server.next_event()
    assert came == Request(
        request_.op, request_.path, request_.value, request_.arguments, request_.transaction, client.request_id
    )
    reply = Reply(client.request_id, request_.op, transaction=request_.transaction, **ANSWERS.get(request_.op, {}))
    client.receive_data(server.send(reply))
    assert client.next_event() == reply
    assert client.next_event() is NEED_DATA
    assert not client._in_flight


def test_every_operation_is_among_the_requests_of_this_test() -> None:
    assert {request.op for request in REQUESTS} == set(Op) - {Op.WATCH_EVENT, Op.ERROR}


def test_an_empty_directory_has_no_names() -> None:
    client, server = asked(Request(Op.DIRECTORY, "/a")), Connection(SERVER)
    client.receive_data(server.send(Reply(1, Op.DIRECTORY)))
    assert client.next_event() == Reply(1, Op.DIRECTORY)


@given(cuts=st.lists(st.integers(0, 2000), max_size=40))
def test_pieces_of_any_size_give_the_same_events(cuts: list[int]) -> None:
    client, server = Connection(CLIENT), Connection(SERVER)
    said = b"".join(client.send(request) for request in REQUESTS)
    replies: list[object] = [WatchEvent("@releaseDomain", "t"), WatchEvent("/a/b", "")]
    replies += [Reply(n, r.op, **ANSWERS.get(r.op, {})) for n, r in enumerate(REQUESTS, 1) if n % 3]
    replies += [ErrorReply(n, "EACCES") for n in range(3, len(REQUESTS) + 1, 3)]
    answered = b"".join(Connection(SERVER).send(reply) for reply in replies)  # type: ignore[arg-type]
    for stream, end, expected in ((said, server, None), (answered, client, [*replies, ConnectionClosed()])):
        edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
        pieces = [stream[a:b] for a, b in itertools.pairwise(edges)]
        events = events_of(end, [*pieces, b""])
        assert len(events) == (len(REQUESTS) + 1 if expected is None else len(expected))
        if expected is None:
            expected = events_of(Connection(SERVER), [stream, b""])
        assert events == expected


def test_all_events_at_once_are_those_that_come_one_by_one() -> None:
    server = Connection(SERVER)
    replies = [Reply(n, r.op, **ANSWERS.get(r.op, {})) for n, r in enumerate(REQUESTS, 1)]
    replies += [Reply(n, Op.READ, b"v%d" % n) for n in range(len(REQUESTS) + 1, len(REQUESTS) + 50)]
    stream = b"".join(
        server.send(reply) + server.send(WatchEvent("a", "t")) * (n % 3) for n, reply in enumerate(replies)
    )
    for pieces in ([stream, b""], [stream[:777], stream[777:], b""]):
        one_by_one, at_once = Connection(CLIENT), Connection(CLIENT)
        for client in (one_by_one, at_once):
            client.send_all([*REQUESTS, *[Request(Op.READ, "a")] * 49])
        found: list[object] = []
        for piece in pieces:
            at_once.receive_data(piece)
            found += at_once.events()
        assert found == events_of(one_by_one, pieces)
        assert [event for event in found if isinstance(event, Reply)] == replies
        assert isinstance(found[-1], ConnectionClosed)
        assert not at_once._in_flight


@pytest.mark.parametrize("stream", [b for _, b in BREACHES], ids=[name for name, _ in BREACHES])
def test_all_events_at_once_end_in_the_same_error(stream: bytes) -> None:
    client = asked()
    client.receive_data(stream)
    client.receive_data(b"")
    for _ in range(2):
        with pytest.raises(RemoteProtocolError):
            client.events()


def test_byte_by_byte_gives_what_the_whole_gives() -> None:
    client = Connection(CLIENT)
    stream = b"".join(client.send(request) for request in REQUESTS)
    assert events_of(Connection(SERVER), [bytes([b]) for b in stream]) == events_of(Connection(SERVER), [stream])


def test_replies_are_matched_by_their_id_in_any_order() -> None:
    client, server = Connection(CLIENT), Connection(SERVER)
    client.send(Request(Op.READ, "a"))
    client.send(Request(Op.DIRECTORY, "b"))
    second, first = Reply(2, Op.DIRECTORY, strings=("x",)), Reply(1, Op.READ, b"y")
    client.receive_data(server.send(second) + server.send(WatchEvent("c", "t")) + server.send(first))
    assert [client.next_event() for _ in range(4)] == [second, WatchEvent("c", "t"), first, NEED_DATA]


def test_request_ids_wrap_and_pass_over_those_in_flight() -> None:
    client = Connection(CLIENT, first_request_id=0xFFFFFFFF)
    ids = []
    for _ in range(3):
        client.send(Request(Op.READ, "a"))
        ids.append(client.request_id)
    assert ids == [0xFFFFFFFF, 0, 1]
    client._next_id = 0xFFFFFFFF
    client.send(Request(Op.READ, "a"))
    assert client.request_id == 2


@pytest.mark.parametrize(
    "request_",
    [
        Request(Op.READ, ""),
        Request(Op.READ, "//"),
        Request(Op.READ, "/a/"),
        Request(Op.READ, "a//b"),
        Request(Op.READ, "a.b"),
        Request(Op.READ, "a b"),
        Request(Op.READ, "a\0b"),
        Request(Op.READ, "a\n"),
        Request(Op.READ, "\xe4"),
        Request(Op.READ, "@releaseDomain"),
        Request(Op.WATCH, "@", arguments=("t",)),
        Request(Op.READ, "/" + "a" * 3072),
        Request(Op.READ, "a" * 2049),
        Request(Op.READ, "/local/domain/3/" + "a" * 2049),
        Request(Op.WRITE, "a", b"x" * 4095),
        Request(Op.READ, "a", b"value"),
        Request(Op.TRANSACTION_START, "a"),
        Request(Op.WATCH, "a"),
        Request(Op.WATCH, "a", arguments=("t", "u")),
        Request(Op.WATCH, "a", arguments=("\0",)),
        Request(Op.WATCH, "a", arguments=("\u20ac",)),
        Request(Op.SET_PERMS, "a"),
        Request(Op.SET_PERMS, "a", arguments=("x0",)),
        Request(Op.SET_PERMS, "a", arguments=("n0\n",)),
        Request(Op.TRANSACTION_END, arguments=("t",)),
        Request(Op.GET_DOMAIN_PATH, arguments=("-1",)),
        Request(Op.READ, "a", transaction=1 << 32),
        Request(Op.READ, "a", transaction=-1),
        Request(Op.WATCH_EVENT, "a"),
        Request(Op.ERROR),
    ],
    ids=repr,
)
def test_what_the_protocol_forbids_is_not_sent(request_: Request) -> None:
    client = Connection(CLIENT)
    with pytest.raises(LocalProtocolError):
        client.send(request_)
    with pytest.raises(LocalProtocolError):
        client.send_all([Request(Op.READ, "a"), request_])
    assert not client._in_flight


def test_the_longest_messages_and_paths_are_sent() -> None:
    Connection(CLIENT).send(Request(Op.WRITE, "a", b"x" * 4094))
    Connection(CLIENT, payload_max=DEVICE_PAYLOAD_MAX).send(Request(Op.WRITE, "a", b"x" * 4078))
    with pytest.raises(LocalProtocolError, match="expected at most 4080"):
        Connection(CLIENT, payload_max=DEVICE_PAYLOAD_MAX).send(Request(Op.WRITE, "a", b"x" * 4079))
    for path in ("/", "/" + "a" * 3071, "a" * 2048, "/local/domain/3/" + "a" * 2048):
        Connection(CLIENT).send(Request(Op.READ, path))


@pytest.mark.parametrize(("stream"), [b for _, b in BREACHES], ids=[name for name, _ in BREACHES])
def test_a_daemon_that_breaks_the_protocol_is_a_remote_protocol_error_from_then_on(stream: bytes) -> None:
    client = asked()
    client.receive_data(stream)
    client.receive_data(b"")
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match=r"^XenStore peer: "):
            client.next_event()


@pytest.mark.parametrize(
    ("request_", "payload"),
    [
        (Request(Op.WRITE, "a"), b"OK"),
        (Request(Op.WRITE, "a"), b""),
        (Request(Op.DIRECTORY, "a"), b"x"),
        (Request(Op.DIRECTORY, "a"), b"x\0\0"),
        (Request(Op.DIRECTORY, "a"), b"\xff\0"),
        (Request(Op.DIRECTORY_PART, "a", arguments=("0",)), b""),
        (Request(Op.DIRECTORY_PART, "a", arguments=("0",)), b"gen\0x\0"),
        (Request(Op.DIRECTORY_PART, "a", arguments=("0",)), b"1\0\0x\0"),
        (Request(Op.GET_PERMS, "a"), b""),
        (Request(Op.GET_PERMS, "a"), b"z0\0"),
        (Request(Op.TRANSACTION_START), b"1"),
        (Request(Op.TRANSACTION_START), b"0\0"),
        (Request(Op.TRANSACTION_START), b"4294967296\0"),
        (Request(Op.TRANSACTION_START), b"one\0"),
        (Request(Op.IS_DOMAIN_INTRODUCED, arguments=("1",)), b"yes\0"),
        (Request(Op.GET_DOMAIN_PATH, arguments=("1",)), b"/a\0/b\0"),
    ],
    ids=repr,
)
def test_an_answer_of_the_wrong_form_is_a_remote_protocol_error(request_: Request, payload: bytes) -> None:
    client = asked(request_)
    client.receive_data(message(request_.op, payload))
    with pytest.raises(RemoteProtocolError):
        client.next_event()


@pytest.mark.parametrize(
    ("kind", "payload", "error"),
    [
        (Op.READ, b"no-terminator", "EINVAL"),
        (Op.READ, b"", "EINVAL"),
        (Op.READ, b"a\0more\0", "EINVAL"),
        (Op.READ, b"a b\0", "EINVAL"),
        (Op.READ, b"@releaseDomain\0", "EINVAL"),
        (Op.WRITE, b"value", "EINVAL"),
        (Op.WATCH, b"a\0", "EINVAL"),
        (Op.WATCH, b"a\0token", "EINVAL"),
        (Op.SET_PERMS, b"a\0", "EINVAL"),
        (Op.TRANSACTION_END, b"maybe\0", "EINVAL"),
        (Op.INTRODUCE, b"1\x002\0", "EINVAL"),
        (20, b"", "ENOSYS"),
        (Op.WATCH_EVENT, b"a\0b\0", "ENOSYS"),
        (Op.ERROR, b"EINVAL\0", "ENOSYS"),
        (0xFFFFFFFF, b"", "ENOSYS"),
    ],
)
def test_a_malformed_request_is_answered_and_the_next_one_understood(kind: int, payload: bytes, error: str) -> None:
    server = Connection(SERVER)
    server.receive_data(message(kind, payload, 8, 9) + message(Op.READ, b"a\0", 10))
    bad = server.next_event()
    assert isinstance(bad, BadRequest)
    assert (bad.request_id, bad.transaction, bad.error) == (8, 9, error)
    assert bad.reason
    server.send(ErrorReply(bad.request_id, bad.error, bad.transaction))
    assert server.next_event() == Request(Op.READ, "a", request_id=10)


def test_a_client_that_breaks_the_framing_is_a_remote_protocol_error() -> None:
    for stream in (HEADER.pack(Op.READ, 1, 0, 4097), b"short", message(Op.READ, b"a\0")[:-1]):
        server = Connection(SERVER)
        server.receive_data(stream)
        server.receive_data(b"")
        with pytest.raises(RemoteProtocolError):
            server.next_event()


@pytest.mark.parametrize(
    "event",
    [
        Reply(1, Op.READ, b"x" * 4097),
        Reply(1, Op.DIRECTORY, strings=("a\0b",)),
        Reply(1, Op.DIRECTORY, strings=("",)),
        Reply(1, Op.GET_PERMS),
        Reply(1, Op.ERROR, strings=("EINVAL",)),
        Reply(1, Op.TRANSACTION_START, strings=("0",)),
        ErrorReply(1, "no errno"),
        WatchEvent("a b", "t"),
        WatchEvent("a", "t\0"),
        WatchEvent("a", "\u20ac"),
        Request(Op.READ, "a"),
        ConnectionClosed(),
    ],
    ids=repr,
)
def test_a_server_does_not_send_what_no_client_could_understand(event: Reply) -> None:
    with pytest.raises(LocalProtocolError):
        Connection(SERVER).send(event)


def test_a_client_sends_requests_only() -> None:
    with pytest.raises(LocalProtocolError):
        Connection(CLIENT).send(Reply(1, Op.WRITE))


def test_the_end_of_the_stream_between_messages_is_an_event() -> None:
    client = asked()
    client.receive_data(b"")
    assert client.next_event() == ConnectionClosed()
    with pytest.raises(LocalProtocolError):
        client.receive_data(b"more")


def test_no_more_than_one_message_is_kept() -> None:
    client = asked()
    for _ in range(1000):
        client.receive_data(message(Op.WATCH_EVENT, b"a\0" + b"t" * 4000 + b"\0", 0)[:-1])
        assert client.next_event() is NEED_DATA
        client.receive_data(b"\0")
        assert isinstance(client.next_event(), WatchEvent)
        assert len(client._buffer) - client._at == 0


@pytest.mark.parametrize("name", [b"\x1b[2J", b"a b", b"a.b", b"a/b", b"\x7f"])
def test_a_name_that_no_path_can_have_breaks_the_protocol(name: bytes) -> None:
    for request, payload in (
        (Request(Op.DIRECTORY, "/a"), b"ok\0" + name + b"\0"),
        (Request(Op.DIRECTORY_PART, "/a", arguments=("0",)), b"1\0ok\0" + name + b"\0\0"),
    ):
        client = asked(request)
        client.receive_data(message(request.op, payload))
        with pytest.raises(RemoteProtocolError, match="DIRECTORY"):
            client.next_event()
