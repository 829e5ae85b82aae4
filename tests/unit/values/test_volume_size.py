"""Sizes of volumes: bytes, or binary units with their whole names."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from vminterface.errors import InvalidValue
from vminterface.values.volume import parse_size


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (21474836480, 20 << 30),
        ("21474836480", 20 << 30),
        ("20GiB", 20 << 30),
        ("20 GiB", 20 << 30),
        ("1MiB", 1 << 20),
        ("2048KiB", 2 << 20),
        ("3TiB", 3 << 40),
        ((1 << 20), 1 << 20),
        ("8388607TiB", 8388607 << 40),
    ],
)
def test_bytes_and_binary_units_are_sizes(value: int | str, size: int) -> None:
    assert parse_size(value) == size


@pytest.mark.parametrize(
    "value",
    [
        "20G",
        "20GB",
        "20gib",
        "",
        "GiB",
        "-1GiB",
        "1.5GiB",
        "010GiB",
        "1GiB\n",
        "8388608TiB",
        "1023KiB",
        (1 << 20) - 1,
        0,
        1000,
        -1,
        True,
        2.0,
        Decimal(1 << 30),
        None,
        [1],
    ],
)
def test_what_could_be_meant_otherwise_is_refused(value: Any) -> None:
    with pytest.raises(InvalidValue, match="is not a volume's size"):
        parse_size(value)


def test_a_number_of_more_digits_than_python_writes_is_refused() -> None:
    with pytest.raises(InvalidValue, match="too many digits"):
        parse_size(16**5000)
