"""An entry of ``qubes-usb-devices``: its name, its four-field description, its version."""

import pytest

from vminterface.errors import InvalidValue
from vminterface.values.usbdevice import UsbDevice, escape

KEYS = {"desc": r"046d:c52b Logitech USB\x20Receiver Logitech_USB_Receiver", "usb-ver": "2"}


def test_a_description_of_four_fields_is_taken_apart_and_its_escapes_are_resolved():
    device = UsbDevice.parse("2-1_4", {**KEYS, "interfaces": ":030101:030102:"})
    assert device.ids == "046d:c52b"
    assert device.description == "Logitech USB Receiver Logitech_USB_Receiver"
    assert device.usb_version == 2
    assert device.render() == {**KEYS, "interfaces": ":030101:030102:"}


def test_any_other_description_is_shown_whole():
    device = UsbDevice.parse("1-1", {**KEYS, "desc": "046d:c52b Logitech\x1b[2J"})
    assert device.ids == ""
    assert device.description == "046d:c52b Logitech_[2J"
    assert UsbDevice.parse("1-1", {**KEYS, "desc": "zz:yy a b c"}).ids == ""


def test_an_escape_cannot_smuggle_a_control_character():
    assert UsbDevice.parse("1-1", {**KEYS, "desc": r"046d:c52b a\x1b b\x0a c\xe9"}).description == "a_ b_ c_"


@pytest.mark.parametrize("name", ["1-1", "10-14_4_4_4", "2-1_4"])
def test_a_name_is_the_way_through_the_hubs(name):
    assert UsbDevice.parse(name, KEYS).name == name


@pytest.mark.parametrize(
    "name", ["", "1", "1-", "1-1.4", "1-1_", "usb1", "1-1:1.0", "1-1\n", "1-" + "1" * 50, "\u0661-1"]
)
def test_another_name_is_no_device(name):
    with pytest.raises(InvalidValue, match="is no USB device's name"):
        UsbDevice.parse(name, KEYS)


@pytest.mark.parametrize("missing", ["desc", "usb-ver"])
def test_description_and_version_are_needed(missing):
    with pytest.raises(InvalidValue, match=f"USB device 1-1: no {missing}"):
        UsbDevice.parse("1-1", {key: text for key, text in KEYS.items() if key != missing})


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("usb-ver", "0"),
        ("usb-ver", "4"),
        ("usb-ver", "2.0"),
        ("usb-ver", "2\n"),
        ("desc", ""),
        ("desc", "x" * 256),
        ("desc", "a\nb"),
        ("interfaces", "0301"),
        ("interfaces", ":030101" * 40),
        ("connected-to", "-x"),
        ("connected-to", "no such name"),
    ],
)
def test_a_bad_key_refuses_the_device_in_one_line(key, text):
    with pytest.raises(InvalidValue, match=f"USB device 1-1: (?:the )?{key}") as caught:
        UsbDevice.parse("1-1", {**KEYS, key: text})
    assert str(caught.value).isprintable()


def test_the_vm_that_has_the_device_is_a_name():
    assert UsbDevice.parse("1-1", {**KEYS, "connected-to": "work"}).connected_to == "work"


def test_fields_are_escaped_as_udev_does():
    assert escape("USB Receiver") == r"USB\x20Receiver"
    assert escape("é\\/") == r"\xc3\xa9\x5c\x2f"
    assert escape("A-z_0.9:+@=#") == "A-z_0.9:+@=#"
