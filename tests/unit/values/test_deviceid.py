"""What R4.3 calls a device apart from its port; the ids here are those of its own programs for the same entries."""

from __future__ import annotations

import pytest

from vminterface.values.blockdevice import BlockDevice
from vminterface.values.deviceid import of_block, of_usb
from vminterface.values.usbdevice import UsbDevice

STICK = UsbDevice.parse(
    "2-1_4", {"desc": r"0781:5567 SanDisk Cruzer\x20Blade 4C53", "usb-ver": "2", "interfaces": ":080650:"}
)
STICK_ID = "0781:5567:4C53:u080650"
#: What qubesd calls a parent that it does not know.
UNKNOWN = "0000:0000::?******"


@pytest.mark.parametrize(
    ("desc", "interfaces", "name"),
    [
        (r"0781:5567 SanDisk Cruzer\x20Blade 4C53", ":080650:", STICK_ID),
        ("1050:0407 Yubico Yubi ", ":030101:030000:0b0000:", "1050:0407::u030101u030000u0b0000"),
        ("1a86:7523 1a86 7523 ", "", "1a86:7523::?******"),
        ("1a86:7523 1a86 7523 ", ":", "1a86:7523::"),
        (r"1a86:7523 a b S\x20N", ":03:", "1a86:7523:S N:u03****"),
        ("046d:c52b Logitech_Receiver", ":030101:", "0000:0000::u030101"),
        ("", ":030101:", "0000:0000::u030101"),
        ("zz:yy a b c", ":030101:", "zz:yy:c:u030101"),
        ("1a86:7523 a b unknown", ":030101:", "1a86:7523::u030101"),
        ("1a86:7523 a b é", ":030101:", "1a86:7523:_:u030101"),
    ],
)
def test_a_usb_device_is_its_numbers_its_serial_and_its_interfaces(desc: str, interfaces: str, name: str) -> None:
    assert of_usb(UsbDevice.parse("2-1", {"desc": desc, "interfaces": interfaces})) == name


def test_interfaces_that_qubesd_fails_on_make_no_id() -> None:
    broken = UsbDevice.parse("2-1", {"desc": "1a86:7523 a b c", "interfaces": ":0x:"})
    assert of_usb(broken) is None
    assert of_block(block("sda", "2-1:1.0"), {}, {"2-1": broken}) is None


def block(name: str, parent: str) -> BlockDevice:
    return BlockDevice(name, "", 0, False, f"/dev/{name}", parent)


@pytest.mark.parametrize(
    ("name", "parent", "called"),
    [
        ("sda", "2-1.4:1.0", f"{STICK_ID}:1.0"),
        ("sda1", "sda", f"{STICK_ID}:1.0:1"),
        ("nvme0n1p03", "nvme0n1", ":1:3"),
        ("sdb", "ata9", f"{UNKNOWN}:None"),
        ("sdb", "2-9:1.0", f"{UNKNOWN}:1.0"),
        ("sdb3", "2-9:", f"{UNKNOWN}:3"),
        ("sdc", "0000:00:1f.2", f"{UNKNOWN}:00:1f.2"),
        ("dm-0", "", ":0"),
        ("vda", "", ":None"),
        ("vda", ":1.0", ":None"),
    ],
)
def test_a_block_device_is_its_parent_and_a_number(name: str, parent: str, called: str) -> None:
    others = {device.name: device for device in (block("sda", "2-1.4:1.0"), block("nvme0n1", ""))}
    assert of_block(block(name, parent), others, {"2-1_4": STICK}) == called


def test_up_to_sixteen_devices_lie_one_in_another() -> None:
    chain = {f"d-{number}": block(f"d-{number}", f"d-{number - 1}" if number else "") for number in range(17)}
    assert of_block(chain["d-15"], chain, {}) == ":" + ":".join(map(str, range(16)))
    assert of_block(chain["d-16"], chain, {}) is None


def test_parents_in_a_circle_make_no_id() -> None:
    around = {name: block(name, parent) for name, parent in (("sda", "sdb"), ("sdb", "sda"), ("sdc", "sdc"))}
    assert [of_block(device, around, {}) for device in around.values()] == [None, None, None]
