"""Which USB devices a VM offers, and what it says of them."""

import pytest

from tests.support.fakesysfs import HUBS, FakeSysfs
from vminterface.values.usbdevice import UsbDevice
from vminterface.vm.report.usbdevices import read


@pytest.fixture
def vm(tmp_path):
    return FakeSysfs(tmp_path)


def test_a_device_is_described_in_four_fields_and_its_dots_become_underscores(vm):
    vm.usb("2-1.4")
    for number, codes in enumerate((("03", "01", "01"), ("03", "01", "02"), ("03", "01", "01"))):
        for part, code in zip(("Class", "SubClass", "Protocol"), codes, strict=True):
            vm.write(f"sys/{HUBS}/usb2/2-1.4/2-1.4:1.{number}/bInterface{part}", f"{code}\n")
    assert read(vm.machine) == {
        "2-1_4": {
            "desc": r"046d:c52b Logitech USB\x20Receiver _",
            "usb-ver": "2",
            "interfaces": ":030101:030102:",
        }
    }


def test_udevs_names_come_first(vm):
    known = {"ID_VENDOR_ENC": "Logi", "ID_MODEL_ENC": r"Unifying\x20R", "ID_SERIAL": "Logi_Unifying_7"}
    vm.usb("2-1", udev=known)
    keys = read(vm.machine)["2-1"]
    assert keys["desc"] == r"046d:c52b Logi Unifying\x20R Logi_Unifying_7"
    assert UsbDevice.parse("2-1", keys).description == "Logi Unifying R Logi_Unifying_7"


@pytest.mark.parametrize(
    "files",
    [
        {"bDeviceClass": "09"},
        {"manufacturer": "QEMU"},
        {"idVendor": ""},
        {"version": " 7.00"},
        {"udev": {"QUBES_EXPORT_USB_DEVICE": "0"}},
        {"folder": "devices/platform/vhci_hcd.0/usb3"},
    ],
)
def test_hubs_played_imported_and_withheld_devices_are_not_offered(vm, files):
    vm.usb("2-1", **files)
    assert read(vm.machine) == {}


def test_root_hubs_and_interfaces_are_no_devices(vm):
    vm.usb("usb2")
    vm.usb("2-1:1.0")
    assert read(vm.machine) == {}


@pytest.mark.parametrize(("version", "told"), [(" 1.10", "1"), (" 2.01", "2"), (" 3.20", "3")])
def test_the_version_is_its_first_digit(vm, version, told):
    vm.usb("2-1", version=version)
    assert read(vm.machine)["2-1"]["usb-ver"] == told


def test_words_of_other_scripts_do_not_break_the_four_fields(vm):
    vm.usb("2-1", manufacturer="Ω Ltd", product="é" * 100, serial="a b\x1b")
    keys = read(vm.machine)["2-1"]
    device = UsbDevice.parse("2-1", keys)
    assert device.ids == "046d:c52b"
    assert device.description.startswith("__ Ltd")
    assert len(keys["desc"]) <= 255


def test_a_device_that_udev_has_yet_to_look_at_waits_for_its_event(vm):
    vm.write("run/udev/control", "")
    vm.usb("2-1")
    assert read(vm.machine) == {}
    vm.udev("c189:3", {})
    assert list(read(vm.machine)) == ["2-1"]


def test_a_device_whose_strings_are_blank_shows_its_numbers(vm):
    blank = r"\x20\x20\x20"
    vm.usb("2-1", manufacturer="  ", product="", udev={"ID_VENDOR_ENC": blank, "ID_MODEL_ENC": blank})
    assert UsbDevice.parse("2-1", read(vm.machine)["2-1"]).description == "046d c52b _"
