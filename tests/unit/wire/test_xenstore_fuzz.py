"""Whatever a XenStore peer sends is an event or RemoteProtocolError, in both roles."""

import random

import pytest

from tests.support import seeds
from tests.support.wirefuzz import fuzz
from vminterface.wire.xenstore import CLIENT, HEADER, NEED_DATA, SERVER, Connection, Op, Request, Role

SCRAPS = [b"", b"\0", b"a\0", b"/local/domain/1\0", b"OK\0", b"ENOENT\0", b"T\0", b"1\0", b"n0\0", b"\xff", b"@\0"]
ASKED = [
    Request(Op.READ, "a"),
    Request(Op.WRITE, "a", b"v"),
    Request(Op.DIRECTORY, "a"),
    Request(Op.DIRECTORY_PART, "a", arguments=("0",)),
    Request(Op.GET_PERMS, "a"),
    Request(Op.TRANSACTION_START),
    Request(Op.IS_DOMAIN_INTRODUCED, arguments=("1",)),
    Request(Op.WATCH, "a", arguments=("t",)),
]


def peer_says(chance: random.Random) -> bytes:
    said = b""
    for _ in range(chance.randrange(1, 4)):
        payload = b"".join(chance.choices(SCRAPS, k=chance.randrange(4)))
        if chance.random() < 0.1:
            payload += chance.randbytes(chance.randrange(40))
        length = len(payload) if chance.random() < 0.9 else chance.choice((0, 4096, 4097, 0xFFFFFFFF))
        request_id = chance.randrange(len(ASKED))
        kind: int = ASKED[request_id].op
        if chance.random() < 0.4:
            kind = chance.randrange(24) if chance.random() < 0.9 else chance.getrandbits(32)
        said += HEADER.pack(kind, request_id + 1, chance.randrange(3), length) + payload
    return said if chance.random() < 0.8 else said[: chance.randrange(len(said))]


@pytest.mark.fuzz
@pytest.mark.parametrize("role", [CLIENT, SERVER])
def test_anything_from_a_peer_is_an_event_or_a_remote_protocol_error(role: Role) -> None:
    def connect() -> Connection:
        connection = Connection(role)
        if role is CLIENT:
            connection.send_all(ASKED)
        return connection

    fuzz(connect, peer_says, NEED_DATA, seeds.chance("XenStore"))
