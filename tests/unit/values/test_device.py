"""PCI addresses."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vminterface.errors import InvalidValue
from vminterface.values.device import PciAddress

addresses = st.builds(PciAddress, st.integers(0, 255), st.integers(0, 31), st.integers(0, 7), st.integers(0, 65535))


def test_the_short_form_has_no_domain() -> None:
    assert PciAddress.parse("00:06.0") == PciAddress(0, 6, 0)
    assert PciAddress.parse("0000:00:06.0") == PciAddress(0, 6, 0)
    assert PciAddress.parse("0001:ff:1f.7") == PciAddress(255, 31, 7, domain=1)
    assert PciAddress(0, 6, 0).render() == "00:06.0"
    assert PciAddress(0, 6, 0, 1).render() == "0001:00:06.0"


def test_the_name_below_sys_always_has_the_domain() -> None:
    assert PciAddress.parse("00:06.0").sysfs_name == "0000:00:06.0"


@given(addresses)
def test_what_was_written_is_read_again(address: Any) -> None:
    assert PciAddress.parse(address.render()) == address
    assert PciAddress.parse(address.sysfs_name) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00:06",
        "00:06.8",
        "00:20.0",
        "0:6.0",
        "00:06.0\n",
        " 00:06.0",
        "00:06.0 ",
        "000:00:06.0",
        "00:06:0",
        "00_06.0",
        "0A:06.0",
        "zz:06.0",
        "../../x",
        "00:06.0/../..",
        "0000:0000:00:06.0",
        "00:06.00",
        "\u06600:06.0",
        "00:06.-1",
    ],
)
def test_every_other_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="is not a valid PCI address"):
        PciAddress.parse(text)


@pytest.mark.parametrize("numbers", [(256, 0, 0, 0), (0, 32, 0, 0), (0, 0, 8, 0), (0, 0, 0, 65536), (-1, 0, 0, 0)])
def test_numbers_beyond_the_bus_are_refused(numbers: tuple[int, int, int, int]) -> None:
    with pytest.raises(InvalidValue, match="is not from 0 to") as refused:
        PciAddress(*numbers)
    name = refused.value.where
    assert str(getattr(PciAddress(0, 0, 0), name)) == "0"
    assert str(refused.value).startswith(
        f"{dict(zip(('bus', 'device', 'function', 'domain'), numbers, strict=True))[name]} "
    )
