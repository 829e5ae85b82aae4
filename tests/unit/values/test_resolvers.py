"""A VM's resolvers, where they are more than the two that have keys of their own."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from vminterface.errors import InvalidValue
from vminterface.values.resolvers import LIMIT, SCHEMA, Resolvers

THREE = "10.139.1.1 10.139.1.2 fd09:24ef:4179::53"
V4 = st.integers(0x0A000001, 0x0AFFFFFE).map(IPv4Address)
V6 = st.integers(0xFD << 120, (0xFE << 120) - 1).map(IPv6Address)


def test_addresses_of_both_families_keep_their_order() -> None:
    assert Resolvers.parse(THREE).members == (
        IPv4Address("10.139.1.1"),
        IPv4Address("10.139.1.2"),
        IPv6Address("fd09:24ef:4179::53"),
    )


@given(st.lists(V4 | V6, min_size=1, max_size=LIMIT))
def test_they_come_back_from_their_text(members: Any) -> None:
    assert Resolvers.parse(" ".join(map(str, members))).members == tuple(members)
    assert str(Resolvers(tuple(members))) == " ".join(map(str, members))


@pytest.mark.parametrize(
    "text", ["", " ", "10.139.1.1  10.139.1.2", "10.139.1.1,10.139.1.2", "10.139.1.1\n", "127.0.0.1", "x", "::1"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="expected"):
        Resolvers.parse(text)


def test_there_is_a_limit() -> None:
    assert len(Resolvers.parse(" ".join(["10.0.0.1"] * 16)).members) == LIMIT == 16
    with pytest.raises(InvalidValue, match=r"17 resolvers \(expected 1 to 16\)"):
        Resolvers.parse(" ".join(["10.0.0.1"] * 17))
    with pytest.raises(InvalidValue, match="0 resolvers"):
        Resolvers.of([])
    assert Resolvers.of(["10.0.0.1"]).members == (IPv4Address("10.0.0.1"),)


def test_the_schema_takes_a_list_of_addresses_of_either_family() -> None:
    valid = Draft202012Validator(SCHEMA).is_valid
    assert all(map(valid, [[], THREE.split(" "), ["10.0.0.1"] * 16]))
    assert not any(map(valid, [["10.0.0.1"] * 17, THREE, ["127.0.0.1"], ["x"], [5]]))
