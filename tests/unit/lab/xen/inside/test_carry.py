"""The streams of a call at both ends of a vchan, whose rings are two byte arrays here."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import cast

import pytest

from lab.qrexec.messages import Kind, Parser
from lab.xen.inside.carry import Carrier
from lab.xen.inside.vchan import Vchan

RING = 1000
#: What a pipe takes that nobody reads.
PIPE = 65536
STATUS = b"\x07\0\0\0"


@dataclass
class Ring:
    data: bytearray = field(default_factory=bytearray)
    closed: bool = False


class End:
    """As much of a vchan as a carrier uses; the descriptor of each end is a pipe with a byte for each event."""

    def __init__(self, incoming: Ring, outgoing: Ring, lock: threading.Lock) -> None:
        self._in, self._out, self._lock = incoming, outgoing, lock
        self._event, self._tell = os.pipe()
        os.set_blocking(self._tell, False)
        self.peer: End | None = None

    def fileno(self) -> int:
        return self._event

    def take_event(self) -> None:
        os.read(self._event, 4096)

    def notify(self) -> None:
        with suppress(BlockingIOError):  # there are events enough
            os.write(self._tell, b"!")

    @property
    def space(self) -> int:
        with self._lock:
            return RING - len(self._out.data)

    @property
    def is_open(self) -> bool:
        return not self._in.closed

    def read(self) -> bytes:
        with self._lock:
            data = bytes(self._in.data)
            self._in.data.clear()
        if data:
            assert self.peer is not None
            self.peer.notify()
        return data

    def write(self, data: bytes) -> None:
        if self._in.closed:
            raise BrokenPipeError
        with self._lock:
            assert len(data) <= RING - len(self._out.data)
            self._out.data += data
        assert self.peer is not None
        self.peer.notify()

    def close(self) -> None:
        self._out.closed = True
        assert self.peer is not None
        self.peer.notify()


class Call:
    """A call's two ends at work; what the caller and the handler have of its pipes is the test's."""

    def __init__(self) -> None:
        lock, there, back = threading.Lock(), Ring(), Ring()
        one, other = End(back, there, lock), End(there, back, lock)
        one.peer, other.peer = other, one
        (source, self.caller_in), (self.caller_out, sink) = os.pipe(), os.pipe()
        (self.handler_in, feed), (collect, self.handler_out) = os.pipe(), os.pipe()
        (caller, self.caller), (agent, self.agent) = os.pipe(), os.pipe()
        self.dom0 = Carrier(cast("Vchan", one), Parser(), {Kind.STDIN: source}, {Kind.STDOUT: sink}, caller)
        self.vm = Carrier(cast("Vchan", other), Parser(), {Kind.STDOUT: collect}, {Kind.STDIN: feed}, agent)
        self.threads = [threading.Thread(target=work, daemon=True) for work in (self._be_dom0, self._be_vm)]
        for thread in self.threads:
            thread.start()

    def _be_dom0(self) -> None:
        self.dom0.run(lambda: self.dom0.notified or (self.dom0.status is not None and self.dom0.is_delivered))
        self.dom0.close()

    def _be_vm(self) -> None:
        if self.vm.run(lambda: self.vm.notified and self.vm.is_done):
            self.vm.send(Kind.STATUS, STATUS)
            self.vm.run(lambda: False)
        self.vm.close()

    def end(self) -> None:
        """The handler has ended."""
        os.close(self.handler_out)
        os.write(self.agent, b"!")

    def wait(self) -> None:
        for thread in self.threads:
            thread.join(10)
            assert not thread.is_alive()


def read_all(descriptor: int) -> bytes:
    data = b""
    while piece := os.read(descriptor, 65536):
        data += piece
    return data


def write_for(seconds: float, descriptor: int) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        os.write(descriptor, bytes(100))


def test_both_streams_their_ends_and_the_status_are_carried() -> None:
    call, data = Call(), os.urandom(300_000)

    def handle() -> None:
        while piece := os.read(call.handler_in, 4096):
            os.write(call.handler_out, piece)
        call.end()

    def give() -> None:
        for start in range(0, len(data), 4096):
            os.write(call.caller_in, data[start : start + 4096])
        os.close(call.caller_in)

    for work in (handle, give):
        threading.Thread(target=work, daemon=True).start()
    assert read_all(call.caller_out) == data
    call.wait()
    assert call.dom0.status == STATUS


def test_a_handler_that_does_not_read_is_waited_for() -> None:
    call, taken = Call(), 0
    os.set_blocking(call.caller_in, False)
    quiet_at = time.monotonic() + 0.5
    while time.monotonic() < quiet_at:
        try:
            taken += os.write(call.caller_in, bytes(4096))
            quiet_at = time.monotonic() + 0.5
        except BlockingIOError:
            time.sleep(0.01)
    # Two pipes, and what the carriers have in hand.
    assert 2 * PIPE <= taken <= 5 * PIPE
    os.close(call.caller_in)
    assert len(read_all(call.handler_in)) == taken
    call.end()
    call.wait()


def test_the_caller_is_told_that_the_handler_reads_no_more() -> None:
    call = Call()
    os.close(call.handler_in)
    with pytest.raises(BrokenPipeError):
        write_for(10, call.caller_in)
    call.end()
    call.wait()
    assert call.dom0.status == STATUS


def test_a_caller_that_goes_away_ends_the_handlers_streams() -> None:
    call = Call()
    os.write(call.caller, b"!")
    assert read_all(call.handler_in) == b""
    call.wait()
    with pytest.raises(BrokenPipeError):
        os.write(call.handler_out, b"for nobody")


def test_output_written_before_the_end_is_not_lost_on_a_slow_caller() -> None:
    call, data = Call(), os.urandom(60_000)
    os.write(call.handler_out, data)
    call.end()
    time.sleep(0.3)
    assert read_all(call.caller_out) == data
    call.wait()
    assert call.dom0.status == STATUS
