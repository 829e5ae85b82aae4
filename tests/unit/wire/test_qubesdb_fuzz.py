"""Whatever a QubesDB peer sends is an event or RemoteProtocolError, in both roles."""

import random

import pytest

from tests.support import seeds
from tests.support.wirefuzz import RUNS, fuzz
from vminterface.errors import RemoteProtocolError
from vminterface.wire.qubesdb import CLIENT, DAEMON, HEADER, NEED_DATA, Command, Connection, Request, Role

PATHS = [b"", b"/", b"/a", b"/a/", b"/ab", b"/a//b", b"-a", b"/a b", b"/a\0garbage", b"/" * 64, b"\xff", b"/a:@._-9"]
SCRAPS = [b"", b"v", b"\0", b"a\0b", b"x" * 3071, b"x" * 3072, b"\x0a/a"]
ASKED = [
    Request(Command.READ, "/a"),
    Request(Command.MULTIREAD, "/a"),
    Request(Command.LIST, ""),
    Request(Command.WRITE, "/a", b"v"),
    Request(Command.RM, "/a/"),
    Request(Command.WATCH, "/a"),
    Request(Command.UNWATCH, "/a"),
]
#: Good answers to all of that, one by one.
GOOD = [
    HEADER.pack(10, b"/a", 1) + b"v",
    HEADER.pack(11, b"/a", 1) + b"v",
    HEADER.pack(11, b"\0a", 0),
    HEADER.pack(12, b"/a", 0),
    HEADER.pack(12, b"", 0),
    HEADER.pack(7, b"/a", 0),
    HEADER.pack(8, b"/a/", 0),
    HEADER.pack(7, b"/a", 0),
    HEADER.pack(8, b"/a", 0),
]


def peer_says(chance: random.Random) -> bytes:
    said = b"".join(GOOD[: chance.randrange(len(GOOD) + 1)]) if chance.random() < 0.7 else b""
    for _ in range(chance.randrange(3)):
        value = chance.choices(SCRAPS, [8, 8, 1, 1, 1, 1, 1])[0]
        length = len(value) if chance.random() < 0.9 else chance.choice((0, 1, 3071, 3072, 0xFFFFFFFF))
        kind = chance.randrange(16) if chance.random() < 0.9 else chance.randrange(256)
        said += HEADER.pack(kind, chance.choice(PATHS), length) + value
    if said and chance.random() < 0.1:
        at = chance.randrange(len(said))
        said = said[:at] + chance.randbytes(1) + said[at + 1 :]
    return said if chance.random() < 0.8 else said[: chance.randrange(len(said) + 1)]


@pytest.mark.fuzz
@pytest.mark.parametrize("role", [CLIENT, DAEMON])
def test_anything_from_a_peer_is_an_event_or_a_remote_protocol_error(role: Role) -> None:
    def connect() -> Connection:
        connection = Connection(role)
        if role is CLIENT:
            connection.send_all(ASKED)
        return connection

    fuzz(connect, peer_says, NEED_DATA, seeds.chance("QubesDB"))


@pytest.mark.fuzz
def test_however_it_comes_it_means_the_same() -> None:
    """The tight loop over values and entries takes no more and no less than the plain one."""
    chance = seeds.chance("QubesDB, in one go or not")
    for _ in range(RUNS // 5):
        said = peer_says(chance)
        results = []
        for in_one_go in (True, False):
            client = Connection(CLIENT)
            client.send_all(ASKED)
            found: list[object] = []
            try:
                if said:
                    client.receive_data(said)
                if in_one_go:
                    found += client.events()
                else:
                    while (event := client.next_event()) is not NEED_DATA:
                        found.append(event)
            except RemoteProtocolError as fault:
                # What came before it in one go is lost with it.
                found = [str(fault)]
            results.append(found)
        assert results[0] == results[1]
