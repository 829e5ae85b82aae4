"""Addresses of qubes.OpenURL: one line of three kinds, and nothing that another program could read otherwise."""

from __future__ import annotations

import pytest

from vminterface.errors import InvalidValue
from vminterface.values import webaddress

GOOD = [
    "http://www.example.org",
    "https://www.example.org/a?b=c&d=%20#e",
    "ftp://user@ftp.example.org:2121/x",
    "https://[2001:db8::1]/",
    "https://żółw.example.org/ż",
    "https://" + "a" * (webaddress.LIMIT - 9),
]


@pytest.mark.parametrize("address", GOOD)
def test_an_address_goes_there_and_back(address: str) -> None:
    assert webaddress.render(address) == f"{address}\n".encode()
    assert webaddress.parse(webaddress.render(address)) == address
    assert webaddress.parse(address.encode()) == address


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"www.example.org\n",
        b"HTTP://www.example.org\n",
        b"file:///etc/passwd\n",
        b"javascript:alert(1)\n",
        b"--help\n",
        b" http://www.example.org\n",
        b"http://\n",
        b"http:///x\n",
        b"https://?x\n",
        b"http://www.example.org/a b\n",
        b"http://www.example.org\r\n",
        b"http://www.example.org\n\n",
        b"http://www.example.org/\x1b[0m\n",
        b"http://www.example.org/\xff\n",
        b"http://www.example.org/\0\n",
        "http://www.example.org/\N{RIGHT-TO-LEFT OVERRIDE}x\n".encode(),
        "http://www.example.org/\N{NO-BREAK SPACE}x\n".encode(),
        b"https://" + b"a" * webaddress.LIMIT + b"\n",
    ],
)
def test_any_other_line_is_refused(line: bytes) -> None:
    with pytest.raises(InvalidValue) as caught:
        webaddress.parse(line)
    assert str(caught.value).isascii()
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"gopher://example.org", r"'gopher://example\.org' is not .*one of http://, https://, ftp:// first"),
        (b"http://#x", "'http://#x' is not a valid address: it has no host"),
        (b"http://a b", "'http://a b' is not a valid address: it has blanks or control characters"),
        (b"https://" + b"a" * 65536, r"too long an address \(expected at most 65535 bytes\)"),
    ],
)
def test_an_error_says_which_address_and_what_is_wrong(line: bytes, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        webaddress.parse(line)


def test_an_address_with_its_lines_end_has_up_to_64_kib() -> None:
    line = b"https://" + b"a" * (65536 - 9) + b"\n"
    assert len(webaddress.parse(line)) == 65535
    with pytest.raises(InvalidValue, match="too long"):
        webaddress.parse(line[:-1] + b"a\n")


def test_what_is_not_text_is_not_sent() -> None:
    with pytest.raises(InvalidValue, match="UTF-8"):
        webaddress.render("http://www.example.org/\udcff")
