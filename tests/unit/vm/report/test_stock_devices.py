"""Fifty devices as Qubes' own udev scripts report them, byte for byte, and each difference with its reason."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fakesysfs import FakeSysfs
from tests.support.stockdevices import BLOCK_DEVICES, USB_DEVICES, Block, Usb
from vminterface.values.usbdevice import resolve
from vminterface.vm.report import blockdevices, usbdevices

#: Descriptions of ours that differ from stock's, for one reason: where udev has no model, stock writes none, and dom0
#: shows an unknown device. Ours is the memory card's name, the numbers of its reader, or the device's own name.
#: R4.3 makes no part of a block device's id of its description, so that assignments match all the same.
NAMED = {
    "mmcblk0p1": "SL16G (CANON_DC)",
    "mmcblk1p1": "SL16G ()",
    "fd0": "fd0 ()",
    "vda": "vda ()",
    "sdj": "sdj ()",
    "pmem0": "pmem0 ()",
}


def add_block(vm: FakeSysfs, device: Block) -> None:
    files = {"partition": "1"} if device.partition else {}
    if device.backing_file:
        files["loop/backing_file"] = device.backing_file
    if name := device.udev.get("DM_NAME"):
        files["dm/name"] = name
    vm.block(
        device.name,
        device.number,
        folder=device.folder,
        sectors=device.sectors,
        read_only=device.read_only,
        files=files,
        udev=device.udev,
    )
    if device.use == "held":
        vm.write(f"sys/{device.folder}/{device.name}/holders/dm-99/dev", "253:99\n")
    elif device.use == "partition attached":
        vm.partition(f"{device.name}1", ATTACHED_PARTITION, device.name, folder=device.folder)


ATTACHED_PARTITION = "8:177"


@pytest.fixture(scope="module")
def offered_blocks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, dict[str, str]]]:
    """What a VM with all of the block devices offers."""
    vm = FakeSysfs(tmp_path_factory.mktemp("blocks"))
    mounts, attached = [], {ATTACHED_PARTITION}
    for device in BLOCK_DEVICES:
        add_block(vm, device)
        if device.use.startswith("mounted"):
            number = device.number if device.use == "mounted" else "0:45"
            mounts.append(f"{number} /mnt ext4 /dev/{device.name}")
        elif device.use == "swap":
            vm.write("proc/swaps", f"Filename\tType\n/dev/{device.name} partition\t1\t0\t-2\n")
        elif device.use == "attached":
            attached.add(device.number)
        elif device.use == "marked folder":
            vm.write(f"{Path(device.backing_file).parents[1]}/.qubes-exclude-block-devices".lstrip("/"), "")
    vm.mounted(*mounts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{vm.dmsetup(0)}:/usr/bin:/bin")
        yield blockdevices.read(vm.machine, frozenset(attached))


@pytest.mark.parametrize("device", BLOCK_DEVICES, ids=lambda device: device.name)
def test_a_block_device_has_the_keys_of_stock(offered_blocks: dict[str, dict[str, str]], device: Block) -> None:
    keys = device.stock.keys() if device.stock else None
    if device.name in NAMED:
        assert keys is not None
        assert keys["desc"].startswith(" (")
        keys["desc"] = NAMED[device.name]
    assert offered_blocks.get(device.name) == keys


def test_no_other_block_device_is_offered_but_the_attached_partition(
    offered_blocks: dict[str, dict[str, str]],
) -> None:
    assert set(offered_blocks) - {device.name for device in BLOCK_DEVICES} == {"sdl1"}


def stock_keys(device: Usb) -> dict[str, str] | None:
    if device.desc is None:
        return None
    return {"desc": device.desc, "usb-ver": "2", "interfaces": device.interfaces}


def add_usb(vm: FakeSysfs, device: Usb, udev: dict[str, str] | None, **files: str) -> None:
    vendor, product = device.ids.split(":")
    vm.usb(
        device.name,
        folder=device.folder,
        udev=udev,
        idVendor=vendor,
        idProduct=product,
        bDeviceClass=device.device_class,
        **files,
    )


@pytest.mark.parametrize("device", USB_DEVICES, ids=lambda device: device.name)
def test_a_usb_device_has_the_keys_of_stock(tmp_path: Path, device: Usb) -> None:
    vm = FakeSysfs(tmp_path)
    known = {
        "ID_VENDOR": resolve(device.vendor).strip().replace(" ", "_"),
        "ID_VENDOR_ENC": device.vendor,
        "ID_MODEL_ENC": device.model,
        "ID_SERIAL": "not to be used",
        "ID_USB_INTERFACES": device.interfaces,
    }
    if device.serial:
        known["ID_SERIAL_SHORT"] = device.serial
    # What the kernel says itself differs: an unconfigured device has no interfaces there.
    add_usb(vm, device, known, manufacturer="Other", product="Other", serial="other")
    assert usbdevices.read(vm.machine).get(device.name) == stock_keys(device)


@pytest.mark.parametrize("device", USB_DEVICES, ids=lambda device: device.name)
def test_without_udev_it_has_the_same_keys(tmp_path: Path, device: Usb) -> None:
    """From the strings of the kernel, which has none where udev puts the number, and from the descriptors."""
    vm = FakeSysfs(tmp_path)
    vendor, product = device.ids.split(":")
    strings = {
        "manufacturer": "" if device.vendor == vendor else resolve(device.vendor),
        "product": "" if device.model == product else resolve(device.model),
    }
    add_usb(vm, device, None, **strings, serial=device.serial)
    descriptors = bytes.fromhex("12 01 00 02 00 00 00 40") + bytes(10) + bytes.fromhex("09 02 00 00 01 01 00 80 32")
    for number, code in enumerate(device.interfaces.strip(":").split(":")):
        descriptors += bytes([9, 4, number, 0, 1, *bytes.fromhex(code), 0]) + bytes([7, 5, 0x81, 2, 0, 2, 0])
    vm.write_bytes(f"sys/{device.folder}/{device.name}/descriptors", descriptors)
    assert usbdevices.read(vm.machine).get(device.name) == stock_keys(device)


def test_all_fifty_are_there() -> None:
    assert (len(BLOCK_DEVICES), len(USB_DEVICES)) == (38, 12)
