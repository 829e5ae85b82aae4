"""A machine whose devices are umockdev's: a program that keeps its device lists and obeys words on standard input.

    LD_PRELOAD=libumockdev-preload.so.0 python -m tests.support.hotplug SOCKET

``usb NAME``, ``disk NAME NUMBER`` and ``gone NAME`` plug and unplug; each is answered by ``done``.
"""

from __future__ import annotations

import ctypes
import sys
import threading

from vminterface.channel.xenstore.store import XenStore
from vminterface.stop import Stop
from vminterface.vm.machine.machine import Machine
from vminterface.vm.report import blockdevices, usbdevices
from vminterface.vm.report.devices import DeviceReport

LIBRARY, PRELOAD = "libumockdev.so.0", "libumockdev-preload.so.0"


class Testbed:
    """umockdev's testbed, through its C library."""

    __test__ = False

    def __init__(self) -> None:
        self._library = ctypes.CDLL(LIBRARY)
        self._library.umockdev_testbed_new.restype = ctypes.c_void_p
        self._bed = ctypes.c_void_p(self._library.umockdev_testbed_new())
        self._paths: dict[str, bytes] = {}

    def add(self, path: str, attributes: dict[str, str], properties: dict[str, str]) -> None:
        """Plug in the device *path* below ``/sys``; one with a ``DEVNAME`` gets its file in ``/dev``."""
        lines = [f"P: {path}", *(f"E: {name}={value}" for name, value in properties.items())]
        if "DEVNAME" in properties:
            lines.append(f"N: {properties['DEVNAME'].removeprefix('/dev/')}")
        lines += (f"A: {name}={value}" for name, value in attributes.items())
        text = "".join(f"{line}\n" for line in lines)
        if not self._library.umockdev_testbed_add_from_string(self._bed, text.encode(), None):
            raise SystemExit(f"umockdev refuses {text}")
        self._paths[path.rpartition("/")[2]] = f"/sys{path}".encode()
        self._library.umockdev_testbed_uevent(self._bed, f"/sys{path}".encode(), b"add")

    def remove(self, name: str) -> None:
        path = self._paths.pop(name)
        self._library.umockdev_testbed_uevent(self._bed, path, b"remove")
        self._library.umockdev_testbed_remove_device(self._bed, path)


def main() -> None:
    bed = Testbed()
    stop = Stop()
    for kind in (blockdevices, usbdevices):
        store = XenStore.open(sys.argv[1], window=16)
        serve = DeviceReport(Machine("/"), kind).serve
        threading.Thread(target=serve, args=(store, store, stop, print), daemon=True).start()
    for line in sys.stdin:
        match line.split():
            case ["usb", name]:
                attributes = {"idVendor": "046d", "idProduct": "c52b", "bDeviceClass": "00", "version": " 2.00"}
                attributes |= {"manufacturer": "Logitech", "product": "USB Receiver", "serial": "7"}
                bed.add(f"/devices/{name}", attributes, {"SUBSYSTEM": "usb", "DEVTYPE": "usb_device"})
            case ["disk", name, number]:
                properties = {"SUBSYSTEM": "block", "DEVTYPE": "disk", "DEVNAME": f"/dev/{name}"}
                bed.add(f"/devices/{name}", {"dev": number, "size": "2048", "ro": "0"}, properties)
            case ["gone", name]:
                bed.remove(name)
        print("done", flush=True)
    stop.set()


if __name__ == "__main__":
    main()
