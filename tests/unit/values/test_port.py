"""Ports: a number in one spelling."""

import pytest

from vminterface.errors import InvalidValue
from vminterface.values.port import parse_port


@pytest.mark.parametrize(("text", "port"), [("1", 1), ("80", 80), ("8082", 8082), ("65535", 65535)])
def test_a_port_is_read(text: str, port: int) -> None:
    assert parse_port(text) == port


@pytest.mark.parametrize("text", ["", "0", "080", "65536", "100000", "-1", "+1", " 1", "1\n", "1.0", "\u0661", "http"])
def test_what_is_no_port_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="is not a valid port"):
        parse_port(text)
