"""What is written of a file's content: all of it but the zeros of whole blocks, however it comes in pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vminterface.wire.holes import BLOCK, written


def places(data: bytes, at: int = 0) -> list[tuple[int, int]]:
    return [(place, len(piece)) for place, piece in written(memoryview(data), at)]


@pytest.mark.parametrize(
    ("data", "at", "expected"),
    [
        (b"", 0, []),
        (b"x", 5, [(5, 1)]),
        (bytes(3 * BLOCK), 0, []),
        (bytes(BLOCK) + b"x" + bytes(2 * BLOCK - 1), 0, [(BLOCK, BLOCK)]),
        (b"x" * (BLOCK + 1) + bytes(BLOCK - 1), 0, [(0, 2 * BLOCK)]),
        (bytes(10) + b"x", BLOCK - 10, [(BLOCK, 1)]),
        (b"x" + bytes(3 * BLOCK) + b"y", 7, [(7, BLOCK - 7), (3 * BLOCK, 9)]),
    ],
)
def test_blocks_of_zeros_are_left_out(data: bytes, at: int, expected: list[tuple[int, int]]) -> None:
    assert places(data, at) == expected


def test_a_hole_begins_where_a_file_systems_block_does() -> None:
    assert places(b"x" * 4096 + bytes(4096) + b"x") == [(0, 4096), (8192, 1)]
    assert places(b"x" + bytes(4096), 4095) == [(4095, 1)]


@given(
    st.lists(st.tuples(st.sampled_from([0, 1]), st.integers(1, 2 * BLOCK)), max_size=6),
    st.lists(st.integers(1, 3 * BLOCK), min_size=1, max_size=6),
)
def test_in_whatever_pieces_it_comes_the_content_is_the_same(runs: list[tuple[int, int]], sizes: list[int]) -> None:
    content = b"".join(bytes([byte]) * size for byte, size in runs)
    file, at, blocks = bytearray(len(content)), 0, set()
    while at < len(content):
        size = sizes[at % len(sizes)]
        for place, piece in written(memoryview(content[at : at + size]), at):
            file[place : place + len(piece)] = piece
            blocks |= set(range(place // BLOCK, (place + len(piece) - 1) // BLOCK + 1))
        at += size
    assert bytes(file) == content
    assert blocks == {block for block in range(len(content) // BLOCK + 1) if any(content[block * BLOCK :][:BLOCK])}
