"""The header before a file that is to be opened in another VM."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vminterface.errors import LocalProtocolError, RemoteProtocolError
from vminterface.wire import openinvm
from vminterface.wire.openinvm import Header


def test_a_name_is_padded_to_256_bytes() -> None:
    assert openinvm.header(b"a.txt") == b"a.txt" + bytes(251)
    assert Header.parse(b"a.txt" + bytes(251)) == Header("a.txt", view_only=False)


def test_only_the_base_name_is_sent() -> None:
    assert openinvm.header(b"/home/user/Documents/a.txt") == openinvm.header(b"a.txt")


def test_view_only_is_a_prefix_that_the_receiver_takes_off() -> None:
    sent = openinvm.header(b"a.txt", view_only=True)
    assert sent == b"view-only-a.txt" + bytes(241)
    assert Header.parse(sent) == Header("a.txt", view_only=True)


def test_of_a_long_name_the_end_is_sent() -> None:
    name = bytes(range(0x41, 0x5B)) * 10 + b".txt"
    assert openinvm.header(name) == name[-255:] + b"\0"
    assert openinvm.header(name, view_only=True) == b"view-only-" + name[-245:] + b"\0"


def test_unusual_characters_become_underscores_one_for_each_byte() -> None:
    assert Header.parse(openinvm.header("zażółć (1).txt".encode())).name == "za________ _1_.txt".replace(" ", "_")
    assert Header.parse(openinvm.header(b"A-z_0.9+@")).name == "A-z_0.9+@"


@pytest.mark.parametrize(
    "name",
    [
        b"", b"a/b", b"/etc/passwd", b".", b"..", b"a\nb", b"a\x1bb", b"a\x7f", b"view-only-",
        b"view-only-.", b"view-only-..", b"view-only-a/b", b"a" * 256, b"a\0b", b"a\0" + b"X" * 254,
    ],
)  # fmt: skip
def test_a_name_that_could_do_harm_is_refused(name: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        Header.parse(name.ljust(256, b"\0"))


@pytest.mark.parametrize("name", [".gitignore", ".bashrc", "-x.txt", "--help", "...", "..x", "view-only"])
def test_a_name_may_begin_with_a_dot_or_a_dash(name: str) -> None:
    assert Header.parse(openinvm.header(name.encode())) == Header(name, view_only=False)
    assert Header.parse(openinvm.header(name.encode(), view_only=True)) == Header(name, view_only=True)


@pytest.mark.parametrize("size", [0, 1, 255, 257, 100_000])
def test_a_header_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(RemoteProtocolError):
        Header.parse(b"a".ljust(size, b"\0")[:size])


@pytest.mark.parametrize("path", [b"", b"/", b"a/", b".", b"..", b"a/..", b"a\0b"])
def test_what_names_no_file_cannot_be_sent(path: bytes) -> None:
    with pytest.raises(LocalProtocolError):
        openinvm.header(path)


@given(st.binary(min_size=1, max_size=400), st.booleans())
def test_what_is_sent_has_256_bytes_and_is_read_or_refused(path: Any, view_only: Any) -> None:
    try:
        sent = openinvm.header(path, view_only=view_only)
    except LocalProtocolError:
        return
    assert len(sent) == 256
    try:
        found = Header.parse(sent)
    except RemoteProtocolError:
        return
    assert found.name
    assert found.name.isascii()
    assert not set(found.name) & set("/\0\n ")
