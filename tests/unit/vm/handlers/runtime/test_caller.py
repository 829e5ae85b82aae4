"""How a handler knows that its caller has gone: by what the agents of every release do to its streams."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from io import FileIO

import pytest

from vminterface.errors import ConnectionLost
from vminterface.vm.handlers.runtime.caller import Caller


class Streams:
    """A service's stdout, a socket or a pipe, and its stderr, a pipe; and their other ends."""

    def __init__(self, kind: str) -> None:
        self._reader: socket.socket | FileIO
        if kind == "socket":
            self._reader, writer = socket.socketpair()
            self.output = writer.detach()
        else:
            reading, self.output = os.pipe()
            self._reader = open(reading, "rb", buffering=0)  # noqa: SIM115  closed below
        self._messages, self.messages = os.pipe()

    def hang_up(self) -> None:
        """End them as an agent does: a socket is shut down and stays open, a pipe is closed."""
        if isinstance(self._reader, socket.socket):
            self._reader.shutdown(socket.SHUT_RD)
        else:
            self._reader.close()
        self.end_messages()

    def end_messages(self) -> None:
        os.close(self._messages)
        self._messages = -1

    def close(self) -> None:
        self._reader.close()
        for descriptor in (self.output, self.messages, self._messages):
            with contextlib.suppress(OSError):
                os.close(descriptor)


@pytest.fixture(params=["socket", "pipe"])
def streams(request: pytest.FixtureRequest) -> Iterator[Streams]:
    made = Streams(request.param)
    yield made
    made.close()


def is_gone(caller: Caller) -> bool:
    """Whether it has gone by now: asked anew, as another value than a moment ago may be right."""
    return caller.is_gone


def test_a_caller_is_there_until_its_agent_ends_the_streams(streams: Streams) -> None:
    caller = Caller(streams.output, streams.messages)
    assert not is_gone(caller)
    caller.check()
    streams.hang_up()
    assert is_gone(caller)
    with pytest.raises(ConnectionLost, match="the caller closed the connection"):
        caller.check()


def test_a_caller_that_does_not_read_is_there(streams: Streams) -> None:
    os.set_blocking(streams.output, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(streams.output, bytes(65536))
    assert not Caller(streams.output, streams.messages).is_gone


def test_a_wait_ends_when_the_caller_goes(streams: Streams) -> None:
    caller = Caller(streams.output, streams.messages)
    reader, writer = os.pipe()
    began = time.monotonic()
    threading.Timer(0.2, streams.hang_up).start()
    with pytest.raises(ConnectionLost):
        caller.wait(reader)
    assert time.monotonic() - began < 5
    os.close(reader)
    os.close(writer)


def test_a_wait_gives_what_can_be_read_or_nothing_after_its_time(streams: Streams) -> None:
    caller = Caller(streams.output, streams.messages)
    reader, writer = os.pipe()
    assert caller.wait(reader, seconds=0.05) == frozenset()
    os.write(writer, b"x")
    assert caller.wait(reader) == {reader}
    os.close(reader)
    os.close(writer)


def test_messages_that_nobody_reads_do_not_mean_that_nobody_waits_for_the_answer(streams: Streams) -> None:
    caller = Caller(streams.output, streams.messages)
    streams.end_messages()
    assert not caller.is_gone
    assert caller.wait(seconds=0.05) == frozenset()


def test_the_end_of_an_input_is_one_only_if_the_caller_is_still_there_a_moment_later(streams: Streams) -> None:
    caller = Caller(streams.output, streams.messages)
    caller.check_the_end(0.05)
    threading.Timer(0.1, streams.hang_up).start()
    with pytest.raises(ConnectionLost):
        caller.check_the_end(10)


def test_what_looks_gone_at_the_start_may_be_how_a_service_was_started(streams: Streams) -> None:
    streams.hang_up()
    assert Caller(streams.output, streams.messages).is_gone
    assert not Caller(streams.output, streams.messages, known_at_start=True).is_gone


def test_a_file_as_output_has_nobody_who_could_go(streams: Streams) -> None:
    with open(os.devnull, "wb") as null:
        assert not Caller(null.fileno(), streams.messages).is_gone
        streams.end_messages()
        assert Caller(null.fileno(), streams.messages).is_gone
