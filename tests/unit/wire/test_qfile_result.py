"""The result of a file copy: its bytes, what they mean, and what is no result."""

from __future__ import annotations

import errno
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import seeds
from vminterface.errors import RemoteProtocolError
from vminterface.wire.qfile_result import (
    LEGAL_EOF,
    NAME_MAX_BYTES,
    RESULT_MAX_BYTES,
    Refused,
    Result,
    as_errno,
    check_result,
)

GOOD = bytes.fromhex("0000000000000000f12d80b200000000 05000000612e747874")
EXISTS = bytes.fromhex("1100000000000000b81d60a000000000 05000000612e747874")


@pytest.mark.parametrize(
    ("data", "result", "status"),
    [
        (GOOD, Result(0, 0xB2802DF1, b"a.txt"), 0),
        (EXISTS, Result(17, 0xA0601DB8, b"a.txt"), 17),
        (bytes.fromhex("0000000000000000ad550a190000000000000000"), Result(0, 0x190A55AD, b""), 0),
        (bytes.fromhex("765edf0100000000 0000000000000000"), Result(LEGAL_EOF, 0), 118),
        (bytes.fromhex("acffffff00000000 0000000000000000"), Result(0xFFFFFFAC, 0), 172),
    ],
)
def test_results_have_exact_bytes_and_exit_statuses(data: bytes, result: Result, status: int) -> None:
    assert Result.parse(data) == result
    assert result.render() == data
    assert result.exit_status == status


@pytest.mark.parametrize("length", [*range(16), 17, 18, 19, 20, 24])
def test_a_result_cut_short_is_no_result(length: int) -> None:
    with pytest.raises(RemoteProtocolError):
        Result.parse(GOOD[:length])


@pytest.mark.parametrize("tail", [b"x", b"\0" * 100])
def test_bytes_after_the_name_are_refused(tail: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        Result.parse(GOOD + tail)


def test_a_name_longer_than_the_format_has_is_refused() -> None:
    with pytest.raises(RemoteProtocolError):
        Result.parse(Result(17, 0, b"x" * 16384).render())
    assert len(Result(17, 0, b"x" * 16383).render()) == RESULT_MAX_BYTES


def test_an_error_of_the_receiver_is_one_printable_sentence() -> None:
    with pytest.raises(Refused) as caught:
        check_result(Result(errno.EEXIST, 1, b"a\x1b[31m.txt"), 1)
    assert str(caught.value) == "'a\\x1b[31m.txt': a file of that name is already there (EEXIST)"
    assert (caught.value.code, caught.value.name) == (errno.EEXIST, b"a\x1b[31m.txt")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0xFFFFFFAC, "(EILSEQ)"),
        (LEGAL_EOF, "(LEGAL_EOF)"),
        (errno.ENOSPC, "no space left on device (ENOSPC)"),
        (99999, "(code 99999)"),
    ],
)
def test_every_code_is_explained(code: int, words: str) -> None:
    with pytest.raises(Refused) as caught:
        check_result(Result(code, 0), 0)
    assert words in str(caught.value)


def test_a_wrong_checksum_is_an_error_and_a_right_one_is_not() -> None:
    check_result(Result(0, 5, b"x"), 5)
    with pytest.raises(RemoteProtocolError, match="damaged"):
        check_result(Result(0, 6, b"x"), 5)


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1), st.none() | st.binary(max_size=300))
def test_every_result_comes_back(code: Any, crc: Any, name: Any) -> None:
    assert Result.parse(Result(code, crc, name).render()) == Result(code, crc, name)


@pytest.mark.fuzz
def test_random_answers_are_results_or_refused() -> None:
    chance = seeds.chance("results of file copies")
    runs = seeds.rounds(100_000)
    accepted = 0
    for _ in range(runs):
        data = bytearray(chance.choice((GOOD, EXISTS)))
        for _ in range(chance.randrange(3)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        del data[chance.randrange(len(data) * 2) :]
        try:
            accepted += Result.parse(bytes(data)).code >= 0
        except RemoteProtocolError:
            continue
    assert accepted > runs // 100


def test_the_longest_name_is_taken() -> None:
    result = Result(0, 1, b"x" * NAME_MAX_BYTES)
    assert Result.parse(result.render()) == result
    with pytest.raises(RemoteProtocolError, match="announces a name of"):
        Result.parse(Result(0, 1, b"x" * (NAME_MAX_BYTES + 1)).render())


def test_the_last_4096_codes_are_negated() -> None:
    assert (as_errno(0xFFFFF000), as_errno(0xFFFFFFFF), as_errno(0xFFFFEFFF)) == (4096, 1, 0xFFFFEFFF)


def test_a_refusal_without_a_name_says_why_at_once() -> None:
    assert str(Refused(errno.EEXIST, None)) == "a file of that name is already there (EEXIST)"
