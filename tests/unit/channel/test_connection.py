"""How much a connection asks for at once follows what comes."""

from __future__ import annotations

from vminterface.channel.connection import Piece


def test_few_bytes_are_asked_for_until_that_many_have_come() -> None:
    piece = Piece()
    assert piece.size == 4096
    assert piece.of(b"x" * 100) == b"x" * 100
    assert piece.size == 4096
    piece.of(bytes(4096))
    assert piece.size == 65536


def test_many_are_asked_for_as_long_as_more_than_few_come() -> None:
    piece = Piece()
    piece.of(bytes(4096))
    piece.of(bytes(65536))
    assert piece.size == 65536
    piece.of(bytes(5000))
    assert piece.size == 65536
    piece.of(bytes(4095))
    assert piece.size == 4096


def test_the_end_of_a_stream_is_handed_on() -> None:
    assert Piece().of(b"") == b""
