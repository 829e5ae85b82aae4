"""An entry of ``qubes-usb-devices``: its name, its description of four fields or two, whatever else is wrong."""

from __future__ import annotations

import pytest

from vminterface.errors import InvalidValue
from vminterface.values.usbdevice import KEYS as SUB_KEYS
from vminterface.values.usbdevice import UsbDevice, escape, resolve

KEYS = {"desc": r"046d:c52b Logitech USB\x20Receiver Logitech_USB_Receiver", "usb-ver": "2"}


def test_a_description_of_four_fields_is_taken_apart_and_its_escapes_are_resolved() -> None:
    device = UsbDevice.parse("2-1_4", {**KEYS, "interfaces": ":030101:030102:"})
    assert device.ids == "046d:c52b"
    assert device.description == "Logitech USB Receiver Logitech_USB_Receiver"
    assert device.usb_version == 2
    assert device.render() == {**KEYS, "interfaces": ":030101:030102:"}


def test_a_name_has_up_to_40_characters_and_a_dot_for_each_underscore_in_r4() -> None:
    name = "10-1" + "_1" * 18
    assert UsbDevice.parse(name, KEYS).port_id == name.replace("_", ".") == "10-1" + ".1" * 18
    with pytest.raises(InvalidValue, match="USB device name"):
        UsbDevice.parse(name + "1", KEYS)


@pytest.mark.parametrize(("serial", "read"), [("4C53", "4C53"), ("unknown", ""), (r"S\x20N", "S N")])
def test_a_serial_that_is_not_known_is_none(serial: str, read: str) -> None:
    assert UsbDevice.parse("1-1", {"desc": f"0781:5567 SanDisk Cruzer {serial}"}).identity == ("0781", "5567", read)


def test_missing_digits_of_an_interface_are_stars_behind_it() -> None:
    assert UsbDevice.parse("1-1", {**KEYS, "interfaces": ":03:0806:"}).interface_codes == ["03****", "0806**"]


def test_an_entry_without_keys_is_a_device_of_which_nothing_is_known() -> None:
    device = UsbDevice.parse("1-1", {})
    assert device.assumed == {"usb-ver": "no usb-ver (expected a number such as 2 or 3)"}
    assert device.render() == {"desc": "", "usb-ver": "", "interfaces": ""}
    assert UsbDevice.parse("1-1", {"usb-ver": "x"}).assumed["usb-ver"].startswith("the usb-ver 'x' (expected ")
    assert UsbDevice("1-1", "", None) == UsbDevice("1-1", "", None, "", "")


def test_a_description_of_two_fields_is_that_of_r2_to_r4_2() -> None:
    device = UsbDevice.parse("1-1", {**KEYS, "desc": "046D:c52b Logitech_USB_Receiver"})
    assert (device.ids, device.description) == ("046d:c52b", "Logitech_USB_Receiver")


def test_a_serial_may_be_empty() -> None:
    device = UsbDevice.parse("1-1", {**KEYS, "desc": r"5986:2113 SunplusIT\x20Inc Integrated\x20Camera "})
    assert (device.ids, device.description) == ("5986:2113", "SunplusIT Inc Integrated Camera")
    assert device.identity == ("5986", "2113", "")


def test_any_other_description_is_shown_whole() -> None:
    device = UsbDevice.parse("1-1", {**KEYS, "desc": "046d:c52b Logitech USB\x1b[2J"})
    assert device.ids == ""
    assert device.description == "046d:c52b Logitech USB_[2J"
    assert device.identity == ("0000", "0000", "")
    assert UsbDevice.parse("1-1", {**KEYS, "desc": "zz:yy a b c"}).ids == ""


@pytest.mark.parametrize(
    ("desc", "shown"), [("x" * 256, "x" * 255), ("a\nb", "a_b"), ("", ""), ("a\xe9b", "a_b"), (r"a\x4", "a")]
)
def test_a_description_is_shown_in_printable_ascii_and_cut(desc: str, shown: str) -> None:
    device = UsbDevice.parse("1-1", {**KEYS, "desc": desc})
    assert device.description == shown
    assert device.assumed == {}


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (r"USB\x202.0", "USB 2.0"),
        (r"a\x5cb", "a\\b"),
        (r"\xzz", "_"),
        (r"\q", "q"),
        ("~ \x7f", "~ _"),
        ("\\", ""),
        (r"\x", ""),
        (r"\x 1", "_"),
    ],
)
def test_escapes_are_resolved_as_r4_does(text: str, read: str) -> None:
    assert resolve(text) == read


def test_an_escape_cannot_smuggle_a_control_character() -> None:
    assert UsbDevice.parse("1-1", {**KEYS, "desc": r"046d:c52b a\x1b b\x0a c\xe9"}).description == "a_ b_ c_"


@pytest.mark.parametrize("name", ["1-1", "10-14_4_4_4", "2-1_4"])
def test_a_name_is_the_way_through_the_hubs(name: str) -> None:
    assert UsbDevice.parse(name, KEYS).name == name


@pytest.mark.parametrize(
    "name", ["", "1", "1-", "1-1.4", "1-1_", "usb1", "1-1:1.0", "1-1\n", "1-" + "1" * 50, "\u0661-1"]
)
def test_another_name_is_no_device(name: str) -> None:
    with pytest.raises(InvalidValue, match="is not a valid USB device name"):
        UsbDevice.parse(name, KEYS)


@pytest.mark.parametrize(
    ("keys", "assumed"),
    [
        ({}, "usb-ver"),
        ({"usb-ver": ""}, "usb-ver"),
        ({"usb-ver": "2.0"}, "usb-ver"),
        ({"usb-ver": "2\n"}, "usb-ver"),
        ({"usb-ver": "2", "interfaces": ":03x1"}, "interfaces"),
        ({"usb-ver": "2", "connected-to": "-x"}, "connected-to"),
        ({"usb-ver": "2", "connected-to": "no such name"}, "connected-to"),
    ],
)
def test_what_is_missing_or_malformed_is_marked_in_one_line(keys: dict[str, str], assumed: str) -> None:
    device = UsbDevice.parse("1-1", keys)
    assert list(device.assumed) == [assumed]
    assert device.assumed[assumed].isprintable()
    assert device.usb_version == (None if assumed == "usb-ver" else 2)
    assert (device.interfaces, device.connected_to) == ("", "")


@pytest.mark.parametrize("version", [0, 3, 4])
def test_a_version_may_be_one_that_is_yet_to_come(version: int) -> None:
    device = UsbDevice.parse("1-1", {**KEYS, "usb-ver": str(version)})
    assert (device.usb_version, device.assumed) == (version, {})


def test_interfaces_may_be_many() -> None:
    codes = [f"{number:06x}" for number in range(72)]
    device = UsbDevice.parse("1-1", {**KEYS, "interfaces": f":{':'.join(codes)}:"})
    assert (device.interface_codes, device.assumed) == (codes, {})


def test_the_vm_that_has_the_device_is_a_name() -> None:
    assert UsbDevice.parse("1-1", {**KEYS, "connected-to": "work"}).connected_to == "work"


def test_fields_are_escaped_as_udev_does() -> None:
    assert escape("USB Receiver") == r"USB\x20Receiver"
    assert escape("é\\/") == r"\xc3\xa9\x5c\x2f"
    assert escape("\udcff") == r"\xff"
    assert escape("A-z_0.9:+@=#") == "A-z_0.9:+@=#"


def test_the_sub_keys_that_are_read_are_the_vms_own_and_the_proxys() -> None:
    assert set(SUB_KEYS) == {*UsbDevice.parse("1-1", KEYS).render(), "connected-to"}
