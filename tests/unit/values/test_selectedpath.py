"""The path that a user chose in a VM."""

from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vminterface.errors import InvalidValue
from vminterface.values import selectedpath

paths = st.text(string.ascii_letters + string.digits + "/:,_+=()?-", min_size=1, max_size=512)


@pytest.mark.parametrize("path", ["/home/user/a.txt", "/media/USB disk/backup-2026(1)", "a", "/a/...", "/" + "a" * 511])
def test_a_path_of_allowed_characters_is_taken(path: str) -> None:
    assert selectedpath.parse(f"{path}\n".encode()) == path
    assert selectedpath.parse(path.encode()) == path


@given(paths)
def test_what_was_written_is_read_again(path: Any) -> None:
    assert selectedpath.parse(selectedpath.render(path)) == path


@pytest.mark.parametrize("reply", [b"", b"\n", b"  \n"])
def test_an_empty_answer_is_no_path(reply: bytes) -> None:
    assert selectedpath.parse(reply) is None


@pytest.mark.parametrize(
    "reply",
    [
        b"../a\n",
        b"/a/../b\n",
        b"/a/..\n",
        b"..",
        b"/a\n/b\n",
        b"/a\n\n",
        b"/a;reboot\n",
        b"/a$b\n",
        b"/a`b\n",
        b"/a\x1b[0m\n",
        b"/a\0\n",
        b"/\xc5\xbc\n",
        b"/a'b\n",
        b'/a"b\n',
        b"/a|b\n",
        b"/a&b\n",
        b"/a*\n",
        b"~/a\n",
        b"/a\\b\n",
        b"/a\r\n",
        b"/" + b"a" * 512 + b"\n",
        b"a" * 100_000,
    ],
)
def test_every_other_answer_is_refused(reply: bytes) -> None:
    with pytest.raises(InvalidValue, match="expected"):
        selectedpath.parse(reply)


@pytest.mark.parametrize("path", ["", "/a\nb", "/zażółć", "/a/../b", "x" * 513, "/\udcff", " /a", "/a ", "/a../b"])
def test_a_path_that_dom0_would_refuse_is_not_written(path: str) -> None:
    with pytest.raises(InvalidValue, match="expected"):
        selectedpath.render(path)
