"""What every wire protocol's core has to stand: a peer that says anything, whole or cut in two."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from tests.support import seeds
from vminterface.errors import RemoteProtocolError

RUNS = seeds.rounds(100_000)


def fuzz(
    connect: Callable[[], Any],
    peer_says: Callable[[random.Random], bytes],
    need_data: object,
    chance: random.Random,
) -> None:
    """Let each of RUNS connections take what the peer says: events, or RemoteProtocolError, and nothing else.

    *chance* decides what it says, and where that is cut.
    """
    events = breaches = 0
    for _ in range(RUNS):
        one_by_one = chance.random() < 0.5
        connection = connect()
        said = peer_says(chance)
        cut = chance.randrange(len(said) + 1)
        try:
            for piece in (said[:cut], said[cut:]):
                if piece:
                    connection.receive_data(piece)
                if not one_by_one:
                    events += len(connection.events())
                while connection.next_event() is not need_data:
                    events += 1
            connection.receive_data(b"")
            connection.next_event()
        except RemoteProtocolError:
            breaches += 1
    # Neither all noise nor all sense, else this would look at one half only.
    assert events > RUNS / 20
    assert RUNS / 20 < breaches < RUNS
