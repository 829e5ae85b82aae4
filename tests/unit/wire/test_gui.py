"""The GUI protocol byte for byte: versions of every age, the screen, message headers; and what breaks it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import seeds
from vminterface.errors import LocalProtocolError, RemoteProtocolError
from vminterface.wire.gui import (
    AGENT,
    BODY_MAX,
    CLOSED,
    CURRENT,
    DAEMON,
    NEED_DATA,
    Connection,
    Message,
    Role,
    Sentinel,
    Type,
    Version,
    XConf,
)

FULL_HD = bytes.fromhex("80070000 38040000 18000000 a51f0000")
LAPTOP = bytes.fromhex("58050000 00030000 18000000 09100000")
TODAY = bytes.fromhex("08000100")
CONFIGURE = bytes.fromhex("86000000 01006000 14000000")
SCREEN = XConf.of_screen(1920, 1080)
MINORS = range(9)


def events(connection: Connection, data: bytes | None = None) -> list[Any]:
    """Feed *data* and return all events up to NEED_DATA or the end."""
    if data is not None:
        connection.receive_data(data)
    found = []
    while not isinstance(event := connection.next_event(), Sentinel):
        found.append(event)
    return found


def connected(own: Version = CURRENT, peer: Version = CURRENT) -> Connection:
    """An agent that knows the screen."""
    agent = Connection(AGENT, own)
    agent.send(own)
    agent.receive_data(min(own, peer).render() + FULL_HD)
    assert events(agent)[-1] == SCREEN
    return agent


def test_the_screens_bytes_are_those_of_todays_daemon() -> None:
    assert SCREEN.render() == FULL_HD
    assert XConf.of_screen(1366, 768).render() == LAPTOP
    assert XConf.parse(LAPTOP) == XConf(1368, 768, 24, 4105)


def test_todays_handshake_byte_for_byte() -> None:
    agent, daemon = Connection(AGENT), Connection(DAEMON)
    hello = agent.send(CURRENT)
    assert hello == TODAY
    assert events(daemon, hello) == [Version(1, 8)]
    reply = daemon.send(SCREEN)
    assert reply == TODAY + FULL_HD
    assert events(agent, reply) == [Version(1, 8), SCREEN]
    assert agent.version == daemon.version == CURRENT


@pytest.mark.parametrize("daemon_minor", MINORS)
@pytest.mark.parametrize("agent_minor", MINORS)
def test_every_pair_of_versions_agrees_on_the_lower_one_or_says_why_not(agent_minor: int, daemon_minor: int) -> None:
    agent, daemon = Connection(AGENT, Version(1, agent_minor)), Connection(DAEMON, Version(1, daemon_minor))
    assert events(daemon, agent.send(agent.own)) == [agent.own]
    lower = min(agent_minor, daemon_minor)
    assert daemon.version == Version(1, lower)
    reply = daemon.send(SCREEN)
    assert reply == (Version(1, lower).render() if lower >= 4 else b"") + FULL_HD
    if agent_minor >= 4 > daemon_minor:
        # The daemon is too old to answer, so that the screen's width comes where a version is awaited.
        with pytest.raises(RemoteProtocolError, match=r"chose no GUI protocol version: it is older than 1\.4"):
            events(agent, reply)
        return
    assert events(agent, reply)[-1] == SCREEN
    assert agent.version == Version(1, lower if lower >= 4 else agent_minor)
    assert events(daemon, agent.send(Message(Type.DOCK, 7))) == [Message(Type.DOCK, 7)]


@pytest.mark.parametrize("role", [AGENT, DAEMON])
def test_another_major_version_is_refused(role: Role) -> None:
    with pytest.raises(RemoteProtocolError, match=r"GUI protocol 2\.8 \(expected 1\.x, up to 1\.8\)"):
        events(Connection(role), Version(2, 8).render())


@pytest.mark.parametrize("own", [Version(1, 3), CURRENT, Version(2, 0)])
def test_a_daemon_that_closes_when_it_is_offered_a_version_does_not_speak_it(own: Version) -> None:
    agent = Connection(AGENT, own)
    agent.send(own)
    agent.receive_data(b"")
    said = rf"after being offered GUI protocol {own} \(expected one that speaks {own.major}\.x\)"
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match=said):
            agent.next_event()


def test_an_agent_that_closes_without_a_version_is_named() -> None:
    daemon = Connection(DAEMON)
    daemon.receive_data(b"")
    with pytest.raises(RemoteProtocolError, match="the agent closed the connection before it sent its GUI protocol"):
        daemon.next_event()


def test_a_newer_agent_is_spoken_to_in_the_daemons_version() -> None:
    daemon = Connection(DAEMON)
    assert events(daemon, Version(1, 300).render()) == [Version(1, 300)]
    assert daemon.version == CURRENT


@pytest.mark.parametrize("minor", [3, 9])
def test_an_agent_refuses_a_choice_that_it_does_not_know(minor: int) -> None:
    with pytest.raises(RemoteProtocolError, match=rf"chose GUI protocol 1\.{minor} \(expected 1\.4 to 1\.8\)"):
        events(Connection(AGENT), Version(1, minor).render() + FULL_HD)


@pytest.mark.parametrize(
    "words",
    [
        (0, 1080, 24, 8101),
        (1920, 0, 24, 8101),
        (40000, 1080, 24, 1 << 21),
        (1920, 40000, 24, 1 << 21),
        (0xFFFFFFFF, 0xFFFFFFFF, 24, 0xFFFFFFFF),
        (1920, 1080, 0, 8101),
        (1920, 1080, 25, 8101),
        (1920, 1080, 24, 100),
        (1920, 1080, 24, 0xFFFFFFFF),
    ],
)
def test_an_absurd_screen_is_refused(words: tuple[int, int, int, int]) -> None:
    data = b"".join(word.to_bytes(4, "little") for word in words)
    agent = Connection(AGENT)
    agent.receive_data(TODAY + data)
    assert agent.next_event() == CURRENT
    for _ in range(2):  # then and ever after
        with pytest.raises(RemoteProtocolError, match="screen of"):
            agent.next_event()


def test_a_screen_that_could_not_be_read_is_not_made() -> None:
    with pytest.raises(LocalProtocolError):
        XConf.of_screen(0, 1080)
    with pytest.raises(RemoteProtocolError, match="15 bytes"):
        XConf.parse(FULL_HD[:15])


@pytest.mark.parametrize("size", [1, 3, 5, 19])
def test_a_stream_that_ends_early_is_told(size: int) -> None:
    agent = Connection(AGENT)
    agent.receive_data((TODAY + FULL_HD)[:size])
    agent.receive_data(b"")
    with pytest.raises(RemoteProtocolError, match="stream ended after"):
        events(agent)


def test_a_configure_messages_header_byte_for_byte() -> None:
    agent = connected()
    message = Message(Type.CONFIGURE, 0x600001, bytes(range(20)))
    assert agent.send(message) == CONFIGURE + bytes(range(20))
    assert events(agent, CONFIGURE + bytes(range(20))) == [message]


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ("7b000000 01000000 00000000", "type 123"),
        ("96000000 01000000 00000000", "type 150"),
        ("86000000 01000000 15000000", r"CONFIGURE of 21 bytes \(expected 20\)"),
        ("8e000000 01000000 00000000", r"KEYMAP_NOTIFY of 0 bytes \(expected 32\)"),
        ("8c000000 01000000 ffffffff", f"at most {BODY_MAX}"),
    ],
)
def test_a_message_that_cannot_be_is_refused(header: str, told: str) -> None:
    with pytest.raises(RemoteProtocolError, match=told):
        events(connected(), bytes.fromhex(header))


def test_before_strict_lengths_a_known_messages_length_is_not_looked_at() -> None:
    old = connected(Version(1, 5), Version(1, 5))
    data = bytes.fromhex("86000000 01000000 ffffffff") + bytes(20)
    assert events(old, data) == [Message(Type.CONFIGURE, 1, bytes(20))]


def test_the_end_between_two_messages_is_an_end_and_within_one_a_fault() -> None:
    agent = connected()
    agent.receive_data(b"")
    assert agent.next_event() is CLOSED
    for cut in (1, 12, 31):
        agent = connected()
        agent.receive_data((CONFIGURE + bytes(20))[:cut])
        assert agent.next_event() is NEED_DATA
        agent.receive_data(b"")
        with pytest.raises(RemoteProtocolError, match="stream ended after"):
            agent.next_event()


def test_an_agent_waits_for_the_screen() -> None:
    daemon = Connection(DAEMON)
    assert events(daemon, TODAY) == [CURRENT]
    assert daemon.next_event() is NEED_DATA
    daemon.receive_data(CONFIGURE)
    with pytest.raises(RemoteProtocolError, match="before the daemon sent the screen"):
        daemon.next_event()


def test_what_may_not_be_sent_now_is_not_sent() -> None:
    agent, daemon = Connection(AGENT), Connection(DAEMON)
    for connection, event in (
        (daemon, CURRENT),
        (daemon, SCREEN),
        (agent, SCREEN),
        (agent, Version(1, 7)),
        (agent, Message(Type.MAP, 1)),
        (connected(), Message(Type.CONFIGURE, 1, b"short")),
        (connected(), Message(Type.CLIPBOARD_DATA, 1, bytes(BODY_MAX + 1))),
        (connected(), Message(Type.MAP, 1 << 32)),
    ):
        with pytest.raises(LocalProtocolError):
            connection.send(event)
    agent.send(CURRENT)
    with pytest.raises(LocalProtocolError):
        agent.send(CURRENT)
    with pytest.raises(LocalProtocolError):
        Version(1, 1 << 16)


def test_messages_have_the_protocols_numbers() -> None:
    names = (
        "KEYPRESS BUTTON MOTION CROSSING FOCUS RESIZE CREATE DESTROY MAP UNMAP CONFIGURE MFNDUMP SHMIMAGE CLOSE EXECUTE"
        " CLIPBOARD_REQ CLIPBOARD_DATA WMNAME KEYMAP_NOTIFY DOCK WINDOW_HINTS WINDOW_FLAGS WMCLASS WINDOW_DUMP CURSOR"
        " WINDOW_DUMP_ACK"
    )
    assert {kind.name: int(kind) for kind in Type} == dict(zip(names.split(), range(124, 150), strict=True))


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        (Type.CONFIGURE, 20),
        (Type.KEYMAP_NOTIFY, 32),
        (Type.WINDOW_FLAGS, 8),
        (Type.WMNAME, 128),
        (Type.WMCLASS, 128),
    ],
)
def test_some_messages_have_one_size_alone(kind: Type, size: int) -> None:
    assert connected().send(Message(kind, 1, bytes(size))).endswith(bytes(size))
    for other in (size - 1, size + 1):
        with pytest.raises(LocalProtocolError, match=f"{kind.name} of {other} bytes"):
            connected().send(Message(kind, 1, bytes(other)))


def test_lengths_count_from_version_1_6_on() -> None:
    for minor in (6, 7):
        with pytest.raises(RemoteProtocolError, match="CONFIGURE of 21 bytes"):
            events(connected(Version(1, minor)), bytes.fromhex("86000000 01000000 15000000") + bytes(21))


def test_a_body_has_up_to_512_kib_and_any_window_may_be_named() -> None:
    for message in (Message(Type.CLIPBOARD_DATA, 0, bytes(512 * 1024)), Message(Type.MAP, 0xFFFFFFFF)):
        assert events(connected(), connected().send(message)) == [message]
    with pytest.raises(LocalProtocolError, match="CLIPBOARD_DATA of 524289 bytes"):
        connected().send(Message(Type.CLIPBOARD_DATA, 1, bytes(512 * 1024 + 1)))
    assert Message(Type.MAP, 1).body == b""


@pytest.mark.parametrize("depth", [8, 15, 16, 24, 30, 32])
@pytest.mark.parametrize(
    ("width", "height", "memory"),
    [(1, 1, 0), (1920, 1080, 8100), (32768, 32767, 4194176), (1920, 1080, 4194304)],
)
def test_every_screen_that_x_can_have_is_one(width: int, height: int, memory: int, depth: int) -> None:
    screen = XConf(width, height, depth, memory)
    assert XConf.parse(screen.render()) == screen


@pytest.mark.parametrize(
    ("width", "height", "memory"),
    [(32769, 1, 4194304), (1, 32768, 4194304), (1920, 1080, 8099), (1920, 1080, 4194305)],
)
def test_sides_and_memory_have_bounds(width: int, height: int, memory: int) -> None:
    with pytest.raises(LocalProtocolError, match="screen of"):
        XConf(width, height, 24, memory)


def test_both_numbers_of_a_version_have_16_bits() -> None:
    assert Version(0xFFFF, 0xFFFF).render() == b"\xff" * 4
    for major, minor in ((1 << 16, 0), (0, 1 << 16), (-1, 0), (0, -1)):
        with pytest.raises(LocalProtocolError, match="is not a valid version"):
            Version(major, minor)


def test_nothing_comes_after_the_end() -> None:
    agent = connected()
    agent.receive_data(b"")
    with pytest.raises(LocalProtocolError, match="after the end"):
        agent.receive_data(b"x")


def test_an_agent_may_close_while_it_waits_for_the_screen() -> None:
    daemon = Connection(DAEMON)
    assert events(daemon, TODAY) == [CURRENT]
    daemon.receive_data(b"")
    assert daemon.next_event() is CLOSED


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (3, "stream ended after 3 of the 4 bytes of a version"),
        (19, "stream ended after 15 of the 16 bytes of a screen's description"),
        (33, "stream ended after 13 of the 32 bytes of CONFIGURE"),
    ],
)
def test_an_early_end_says_of_what(size: int, message: str) -> None:
    agent = Connection(AGENT)
    agent.receive_data((TODAY + FULL_HD + CONFIGURE + bytes(20))[:size])
    agent.receive_data(b"")
    with pytest.raises(RemoteProtocolError, match=message):
        events(agent)


def test_fed_byte_by_byte_it_gives_the_same_events() -> None:
    data = TODAY + FULL_HD + CONFIGURE + bytes(20) + message_of(Type.WMNAME, bytes(128))
    whole = events(Connection(AGENT), data)
    agent, single = Connection(AGENT), []
    for number in range(len(data)):
        single += events(agent, data[number : number + 1])
    assert single == whole
    assert len(whole) == 4


def message_of(kind: Type, body: bytes) -> bytes:
    return connected().send(Message(kind, 9, body))


@pytest.mark.fuzz
@pytest.mark.parametrize("role", [AGENT, DAEMON])
def test_whatever_comes_gives_events_or_our_error(role: Role) -> None:
    rng = seeds.chance(f"GUI {role.value}")
    runs = seeds.rounds(100_000)
    good = TODAY + FULL_HD + CONFIGURE + bytes(20) if role is AGENT else TODAY + CONFIGURE + bytes(20)
    accepted = refused = 0
    told = set()
    for _ in range(runs):
        data = bytearray(good if rng.random() < 0.9 else rng.randbytes(rng.randrange(60)))
        for _ in range(rng.randrange(3)):
            if data:
                data[rng.randrange(len(data))] = rng.choice((0, 1, 4, 8, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        del data[rng.randrange(len(data) + 1) if rng.random() < 0.3 else len(data) :]
        connection = Connection(role, Version(1, rng.randrange(9)))
        try:
            found = []
            if data:
                connection.receive_data(bytes(data))
            if role is DAEMON:
                found += [connection.next_event()]
                if connection.version is not None:
                    connection.send(SCREEN)
            found += events(connection, b"")
            accepted += len(found) > 1
        except RemoteProtocolError as error:
            refused += 1
            told.add(str(error).isprintable())
    assert told == {True}
    assert accepted > runs // 100
    assert refused > runs // 100
