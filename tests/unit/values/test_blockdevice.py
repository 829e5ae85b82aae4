"""An entry of ``qubes-block-devices``: taken whole, or refused in one line that names the device."""

import pytest

from vminterface.errors import InvalidValue
from vminterface.values.blockdevice import BlockDevice, clean_desc

KEYS = {"desc": "Ultra_Fit (PHOTOS)", "size": "15376318464", "mode": "w"}


def test_the_three_keys_make_a_device():
    device = BlockDevice.parse("sda1", {**KEYS, "parent": "sda"})
    assert device == BlockDevice("sda1", "Ultra_Fit (PHOTOS)", 15376318464, False, "/dev/sda1", "sda")
    assert device.render() == {**KEYS, "parent": "sda"}
    assert list(device.render()) == ["desc", "size", "mode", "parent"]


def test_r3s_path_and_a_usb_sticks_interface_are_kept():
    device = BlockDevice.parse("dm-0", {**KEYS, "mode": "r", "device": "/dev/mapper/luks", "parent": "2-1:1.0"})
    assert (device.device, device.parent, device.read_only) == ("/dev/mapper/luks", "2-1:1.0", True)
    assert BlockDevice.parse("dm-0", device.render()) == device


@pytest.mark.parametrize("name", ["", "SDA", "sda_1", "sda.1", "../sda", "sda\n", "a" * 13, "sd\u0430"])
def test_another_name_is_no_device(name):
    with pytest.raises(InvalidValue, match="is no block device's name"):
        BlockDevice.parse(name, KEYS)


def test_a_name_has_twelve_characters_at_most():
    assert BlockDevice.parse("mmcblk0boot0", KEYS).device == "/dev/mmcblk0boot0"


@pytest.mark.parametrize("missing", ["desc", "size", "mode"])
def test_each_of_the_three_is_needed(missing):
    with pytest.raises(InvalidValue, match=f"block device sda: no {missing}"):
        BlockDevice.parse("sda", {key: text for key, text in KEYS.items() if key != missing})


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
        ("desc", ""),
        ("desc", "two\nlines"),
        ("desc", "x" * 256),
        ("device", "/dev/SDA"),
        ("device", ""),
        ("device", "/" * 65),
        ("parent", "../sda"),
        ("parent", "a" * 65),
    ],
)
def test_a_bad_key_refuses_the_device_in_one_line(key, text):
    with pytest.raises(InvalidValue, match=f"block device sda: the {key} ") as caught:
        BlockDevice.parse("sda", {**KEYS, key: text})
    assert str(caught.value).isprintable()


def test_a_description_is_shown_with_the_characters_that_r4_lets_through():
    assert BlockDevice.parse("sda", {**KEYS, "desc": "a\x1b[2J;é<b>~\t"}).desc == "a__2J___b___"
    assert BlockDevice.parse("sda", {**KEYS, "desc": "x" * 255}).desc == "x" * 255


def test_a_long_description_is_cut_where_it_is_made():
    assert clean_desc("/mnt/x" * 100) == ("/mnt/x" * 100)[:255]
