"""The argument of qubes.VMExec stands for exactly one command line."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import seeds
from vminterface.errors import InvalidValue
from vminterface.wire.vmexec import decode, encode

VECTORS = [
    (["ls", "-a", "/home/user"], "ls+--a+-2Fhome-2Fuser"),
    (["echo", "ż ok"], "echo+-C5-BC-20ok"),
    (["ls", ""], "ls+"),
    ([b"a.b_C9"], "a.b_C9"),
    ([b"\xff+"], "-FF-2B"),
]


@pytest.mark.parametrize(("argv", "text"), VECTORS)
def test_a_command_has_one_encoding(argv: list[Any], text: str) -> None:
    assert encode(argv) == text
    assert decode(text) == [part.encode() if isinstance(part, str) else part for part in argv]


def test_an_escaped_dash_is_told_from_the_escape_after_it() -> None:
    assert decode("---61") == [b"-a"]


def test_bytes_of_a_file_name_that_is_no_utf_8_survive() -> None:
    assert encode(["cat", b"\xe9".decode("utf-8", "surrogateescape")]) == "cat+-E9"


@pytest.mark.parametrize(
    "text",
    ["", "+ls", "ls\n", "ls -a", "ls-", "-2", "-2f", "-2G", "a---", "ls+-00", "é", "a/b", "٣", "-٣٣", "\0"],
)
def test_what_is_no_encoded_command_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        decode(text)


@pytest.mark.parametrize("argv", [[], [""], [b"", b"x"], ["a\0b"], ["ls", b"\0"], ["\ud800"], "ls", b"ls"])
def test_a_command_that_cannot_run_is_refused(argv: bytes | list[Any] | str) -> None:
    with pytest.raises(InvalidValue):
        encode(argv)  # type: ignore[arg-type]


@given(st.lists(st.binary(max_size=20).map(lambda b: b.replace(b"\0", b"")), min_size=1).filter(lambda a: a[0]))
def test_every_command_comes_back(argv: Any) -> None:
    text = encode(argv)
    assert text.isascii()
    assert text.replace("+", "").replace("-", "").replace(".", "").replace("_", "").isalnum() or not text.strip("+-._")
    assert decode(text) == argv


@pytest.mark.fuzz
def test_random_text_decodes_or_is_refused() -> None:
    chance = seeds.chance("commands of VMExec")
    runs = seeds.rounds(100_000)
    decoded = 0
    for _ in range(runs):
        text = "".join(chance.choices("aab--+22FFf0._\n\0é ", k=chance.randrange(9)))
        try:
            argv = decode(text)
        except InvalidValue:
            continue
        decoded += 1
        assert decode(encode(argv)) == argv
    assert decoded > runs // 100
