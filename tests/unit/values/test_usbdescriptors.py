"""Interfaces from a device's descriptors: all of them, once each, in their order, as udev puts them together."""

from __future__ import annotations

import pytest

from tests.support import seeds
from vminterface.values.usbdescriptors import LIMIT, interfaces

DEVICE = bytes([18, 1]) + bytes(16)
CONFIGURATION = bytes([9, 2]) + bytes(7)
ENDPOINT = bytes([7, 5]) + bytes(5)


def interface(code: str, number: int = 0, alternate: int = 0) -> bytes:
    return bytes([9, 4, number, alternate, 1, *bytes.fromhex(code), 0])


def test_every_alternate_setting_and_configuration_counts_once() -> None:
    descriptors = (
        DEVICE
        + CONFIGURATION
        + interface("080650", 0, 0)
        + ENDPOINT
        + interface("080662", 0, 1)
        + ENDPOINT
        + interface("080650", 1)
        + CONFIGURATION
        + interface("ff0000", 2)
        + ENDPOINT
    )
    assert interfaces(descriptors) == ":080650:080662:ff0000:"


def test_the_order_is_that_of_the_descriptors() -> None:
    codes = ["030102", "030101", *(f"ff00{number:02x}" for number in range(12))]
    descriptors = DEVICE + b"".join(interface(code, number) for number, code in enumerate(codes)) + ENDPOINT
    assert interfaces(descriptors) == f":{':'.join(codes)}:"


def test_an_unconfigured_keyboard_is_a_keyboard_still() -> None:
    """Its folder in sysfs has no interfaces then."""
    assert interfaces(DEVICE + CONFIGURATION + interface("030101") + bytes([9, 33]) + bytes(7) + ENDPOINT) == ":030101:"


def test_more_interfaces_than_udev_has_room_for_are_left_out() -> None:
    descriptors = DEVICE + b"".join(interface(f"{number:06x}") for number in range(100)) + ENDPOINT
    assert interfaces(descriptors).count(":") == 73


@pytest.mark.parametrize(
    ("descriptors", "found"),
    [
        (b"", ""),
        (DEVICE, ""),
        (DEVICE + interface("030101"), ""),
        (interface("030101") + bytes(9), ":030101:"),
        (interface("030101") + bytes(8), ""),
        (DEVICE + bytes([3, 33, 0]) + interface("030101") + ENDPOINT, ":030101:"),
        (DEVICE + bytes([0, 4]) + bytes(20), ""),
        (DEVICE + interface("030101") + bytes([200, 5]) + bytes(8), ":030101:"),
        (DEVICE + interface("030101") + bytes([2, 5]) + bytes(20) + interface("ffffff") + ENDPOINT, ":030101:"),
    ],
)
def test_what_ends_early_or_has_an_impossible_length_ends_the_list(descriptors: bytes, found: str) -> None:
    assert interfaces(descriptors) == found


def test_whatever_a_device_says_gives_codes_or_nothing() -> None:
    rng = seeds.chance("USB descriptors")
    for _ in range(300):
        found = interfaces(DEVICE + rng.randbytes(rng.randrange(400)).replace(b"\x00", b"\x04"))
        assert len(found) < 512
        assert all(len(code) in (0, 6) for code in found.split(":"))
    assert len(interfaces(interface("030101") * (LIMIT // 9))) == 8


def test_the_file_is_read_to_the_end_of_the_largest_configuration() -> None:
    assert len(DEVICE) + 0xFFFF == LIMIT
