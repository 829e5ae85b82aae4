"""An entry of ``qubes-block-devices``: a device as soon as its name is one, with a value for whatever is wrong."""

from __future__ import annotations

import pytest

from vminterface.errors import InvalidValue
from vminterface.values.blockdevice import KEYS as SUB_KEYS
from vminterface.values.blockdevice import BlockDevice, stored_desc

KEYS = {"desc": "Ultra_Fit (PHOTOS)", "size": "15376318464", "mode": "w"}


def test_the_three_keys_make_a_device() -> None:
    device = BlockDevice.parse("sda1", {**KEYS, "parent": "sda"})
    assert device == BlockDevice("sda1", "Ultra_Fit (PHOTOS)", 15376318464, False, "/dev/sda1", "sda")
    assert device.render() == {**KEYS, "parent": "sda"}
    assert list(device.render()) == ["desc", "size", "mode", "parent"]


def test_r3s_path_and_a_usb_sticks_interface_are_kept() -> None:
    device = BlockDevice.parse("dm-0", {**KEYS, "mode": "r", "device": "/dev/mapper/luks", "parent": "2-1:1.0"})
    assert (device.device, device.parent, device.read_only) == ("/dev/mapper/luks", "2-1:1.0", True)
    assert BlockDevice.parse("dm-0", device.render()) == device


def test_the_sub_keys_that_are_read_are_those_that_a_device_can_have() -> None:
    assert set(BlockDevice("dm-0", "", 0, False, "/dev/mapper/luks").render()) == set(SUB_KEYS)


def test_a_device_is_part_of_nothing_unless_that_is_said() -> None:
    assert BlockDevice("sda", "", 0, False, "/dev/sda").parent == ""


@pytest.mark.parametrize("name", ["", "SDA", "sda_1", "sda.1", "../sda", "sda\n", "a" * 13, "sd\u0430"])
def test_another_name_is_no_device(name: str) -> None:
    with pytest.raises(InvalidValue, match="is not a valid block device name"):
        BlockDevice.parse(name, KEYS)


def test_a_name_has_twelve_characters_at_most() -> None:
    assert BlockDevice.parse("mmcblk0boot0", KEYS).device == "/dev/mmcblk0boot0"


@pytest.mark.parametrize(("missing", "read"), [("size", (0, False)), ("mode", (15376318464, False))])
def test_what_is_missing_is_assumed_as_r4_does(missing: str, read: tuple[int, bool]) -> None:
    device = BlockDevice.parse("sda", {key: text for key, text in KEYS.items() if key != missing})
    assert (device.size, device.read_only) == read
    assert list(device.assumed) == [missing]
    assert device.assumed[missing].startswith(f"no {missing} (expected ")


def test_a_device_of_which_nothing_is_said_is_one_still() -> None:
    device = BlockDevice.parse("sda", {})
    assert (device.desc, device.size, device.read_only, device.parent) == ("", 0, False, "")
    assert device.assumed == {
        "size": "no size (expected 1 to 20 digits; '0' is assumed)",
        "mode": "no mode (expected 'r' or 'w'; 'w' is assumed)",
    }


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("size", ""),
        ("size", "-1"),
        ("size", "1\n"),
        ("size", "9" * 21),
        ("mode", "rw"),
        ("mode", "r\n"),
        ("mode", "W"),
        ("device", "/dev/SDA"),
        ("device", ""),
        ("device", "/" * 65),
    ],
)
def test_a_malformed_key_is_marked_in_one_line_and_the_others_count(key: str, text: str) -> None:
    device = BlockDevice.parse("sda", {**KEYS, "parent": "ata9", key: text})
    assert list(device.assumed) == [key]
    assert device.assumed[key].startswith(f"the {key} '")
    assert device.assumed[key].isprintable()
    assert (device.desc, device.device, device.parent) == ("Ultra_Fit (PHOTOS)", "/dev/sda", "ata9")
    assert device.size == (0 if key == "size" else 15376318464)


@pytest.mark.parametrize(
    ("desc", "shown"),
    [
        ("a\x1b[2J;é<b>~\t", "a__2J__b___"),
        ("two\nlines", "two_lines"),
        ("x" * 255, "x" * 255),
        ("x" * 256, "x" * 255),
        ("", ""),
    ],
)
def test_a_description_is_shown_with_r4s_characters_and_cut(desc: str, shown: str) -> None:
    device = BlockDevice.parse("sda", {**KEYS, "desc": desc})
    assert device.desc == shown
    assert device.assumed == {}


@pytest.mark.parametrize(("parent", "read"), [("ata9", "ata9"), ("../sda", "../sda"), ("a b\x1bé", "a_b_"), ("", "")])
def test_a_parent_is_read_as_r4_reads_it(parent: str, read: str) -> None:
    assert BlockDevice.parse("sda", {**KEYS, "parent": parent}).parent == read


def test_a_description_is_written_in_full_in_printable_ascii() -> None:
    assert stored_desc("/mnt/Łódź\n\x1b" * 50) == "/mnt/Lodz__" * 50
    assert len(stored_desc("x" * 10_000)) == 3071
