"""How fast a pair of QubesDB daemons may be given changes: more than its vchan holds can end it.

Seen with the daemon of qubes-core-qubesdb: every change that one side passes on is replied to over a vchan of 4 KiB. A
removal without room for its reply ends the daemon that got it (``no space in vchan``); long bursts of writes can leave
both sides in a loop, each with half of the other's message. The side with the request replies OK before the other has
seen anything, so only time shows that the vchan is empty again.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterator, Sequence

from vminterface.wire.qubesdb import Command, Request

#: What may be on its way at the same time, in writes; the vchan has room for 56 replies.
ROOM = 48
#: Writes that a pair of daemons passes on within a second, on a slow host.
RATE = 16_000.0
#: What a request counts for, in writes; what changes nothing goes past the vchan.
COSTS = {Command.WRITE: 1, Command.RM: 3}


#: The pace of each daemon that somebody is connected to, by its socket.
_PACES: weakref.WeakValueDictionary[str, Pace] = weakref.WeakValueDictionary()
_PACES_LOCK = threading.Lock()


class Pace:
    """The changes that one pair of daemons may not have settled yet; shared by all connections to it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: When all of them have settled.
        self._settled = time.monotonic()

    @classmethod
    def of(cls, path: str) -> Pace:
        """Return the pace of the daemon at *path*."""
        with _PACES_LOCK:
            pace = _PACES.get(path)
            if pace is None:
                pace = _PACES[path] = cls()
            return pace

    def add(self, cost: int) -> None:
        """Note that changes of that *cost* have been sent."""
        with self._lock:
            self._settled = max(self._settled, time.monotonic()) + cost / RATE

    def pause(self, cost: int) -> float:
        """Return the seconds to wait before changes of that *cost* may be sent."""
        return max(0.0, self._settled - time.monotonic() - (ROOM - cost) / RATE)


def portions(requests: Sequence[Request]) -> Iterator[tuple[Sequence[Request], int]]:
    """Yield *requests* in portions that may be on their way together, each with its cost."""
    start = cost = 0
    for at, request in enumerate(requests):
        more = COSTS.get(request.command, 0)
        if cost + more > ROOM:
            yield requests[start:at], cost
            start, cost = at, 0
        cost += more
    if start < len(requests):
        yield requests[start:], cost
