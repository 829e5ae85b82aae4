"""What R4.3 calls a device that a VM offers, apart from its port: the second half of an assignment.

Sources: core-admin ``qubes/ext/block.py`` and ``device_protocol.py``, app-linux-usb-proxy ``core3ext.py``. As in these,
a USB device is its numbers, serial and interfaces, and a block device its parent and a number.
"""

from __future__ import annotations

from collections.abc import Mapping

from vminterface.regex import regex
from vminterface.values.blockdevice import BlockDevice
from vminterface.values.usbdevice import UsbDevice

#: An interface that is not known, and a device that is not offered.
_UNKNOWN_INTERFACE = "?******"
_UNKNOWN = f"0000:0000::{_UNKNOWN_INTERFACE}"
_LAST_NUMBER = regex(r"[0-9]+\Z")
#: Devices between a partition and what it is plugged into: more are a circle, or nothing that was ever built.
_DEPTH = 16


def of_usb(device: UsbDevice) -> str | None:
    """Return ``VID:PID:SERIAL:INTERFACES``; None for interfaces that qubesd would fail on."""
    if "interfaces" in device.assumed:
        return None
    interfaces = "".join(f"u{code}" for code in device.interface_codes) if device.interfaces else _UNKNOWN_INTERFACE
    return ":".join((*device.identity, interfaces))


def of_block(
    device: BlockDevice, block_devices: Mapping[str, BlockDevice], usb_devices: Mapping[str, UsbDevice]
) -> str | None:
    """Return ``PARENT:NUMBER``, the device's id of its parent and the number of the partition or USB interface.

    *block_devices* and *usb_devices* are what the same VM offers, by their names there. None where qubesd has none
    either: parents in a circle, a parent that :func:`of_usb` has no id for.
    """
    numbers: list[str] = []
    while len(numbers) < _DEPTH:
        parent, usb, interface = device.parent.partition(":")
        found = _LAST_NUMBER.search(device.name)
        own = str(int(found[0])) if found else "None"
        numbers.insert(0, interface if parent and interface else own)
        if parent and not usb and parent in block_devices:
            device = block_devices[parent]
            continue
        identity: str | None = _UNKNOWN if parent else ""
        if parent and usb and (stick := usb_devices.get(parent.replace(".", "_"))):
            identity = of_usb(stick)
        return None if identity is None else ":".join((identity, *numbers))
    return None
