"""The memory of a VM in MiB: a number of them, or with a unit."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from vminterface.errors import InvalidValue
from vminterface.values import memorysize
from vminterface.values.memorysize import MemorySize


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1"),
        (400, "400"),
        ("400", "400"),
        ("400MiB", "400"),
        ("4GiB", "4096"),
        ("4 GiB", "4096"),
        ("16TiB", "16777216"),
    ],
)
def test_every_spelling_is_mebibytes(value: int | str, text: str) -> None:
    assert MemorySize.parse(value).render() == text


@pytest.mark.parametrize(
    "value", ["4G", "4GB", "-1", -1, "0400", 400.0, True, None, "", Decimal(400), "17TiB", "lots", "\u0661", [400]]
)
def test_what_is_no_size_is_refused(value: Any) -> None:
    with pytest.raises(InvalidValue, match="not a valid memory size"):
        MemorySize.parse(value, zero=True)


def test_zero_is_for_maxmem_alone() -> None:
    assert MemorySize.parse(0, zero=True).render() == "0"
    with pytest.raises(InvalidValue, match="1 MiB to 16 TiB"):
        MemorySize.parse(0)


def test_sizes_compare_by_what_they_are() -> None:
    assert MemorySize.parse("1GiB") == MemorySize.parse(1024) > MemorySize.parse(1023)


def test_a_number_of_more_digits_than_python_writes_is_refused() -> None:
    with pytest.raises(InvalidValue, match="too many digits"):
        MemorySize.parse(16**5000)


def test_the_message_says_what_is_expected_and_whether_zero_is() -> None:
    for zero, expected in ((True, "as in 4GiB; 0 or 1 MiB to 16 TiB)"), (False, "as in 4GiB; 1 MiB to 16 TiB)")):
        with pytest.raises(InvalidValue) as caught:
            MemorySize.parse("lots", zero=zero)
        assert str(caught.value).endswith(expected)


@pytest.mark.parametrize("zero", [False, True])
def test_the_schema_takes_what_the_parser_takes(zero: bool) -> None:
    valid = Draft202012Validator(memorysize.ZERO_TOO if zero else memorysize.SCHEMA).is_valid
    assert all(map(valid, [1, 400, 16 << 20, "400", "4GiB", "4 GiB", "16TiB", "1MiB"]))
    assert not any(map(valid, [-1, (16 << 20) + 1, "4G", "0400", True, 1.5, "", None]))
    assert valid(0) is valid("0") is zero
