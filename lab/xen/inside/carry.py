"""Carries the streams of one call over a vchan, at either end, with no thread and no end of data in memory.

Who reads slowly is waited for by who writes: nothing is taken from the vchan while a piece is still to be delivered,
and nothing from a local stream while the vchan is full.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Mapping
from contextlib import suppress

from lab.qrexec.messages import Kind, Parser, pack
from lab.xen.inside.vchan import Vchan

#: Bytes taken from a local stream at a time: half of a ring, so that both ends have something to do.
_PIECE = 65528
#: Bytes that a pipe or socket takes without waiting once poll(2) has said that it is writable (PIPE_BUF). That is for
#: those of the caller, to whom it would be strange if they did not wait any more.
_ATOM = 4096
#: Seconds between two looks at what tells nobody that it has ended: a domain.
_PROBE = 1.0


class Carrier:
    """One end: *sources* are local descriptors that are read, *sinks* those that are written; all are closed here.

    *connection* is the descriptor by which the local side is told how the call ended, or tells it.
    """

    def __init__(
        self, vchan: Vchan, parser: Parser, sources: Mapping[Kind, int], sinks: Mapping[Kind, int], connection: int
    ) -> None:
        self._vchan, self._parser, self._connection = vchan, parser, connection
        self._sources, self._sinks = dict(sources), dict(sinks)
        self._outgoing = bytearray()
        self._undelivered: dict[Kind, bytearray] = {kind: bytearray() for kind in sinks}
        self._ended: set[Kind] = set()
        #: What the other end says of the call's end.
        self.status: bytes | None = None
        #: Whether the local side has said something, or has gone.
        self.notified = False

    def send(self, kind: Kind, body: bytes) -> None:
        """Send a message as soon as there is space."""
        self._outgoing += pack(kind, body)

    @property
    def is_done(self) -> bool:
        """Whether all has been read from the sources, and sent."""
        return not self._sources and not self._outgoing

    @property
    def is_delivered(self) -> bool:
        """Whether all that came has been written to the sinks."""
        return not any(self._undelivered.values())

    def run(self, until: Callable[[], bool]) -> bool:
        """Carry until *until* says so, which is asked after each event and each second; False if the other end closed.

        Raises BadMessage.
        """
        while True:
            # Before the look at what has come: an end that is closed says nothing after that.
            is_open = self._vchan.is_open
            self._receive()
            self._flush()
            if until():
                return True
            if not is_open and self.is_delivered:
                return False
            self._wait()

    def close(self) -> None:
        """Close the vchan and all local streams."""
        self._vchan.close()
        for descriptor in (*self._sources.values(), *self._sinks.values()):
            os.close(descriptor)
        self._sources.clear()
        self._sinks.clear()

    def _receive(self) -> None:
        while self.is_delivered:
            for kind, body in self._parser.messages():
                self._take(kind, body)
            data = self._vchan.read()
            if not data:
                return
            self._parser.feed(data)

    def _take(self, kind: Kind, body: bytes) -> None:
        if kind is Kind.STATUS:
            self.status = body
        elif kind in self._sinks and body:
            self._undelivered[kind] += body
        elif kind in self._sinks:
            self._ended.add(kind)
            self._end_sink(kind)
        elif kind in self._sources:
            os.close(self._sources.pop(kind))

    def _end_sink(self, kind: Kind) -> None:
        if kind in self._ended and not self._undelivered[kind]:
            os.close(self._sinks.pop(kind))

    def _flush(self) -> None:
        while self._outgoing and (space := self._vchan.space) > 0:
            try:
                self._vchan.write(bytes(self._outgoing[:space]))
            except BrokenPipeError:
                self._outgoing.clear()  # that it is closed is seen by run()
                return
            del self._outgoing[:space]

    def _wait(self) -> None:
        poll = select.poll()
        poll.register(self._vchan.fileno(), select.POLLIN)
        if not self.notified:
            poll.register(self._connection, select.POLLIN)
        if not self._outgoing:
            for descriptor in self._sources.values():
                poll.register(descriptor, select.POLLIN)
        for kind, descriptor in self._sinks.items():
            # Without an event asked for, it is still told that nobody reads any more.
            poll.register(descriptor, select.POLLOUT if self._undelivered[kind] else 0)
        ready = dict(poll.poll(_PROBE * 1000))
        if self._vchan.fileno() in ready:
            self._vchan.take_event()
        self.notified |= self._connection in ready
        for kind, descriptor in list(self._sources.items()):
            if descriptor in ready:
                self._read(kind, descriptor)
        for kind, descriptor in list(self._sinks.items()):
            if descriptor in ready:
                self._write(kind, descriptor, ready[descriptor])

    def _read(self, kind: Kind, descriptor: int) -> None:
        data = b""
        with suppress(OSError):
            data = os.read(descriptor, _PIECE)
        self.send(kind, data)
        if not data:
            os.close(self._sources.pop(kind))

    def _write(self, kind: Kind, descriptor: int, events: int) -> None:
        rest = self._undelivered[kind]
        try:
            if events & (select.POLLERR | select.POLLHUP):
                raise BrokenPipeError
            del rest[: os.write(descriptor, rest[:_ATOM] if os.get_blocking(descriptor) else rest)]
        except BlockingIOError:
            return
        except OSError:
            rest.clear()
            os.close(self._sinks.pop(kind))
            self.send(kind, b"")
            return
        self._end_sink(kind)
