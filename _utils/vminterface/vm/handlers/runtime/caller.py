"""Whether the caller of a service is still there: what a handler that waits for somebody else has to know.

When its caller has gone the qrexec agent ends a service's stdin, shuts its stdout down for reading and closes its
stderr, in that order, and lets the service run on (Qubes core-qrexec, ``libqrexec/process_io.c``). A poll of stdin and
stdout shows nothing of the second: stderr has POLLERR, and a write to stdout, of nothing even, gets EPIPE. The agents
of R2 and R3 give pipes, where a poll of stdout has POLLERR.
"""

from __future__ import annotations

import os
import select
import stat
import time

from vminterface.deadline import Deadline
from vminterface.errors import ConnectionLost

#: Seconds between two checks where no event comes.
PERIOD = 1.0
#: Seconds after the end of the input within which a caller that broke off has shown it: the agent ends a service's
#: streams one right after the other, but other programs may run in between.
SETTLE = 1.0
_MESSAGES = 2
_GONE = select.POLLERR | select.POLLHUP


class Caller:
    """The other end of the descriptors *output* and *messages*.

    With *known_at_start*, a stream that is closed at the start belongs to the way this service was started, and is not
    watched: the agent itself starts some, and may not read their output.
    """

    def __init__(self, output: int, messages: int = _MESSAGES, *, known_at_start: bool = False) -> None:
        self._output = output
        self._signs = [one for one in (output, messages) if _is_open(one)]
        self._decides = output if output in self._signs and _has_other_end(output) else messages
        if known_at_start and self.is_gone:
            self._signs = []

    @property
    def is_gone(self) -> bool:
        """Whether nobody reads any more what this service sends."""
        if self._decides not in self._signs:
            return False
        waiting = select.poll()
        waiting.register(self._decides, 0)
        if any(events & _GONE for _, events in waiting.poll(0)):
            return True
        try:
            if self._decides == self._output and stat.S_ISSOCK(os.fstat(self._output).st_mode):
                os.write(self._output, b"")
        except BlockingIOError:
            return False
        except OSError:
            return True
        return False

    def check(self) -> None:
        """Raise ConnectionLost if the caller closed the connection."""
        if self.is_gone:
            raise ConnectionLost("the caller closed the connection")

    def wait(self, *awaited: int, events: int = select.POLLIN, seconds: float | None = None) -> frozenset[int]:
        """Return those of the descriptors *awaited* that have one of *events*, none after *seconds*.

        Without *seconds* it may take any time. Raises ConnectionLost as soon as the caller closed the connection.
        """
        deadline = None if seconds is None else Deadline.after(seconds)
        waiting = select.poll()
        for descriptor in awaited:
            waiting.register(descriptor, events)
        signs = [one for one in self._signs if one not in awaited]
        for sign in signs:
            waiting.register(sign, 0)
        while True:
            self.check()
            left = PERIOD if deadline is None else min(PERIOD, deadline.remaining)
            ready = {descriptor for descriptor, _ in waiting.poll(1000 * left)}
            if found := ready.intersection(awaited):
                return frozenset(found)
            for sign in ready.intersection(signs):
                waiting.unregister(sign)  # it has sent all that it can
            if deadline is not None and deadline.passed:
                self.check()
                return frozenset()

    def check_the_end(self, seconds: float = SETTLE) -> None:
        """Raise ConnectionLost if the caller closed the connection before its input was complete."""
        deadline = Deadline.after(seconds)
        while not deadline.passed:
            self.check()
            time.sleep(min(0.05, deadline.remaining))
        self.check()


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _has_other_end(descriptor: int) -> bool:
    """Whether a descriptor is of a kind that has another end."""
    mode = os.fstat(descriptor).st_mode
    return stat.S_ISSOCK(mode) or stat.S_ISFIFO(mode)
