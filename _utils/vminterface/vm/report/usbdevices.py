"""The USB devices that this VM offers, as ``qubes-usb-devices/NAME/{desc,usb-ver,interfaces}`` lists them.

Rules: Qubes linux-utils ``udev-qubes-usb.rules`` and ``udev-usb-add-change``. Offered are whole devices; no hubs, no
devices that QEMU plays, none that came here by USB/IP, none with ``QUBES_EXPORT_USB_DEVICE=0`` in udev. dom0 makes a
device's id of these texts and finds its assignments by it, so they are those of udev; without udev, they are
made from the device's descriptors in the way of systemd's ``udev-builtin-usb_id.c``.
"""

from __future__ import annotations

from vminterface.errors import InvalidValue, VMInterfaceError
from vminterface.regex import regex
from vminterface.values import usbdescriptors
from vminterface.values.usbdevice import UsbDevice, escape, parse_name
from vminterface.vm.machine.files import Files
from vminterface.vm.report import udev
from vminterface.vm.report.udev import attribute, raw_attribute

BASE, SUBSYSTEM = "qubes-usb-devices", "usb"

_FOLDER = "/sys/bus/usb/devices"
_DEVICE = regex(r"[0-9]+-[0-9]+(?:\.[0-9]+)*")
_HUB = "09"
_HEX4 = regex(r"[0-9A-Fa-f]{4}")
_VERSION = regex(r"[0-9]{1,3}")
#: Characters of one field of a description, so that the whole fits into a value of QubesDB whatever a device says.
_FIELD_LIMIT = 1000
_BLANKS = regex(r" +")
#: What udev does not leave as it is in a serial (udev_replace_chars of systemd).
_ODD = regex(r"(\\x)|[^A-Za-z0-9#+.:=@_-]")


def read(machine: Files, attached: frozenset[str] = frozenset()) -> dict[str, dict[str, str]]:
    """Return the texts of each device's sub-keys by its name. *attached* is of block devices and ignored."""
    found = {}
    for name in machine.names(_FOLDER):
        if _DEVICE.fullmatch(name):
            keys = _entry(machine, name)
            if keys is not None:
                found[name.replace(".", "_")] = keys
    return found


def _entry(machine: Files, name: str) -> dict[str, str] | None:
    folder = f"{_FOLDER}/{name}"
    ids = attribute(machine, f"{folder}/idVendor"), attribute(machine, f"{folder}/idProduct")
    known = _properties(machine, folder)
    if (
        not all(map(_HEX4.fullmatch, ids))
        or known is None
        or known.get("QUBES_EXPORT_USB_DEVICE") == "0"
        or attribute(machine, f"{folder}/bDeviceClass") == _HUB
        or known.get("ID_VENDOR", attribute(machine, f"{folder}/manufacturer")) == "QEMU"
        or "/vhci_hcd" in (machine.link_target(folder) or "")
    ):
        return None
    try:
        port = parse_name(name.replace(".", "_"))
    except InvalidValue:
        return None
    version = attribute(machine, f"{folder}/version").partition(".")[0]
    return UsbDevice(
        port,
        _description(machine, folder, ids, known),
        int(version) if _VERSION.fullmatch(version) else None,
        _one_word(known["ID_USB_INTERFACES"]) if "ID_USB_INTERFACES" in known else _interfaces(machine, folder),
    ).render()


def _properties(machine: Files, folder: str) -> dict[str, str] | None:
    """Return what udev knows; nothing where there is no udev, None where it has not processed the device yet."""
    major, _, minor = attribute(machine, f"{folder}/dev").partition(":")
    if not (major.isdecimal() and minor.isdecimal()):
        return {}
    known = udev.properties(machine, f"c{major}:{minor}")
    return known if known is not None or udev.is_running(machine) else {}


def _description(machine: Files, folder: str, ids: tuple[str, str], known: dict[str, str]) -> str:
    """``VID:PID vendor model serial``, each of the last three one word; the serial may be empty."""
    vendor = known.get("ID_VENDOR_ENC") or escape(raw_attribute(machine, f"{folder}/manufacturer") or ids[0])
    model = known.get("ID_MODEL_ENC") or escape(raw_attribute(machine, f"{folder}/product") or ids[1])
    # What udev knows without a serial has none that counts.
    serial = (
        known.get("ID_SERIAL_SHORT", "")
        if "ID_SERIAL" in known
        else _serial(raw_attribute(machine, f"{folder}/serial"))
    )
    return " ".join((":".join(ids), *(_one_word(field) for field in (vendor, model, serial))))


def _serial(text: str) -> str:
    """Return a device's serial as udev has it: none with odd characters, and ``_`` for blanks and what is not plain."""
    if any(not " " <= c <= "\x7f" or c == "," for c in text):
        return ""
    return _ODD.sub(lambda found: found[1] or "_", _BLANKS.sub("_", text.strip()))


def _one_word(text: str) -> str:
    """Return a field without blanks, and with an escape for each byte beyond ASCII: dom0 shows these as ``_``."""
    return "".join(c if "!" <= c <= "~" else escape(c) for c in text)[:_FIELD_LIMIT]


def _interfaces(machine: Files, folder: str) -> str:
    try:
        descriptors = machine.read_bytes(f"{folder}/descriptors", limit=usbdescriptors.LIMIT)
    except VMInterfaceError:
        return ""
    return usbdescriptors.interfaces(descriptors or b"")
