"""Which USB devices a VM offers, and what it says of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.fakesysfs import HUBS, FakeSysfs
from vminterface.values.usbdevice import UsbDevice
from vminterface.vm.report.usbdevices import read


@pytest.fixture
def vm(tmp_path: Path) -> FakeSysfs:
    return FakeSysfs(tmp_path)


def test_a_device_is_described_in_four_fields_and_its_dots_become_underscores(vm: FakeSysfs) -> None:
    vm.usb("2-1.4")
    assert read(vm.machine) == {
        "2-1_4": {"desc": r"046d:c52b Logitech USB\x20Receiver ", "usb-ver": "2", "interfaces": ""}
    }


def test_udevs_names_come_first(vm: FakeSysfs) -> None:
    known = {
        "ID_VENDOR_ENC": "Logi",
        "ID_MODEL_ENC": r"Unifying\x20R",
        "ID_SERIAL": "Logi_Unifying_7",
        "ID_SERIAL_SHORT": "7",
        "ID_USB_INTERFACES": ":030101:",
    }
    vm.usb("2-1", udev=known, serial="other")
    keys = read(vm.machine)["2-1"]
    assert keys["desc"] == r"046d:c52b Logi Unifying\x20R 7"
    assert keys["interfaces"] == ":030101:"
    assert UsbDevice.parse("2-1", keys).description == "Logi Unifying R 7"


def test_a_serial_that_udev_left_out_is_left_out(vm: FakeSysfs) -> None:
    vm.usb("2-1", udev={"ID_VENDOR_ENC": "Logi", "ID_MODEL_ENC": "R", "ID_SERIAL": "Logi_R"}, serial="a,b")
    assert read(vm.machine)["2-1"]["desc"] == "046d:c52b Logi R "


@pytest.mark.parametrize(
    ("serial", "written"),
    [
        ("4C53", "4C53"),
        (" a  b ", "a_b"),
        ("a,b", ""),
        ("é", ""),
        ("a\x1b", ""),
        ("a/b!", "a_b_"),
        (r"a\x41\b", r"a\x41_b"),
    ],
)
def test_without_udev_a_serial_is_what_udev_would_make_of_it(vm: FakeSysfs, serial: str, written: str) -> None:
    vm.usb("2-1", serial=serial)
    assert read(vm.machine)["2-1"]["desc"].split(" ")[3] == written


def test_a_blank_that_an_admins_rule_put_into_a_serial_does_not_break_the_four_fields(vm: FakeSysfs) -> None:
    vm.usb("2-1", udev={"ID_SERIAL": "x", "ID_SERIAL_SHORT": "a b"})
    assert read(vm.machine)["2-1"]["desc"].split(" ")[3] == r"a\x20b"


def test_interfaces_without_udev_are_those_of_the_descriptors_not_those_of_the_moment(vm: FakeSysfs) -> None:
    vm.usb("2-1")
    vm.write(f"sys/{HUBS}/usb2/2-1/2-1:1.0/bInterfaceClass", "ff\n")
    vm.write_bytes(
        f"sys/{HUBS}/usb2/2-1/descriptors",
        bytes([18, 1])
        + bytes(16)
        + bytes([9, 4, 0, 0, 1, 8, 6, 0x50, 0, 9, 4, 0, 1, 4, 8, 6, 0x62, 0, 7, 5])
        + bytes(5),
    )
    assert read(vm.machine)["2-1"]["interfaces"] == ":080650:080662:"


@pytest.mark.parametrize(
    "files",
    [
        {"bDeviceClass": "09"},
        {"manufacturer": "QEMU"},
        {"idVendor": ""},
        {"udev": {"QUBES_EXPORT_USB_DEVICE": "0"}},
        {"folder": "devices/platform/vhci_hcd.0/usb3"},
    ],
)
def test_hubs_played_imported_and_withheld_devices_are_not_offered(vm: FakeSysfs, files: dict[str, Any]) -> None:
    vm.usb("2-1", **files)
    assert read(vm.machine) == {}


def test_root_hubs_and_interfaces_are_no_devices(vm: FakeSysfs) -> None:
    vm.usb("usb2")
    vm.usb("2-1:1.0")
    assert read(vm.machine) == {}


@pytest.mark.parametrize(
    ("version", "told"), [(" 1.10", "1"), (" 2.01", "2"), (" 3.20", "3"), ("10.00", "10"), ("?", "")]
)
def test_the_version_is_the_number_before_the_dot(vm: FakeSysfs, version: str, told: str) -> None:
    vm.usb("2-1", version=version)
    assert read(vm.machine)["2-1"]["usb-ver"] == told


def test_words_of_other_scripts_do_not_break_the_four_fields(vm: FakeSysfs) -> None:
    vm.usb("2-1", manufacturer="Ω Ltd", product="é" * 500, serial="a b\x1b")
    keys = read(vm.machine)["2-1"]
    device = UsbDevice.parse("2-1", keys)
    assert device.ids == "046d:c52b"
    assert device.description.startswith("__ Ltd")
    assert keys["desc"].isascii()
    assert len(keys["desc"]) < 3072


def test_a_device_that_udev_has_yet_to_look_at_waits_for_its_event(vm: FakeSysfs) -> None:
    vm.write("run/udev/control", "")
    vm.usb("2-1")
    assert read(vm.machine) == {}
    vm.udev("c189:3", {})
    assert list(read(vm.machine)) == ["2-1"]


def test_strings_of_blanks_are_written_as_they_are_and_numbers_where_there_is_none(vm: FakeSysfs) -> None:
    vm.usb("2-1", manufacturer="  ", product="")
    assert read(vm.machine)["2-1"]["desc"] == r"046d:c52b \x20\x20 c52b "


@pytest.mark.parametrize("number", ["", "46d", "046d\x1b", "é46d"])
def test_a_device_without_numbers_of_four_digits_is_left_out(vm: FakeSysfs, number: str) -> None:
    vm.usb("2-1", idVendor=number)
    assert read(vm.machine) == {}


def test_interfaces_of_udev_that_are_none_are_written_in_ascii(vm: FakeSysfs) -> None:
    vm.usb("2-1", udev={"ID_USB_INTERFACES": ":0301é\x1b:"})
    assert read(vm.machine)["2-1"]["interfaces"] == r":0301\xc3\xa9\x1b:"
