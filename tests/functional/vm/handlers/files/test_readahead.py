"""Reading a stream ahead: the bytes and their checksum come in order, bounded, and the reading ends when it is left."""

from __future__ import annotations

import os
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vminterface.vm.handlers.files import readahead
from vminterface.vm.handlers.files.readahead import BLOCK, BLOCKS, Block, ReadAhead


@pytest.fixture
def pipe() -> Iterator[list[int]]:
    """Both ends of a pipe, closed at the end where the test has not done it."""
    ends = list(os.pipe())
    yield ends
    for fd in ends:
        os.close(fd)


def fed(pipe: list[int], data: bytes) -> None:
    """Write *data* into *pipe* in another thread, and close it."""

    def write() -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(pipe[1], rest) :]
        os.close(pipe.pop())

    threading.Thread(target=write).start()


def reading() -> list[Any]:
    return [thread for thread in threading.enumerate() if thread.name == "read ahead"]


@pytest.mark.parametrize("size", [0, 1, BLOCK, 7 * BLOCK + 12345])
def test_what_comes_is_read_in_order_with_its_checksum_so_far_until_an_empty_block(pipe: list[int], size: int) -> None:
    sent = os.urandom(size)
    fed(pipe, sent)
    got = b""
    with ReadAhead(pipe[0], 10) as stream:
        for block in stream:
            got += block.data
            assert block.crc == zlib.crc32(got)
    assert got == sent
    assert not block.data
    assert not reading()


def test_a_block_stays_as_it_is_until_the_next_one_is_taken(pipe: list[int]) -> None:
    sent = os.urandom(12 * BLOCK)
    fed(pipe, sent)
    at = 0
    with ReadAhead(pipe[0], 10) as stream:
        for block in stream:
            time.sleep(0.02)
            assert block.data == sent[at : at + len(block.data)]
            at += len(block.data)
    assert at == len(sent)


def test_no_more_is_read_ahead_than_the_blocks_take(pipe: list[int]) -> None:
    os.set_blocking(pipe[1], False)
    block, written = bytes(1 << 16), 0
    with ReadAhead(pipe[0], 10) as stream:
        assert next_of(stream, pipe, block).data
        deadline = time.monotonic() + 0.5
        while time.monotonic() < deadline:
            try:
                written += os.write(pipe[1], block)
            except BlockingIOError:
                time.sleep(0.01)
    # The pipe itself holds as much as a block does.
    assert written <= (BLOCKS + 1) * BLOCK


def next_of(stream: ReadAhead, pipe: list[int], block: bytes) -> Block:
    os.write(pipe[1], block)
    return next(iter(stream))


def test_a_sender_that_says_nothing_is_given_up(pipe: list[int]) -> None:
    with ReadAhead(pipe[0], 0.1) as stream, pytest.raises(TimeoutError, match=r"nothing came for 0\.1 s"):
        next(iter(stream))
    assert not reading()


def test_leaving_ends_the_wait_for_a_silent_sender_at_once_and_leaves_the_stream_open(pipe: list[int]) -> None:
    began = time.monotonic()
    with ReadAhead(pipe[0], 600):
        time.sleep(0.05)
    assert time.monotonic() - began < 5
    assert not reading()
    os.write(pipe[1], b"still open")
    assert os.read(pipe[0], 100) == b"still open"


def test_a_fault_of_the_system_is_told_to_who_takes_the_blocks(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        with ReadAhead(folder, 1) as stream, pytest.raises(IsADirectoryError):
            next(iter(stream))
    finally:
        os.close(folder)


def test_a_fault_of_this_program_is_told_too(pipe: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(data: Any, crc: Any) -> None:
        raise ValueError("no checksum today")

    monkeypatch.setattr(readahead, "crc32", refuse)
    os.write(pipe[1], b"x")
    with ReadAhead(pipe[0], 10) as stream, pytest.raises(ValueError, match="no checksum today"):
        next(iter(stream))
