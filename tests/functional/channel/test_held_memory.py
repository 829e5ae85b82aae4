"""Whoever waits for qubesd has little memory set aside meanwhile: what is given back later leaves a hole behind."""

from __future__ import annotations

import socket
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vminterface.channel.adminapi import Line
from vminterface.channel.adminevents import EventStream
from vminterface.deadline import Deadline
from vminterface.errors import DeadlineExceeded

#: Bytes that a wait may have, with the error that ends it; and seconds of it.
MOST, SECONDS = 16_384, 0.1
ESTABLISHED = b"1\0\0connection-established\0\0"


@pytest.fixture
def silent(tmp_path: Path) -> Iterator[Path]:
    """The socket of a qubesd that says that it sends events, and then nothing more."""
    path, over = tmp_path / "qubesd.sock", threading.Event()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            with listener.accept()[0] as connection:
                connection.sendall(ESTABLISHED)
                over.wait(30)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield path
        over.set()
        thread.join(30)


def most_of(wait: Callable[[], object]) -> int:
    """Return the most bytes that are set aside at a time while *wait* passes its deadline."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        with pytest.raises(DeadlineExceeded):
            wait()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def test_a_stream_of_events_without_any(silent: Path) -> None:
    with EventStream(str(silent), b"admin.Events+ dom0 name dom0\0", Deadline.after(5)) as stream:
        assert most_of(lambda: stream.next(Deadline.after(SECONDS))) < MOST


def test_a_call_without_a_reply(silent: Path) -> None:
    line = Line(str(silent), SECONDS)
    assert most_of(lambda: line.call("work", "admin.vm.feature.Get", "gui", b"")) < MOST
