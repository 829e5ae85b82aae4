"""Devices that are plugged and unplugged, as umockdev plays them: the lists follow at once, by the kernel's events."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.xenstored.fakexen import RealXenstored
from tests.support import hotplug
from tests.support.stores import GUEST, HOME, dom0, guest_home, need, xenstored  # noqa: F401
from vminterface.channel.xenstore.store import XenStore

ROOT = Path(hotplug.__file__).parents[2]


def missing() -> str:
    try:
        ctypes.CDLL(hotplug.LIBRARY)
    except OSError:
        return f"no {hotplug.LIBRARY} (Debian package umockdev)"
    return ""


class Machine:
    """The program with the lists, and what dom0 sees of it."""

    def __init__(self, socket: str, dom0: XenStore) -> None:  # noqa: F811
        self._dom0 = dom0
        self._program = subprocess.Popen(
            [sys.executable, "-m", "tests.support.hotplug", socket],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT}/_utils", "LD_PRELOAD": hotplug.PRELOAD},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, line: str) -> None:
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        self._program.stdin.write(f"{line}\n")
        self._program.stdin.flush()
        assert self._program.stdout.readline() == "done\n"

    def shows(self, base: str, names: set[str]) -> None:
        """Wait until dom0 sees exactly these; sooner than the reports would look by themselves."""
        end = time.monotonic() + 30
        while set(self._dom0.list(f"{HOME}/{base}")) != names:
            assert time.monotonic() < end, f"{self._dom0.list(f'{HOME}/{base}')}, not {names}"
            time.sleep(0.02)

    def key(self, path: str, text: str | None = None) -> str:
        """Return what the key holds once it is there, or once it holds *text*."""
        # An entry is seen while its keys are still being written, and a device while it is still being plugged in.
        value = self._dom0.wait_for(
            f"{HOME}/{path}", lambda value: value is not None and text in (None, value.decode()), timeout=10
        )
        assert value is not None
        return value.decode()

    def end(self) -> None:
        self._program.kill()
        self._program.communicate(timeout=10)


@pytest.fixture
def vm(xenstored: RealXenstored, dom0: XenStore, guest_home: str) -> Iterator[Machine]:  # noqa: F811
    need(missing())
    for name in ("qubes-block-devices", "qubes-usb-devices"):
        dom0.write(f"{HOME}/{name}", b"")
        dom0.set_permissions(f"{HOME}/{name}", [f"n{GUEST}"])
    machine = Machine(xenstored.socket(GUEST), dom0)
    try:
        yield machine
    finally:
        machine.end()


def test_a_usb_device_comes_and_goes(vm: Machine) -> None:
    vm.tell("usb 2-1.4")
    vm.shows("qubes-usb-devices", {"2-1_4"})
    desc = r"046d:c52b Logitech USB\x20Receiver 7"
    assert vm.key("qubes-usb-devices/2-1_4/desc", desc) == desc
    assert vm.key("qubes-usb-devices/2-1_4/usb-ver") == "2"
    vm.tell("usb 2-2")
    vm.shows("qubes-usb-devices", {"2-1_4", "2-2"})
    vm.tell("gone 2-1.4")
    vm.shows("qubes-usb-devices", {"2-2"})


def test_a_disk_comes_and_goes(vm: Machine) -> None:
    vm.tell("disk sdx 8:128")
    vm.shows("qubes-block-devices", {"sdx"})
    assert vm.key("qubes-block-devices/sdx/size") == "1048576"
    assert vm.key("qubes-block-devices/sdx/mode") == "w"
    vm.tell("disk zram7 251:7")
    vm.tell("gone sdx")
    vm.shows("qubes-block-devices", set())
