"""The USB devices that this VM offers, as ``qubes-usb-devices/NAME/{desc,usb-ver,interfaces}`` tells dom0 of them.

Rules: Qubes linux-utils ``udev-qubes-usb.rules`` and ``udev-usb-add-change``. Offered are whole devices; no hubs, no
devices that QEMU plays, none that came here by USB/IP, none with ``QUBES_EXPORT_USB_DEVICE=0`` in udev.
"""

from __future__ import annotations

import re

from vminterface.errors import InvalidValue
from vminterface.values.usbdevice import DESC_LIMIT, UsbDevice, escape
from vminterface.vm.machine import Machine
from vminterface.vm.report import udev
from vminterface.vm.report.udev import attribute

BASE, SUBSYSTEM = "qubes-usb-devices", "usb"

_FOLDER = "/sys/bus/usb/devices"
_DEVICE = re.compile(r"[0-9]+-[0-9]+(?:\.[0-9]+)*")
_HUB = "09"


def read(machine: Machine, attached: frozenset[str] = frozenset()) -> dict[str, dict[str, str]]:
    """Return the texts of each device's sub-keys by its name. *attached* is of block devices and not looked at."""
    found = {}
    for name in machine.names(_FOLDER):
        if _DEVICE.fullmatch(name):
            keys = _entry(machine, name)
            if keys is not None:
                found[name.replace(".", "_")] = keys
    return found


def _entry(machine: Machine, name: str) -> dict[str, str] | None:
    folder = f"{_FOLDER}/{name}"
    ids = attribute(machine, f"{folder}/idVendor"), attribute(machine, f"{folder}/idProduct")
    known = _properties(machine, folder)
    if (
        not all(ids)
        or known is None
        or known.get("QUBES_EXPORT_USB_DEVICE") == "0"
        or attribute(machine, f"{folder}/bDeviceClass") == _HUB
        or attribute(machine, f"{folder}/manufacturer").startswith("QEMU")
        or known.get("ID_VENDOR", "").startswith("QEMU")
        or "/vhci_hcd" in (machine.link_target(folder) or "")
    ):
        return None
    keys = {
        "desc": _description(machine, folder, ids, known),
        "usb-ver": attribute(machine, f"{folder}/version")[:1],
        "interfaces": _interfaces(machine, folder, name),
    }
    try:
        # What dom0 would refuse is not offered.
        return UsbDevice.parse(name.replace(".", "_"), keys).render()
    except InvalidValue:
        return None


def _properties(machine: Machine, folder: str) -> dict[str, str] | None:
    """Return what udev knows; nothing where there is no udev, None where it has yet to look at the device."""
    major, _, minor = attribute(machine, f"{folder}/dev").partition(":")
    if not (major.isdecimal() and minor.isdecimal()):
        return {}
    known = udev.properties(machine, f"c{major}:{minor}")
    return known if known is not None or udev.is_running(machine) else {}


def _description(machine: Machine, folder: str, ids: tuple[str, str], known: dict[str, str]) -> str:
    """``VID:PID vendor model serial``, each of the last three one word."""
    vendor = _known(known, "ID_VENDOR_ENC") or escape(attribute(machine, f"{folder}/manufacturer")) or ids[0]
    model = _known(known, "ID_MODEL_ENC") or escape(attribute(machine, f"{folder}/product")) or ids[1]
    serial = escape(known.get("ID_SERIAL") or attribute(machine, f"{folder}/serial")) or "_"
    fields = (text.encode("ascii", "replace").decode().replace(" ", r"\x20")[:80] for text in (vendor, model, serial))
    return f"{ids[0]}:{ids[1]} {' '.join(fields)}"[:DESC_LIMIT]


def _known(known: dict[str, str], name: str) -> str:
    """Return a text of udev's, "" for one that is blank: some devices have strings of blanks alone."""
    text = known.get(name, "")
    return text if text.replace(r"\x20", "").strip() else ""


def _interfaces(machine: Machine, folder: str, name: str) -> str:
    """Class, subclass and protocol of each interface, six digits each, as udev's ``ID_USB_INTERFACES`` has them."""
    codes = []
    for member in machine.names(folder):
        if member.startswith(f"{name}:"):
            parts = ("Class", "SubClass", "Protocol")
            code = "".join(attribute(machine, f"{folder}/{member}/bInterface{part}") for part in parts)
            if len(code) == 6 and code not in codes:
                codes.append(code)
    return f":{':'.join(codes[:30])}:" if codes else ""
