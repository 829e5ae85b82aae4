"""Runs the reports beside the agent, each in a thread with a connection of its own: none can hold another up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from vminterface.channel.store import KeyStore
from vminterface.errors import ConnectionLost, DeadlineExceeded, VMInterfaceError
from vminterface.stop import Stop
from vminterface.vm.machine.files import Files
from vminterface.vm.report import blockdevices, usbdevices
from vminterface.vm.report.devices import DeviceReport
from vminterface.vm.report.memory import MemoryReport

#: Seconds before the first new attempt after a fault; doubled each time, up to the second number.
_PAUSE = (0.1, 5.0)
#: Where a program of Qubes' own tools may be that reports the same: it is left to do so.
STOCK = {
    # The first place since R4.3, the second before.
    "memory": ("/usr/bin/meminfo-writer", "/usr/sbin/meminfo-writer"),
    "block devices": ("/usr/lib/qubes/udev-block-add-change",),
    "USB devices": ("/usr/lib/qubes/udev-usb-add-change",),
}

Open = Callable[[], KeyStore]
Log = Callable[[str], None]


def start(machine: Files, stop: Stop, *, open_store: Open, open_xenstore: Open, log: Log) -> list[threading.Thread]:
    """Start the reports of *machine*; they end when *stop* is set. Memory goes to the XenStore in every release."""

    def memory() -> None:
        with open_xenstore() as store:
            MemoryReport(machine).serve(store, stop, log)

    def devices(report: DeviceReport) -> None:
        with open_store() as store:
            if not store.per_vm:
                report.serve(store, store, stop, log)
                return
            xenstore = None
            with suppress(VMInterfaceError):
                xenstore = open_xenstore()
            try:
                report.serve(store, xenstore, stop, log)
            finally:
                if xenstore is not None:
                    xenstore.close()

    works: dict[str, Callable[[], None]] = {
        "memory": memory,
        "block devices": partial(devices, DeviceReport(machine, blockdevices)),
        "USB devices": partial(devices, DeviceReport(machine, usbdevices)),
    }
    threads = []
    for name, work in works.items():
        if found := [path for path in STOCK[name] if machine.exists(path)]:
            log(f"{name}: left to {found[0]}")
            continue
        thread = threading.Thread(target=_keep, args=(name, work, stop, log), name=f"report {name}", daemon=True)
        thread.start()
        threads.append(thread)
    return threads


def _keep(name: str, work: Callable[[], None], stop: threading.Event, log: Log) -> None:
    """Do *work* again and again until *stop* is set, also after an error."""
    pause, told = _PAUSE[0], ""
    while not stop.is_set():
        reason, began = "", time.monotonic()
        try:
            work()
        except (ConnectionLost, DeadlineExceeded):
            pass  # the agent itself says so
        except VMInterfaceError as error:
            reason = f"{name}: not reported: {error}"
        except Exception as error:
            reason = f"{name}: not reported: unexpected {type(error).__name__}: {error}"
        if reason and reason != told:
            log(reason)
        told = reason
        if time.monotonic() - began > _PAUSE[1]:
            pause = _PAUSE[0]
        stop.wait(pause)
        pause = min(2 * pause, _PAUSE[1])
