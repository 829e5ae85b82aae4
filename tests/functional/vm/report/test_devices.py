"""Device lists of a VM in the real xenstored: what comes, changes and goes, in the order that dom0 waits for."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.xenstored.fakexen import RealXenstored
from tests.support.fakesysfs import FakeSysfs
from tests.support.stores import GUEST, HOME, dom0, guest_home, need, xenstored  # noqa: F401
from vminterface.channel.xenstore.store import XenStore
from vminterface.deadline import Deadline
from vminterface.errors import DeadlineExceeded, KeyNotFound, PermissionDenied
from vminterface.stop import Stop
from vminterface.vm.machine.machine import Machine
from vminterface.vm.report import blockdevices, usbdevices
from vminterface.vm.report.devices import DeviceReport, attached

BASE = f"{HOME}/qubes-block-devices"
STICK = {"desc": "Stick (X)", "size": "512", "mode": "w", "parent": ""}


@pytest.fixture
def store(xenstored: RealXenstored, dom0: XenStore, guest_home: str) -> Iterator[XenStore]:  # noqa: F811
    """The guest's connection; dom0 has given it its two lists."""
    for name in ("qubes-block-devices", "qubes-usb-devices"):
        dom0.write(f"{HOME}/{name}", b"")
        dom0.set_permissions(f"{HOME}/{name}", [f"n{GUEST}"])
    with XenStore.open(xenstored.socket(GUEST), window=16) as opened:
        yield opened


def listed(dom0: XenStore, base: str = BASE) -> dict[str, dict[str, str]]:  # noqa: F811
    found: dict[str, dict[str, str]] = {}
    for path, value in dom0.tree(base).items():
        if path.count("/") > base.count("/") + 1:
            name, key = path.removeprefix(f"{base}/").split("/")
            found.setdefault(name, {})[key] = value.decode()
    return found


def written(dom0: XenStore, act: Callable[[], object]) -> list[str]:  # noqa: F811
    """The paths of the list that change while *act* runs, in order."""
    with dom0.watch([BASE]) as watch:
        watch.next(Deadline.after(5))
        act()
        paths: list[str] = []
        with contextlib.suppress(DeadlineExceeded):
            while True:
                paths += [event.path.removeprefix(BASE) for event in watch.next(Deadline.after(0.2))]
    return paths


def test_sub_keys_come_first_and_the_base_key_last(dom0: XenStore, store: XenStore) -> None:  # noqa: F811
    report = DeviceReport(Machine("/"), blockdevices)
    paths = written(dom0, lambda: report.publish(store, {"sda": STICK}))
    assert paths[-1] == ""
    assert [p for p in paths if p in ("/sda/desc", "/sda/size", "/sda/mode")] == ["/sda/desc", "/sda/size", "/sda/mode"]
    assert listed(dom0) == {"sda": STICK}


def test_a_list_that_is_as_it_was_is_not_written(dom0: XenStore, store: XenStore) -> None:  # noqa: F811
    report = DeviceReport(Machine("/"), blockdevices)
    assert report.publish(store, {"sda": STICK})
    assert not report.publish(store, {"sda": STICK})
    assert written(dom0, lambda: report.publish(store, {"sda": STICK})) == []


def test_what_goes_is_removed_and_what_changes_is_changed(dom0: XenStore, store: XenStore) -> None:  # noqa: F811
    report = DeviceReport(Machine("/"), blockdevices)
    report.publish(store, {"sda": STICK, "sdb": STICK})
    paths = written(dom0, lambda: report.publish(store, {"sdb": {**STICK, "mode": "r"}}))
    assert paths[0] == "/sda"
    assert paths[-1] == ""
    assert listed(dom0) == {"sdb": {**STICK, "mode": "r"}}


def test_what_an_earlier_run_left_is_put_right(dom0: XenStore, store: XenStore) -> None:  # noqa: F811
    DeviceReport(Machine("/"), blockdevices).publish(store, {"sda": STICK, "sdb": STICK})
    fresh = DeviceReport(Machine("/"), blockdevices)
    assert fresh.publish(store, {"sdb": STICK})
    assert listed(dom0) == {"sdb": STICK}


def test_another_programs_key_of_a_device_stays(dom0: XenStore, store: XenStore) -> None:  # noqa: F811
    keys = {"desc": "1234:5678 a b c", "usb-ver": "2", "interfaces": ""}
    report = DeviceReport(Machine("/"), usbdevices)
    report.publish(store, {"2-1": keys})
    store.write("qubes-usb-devices/2-1/connected-to", b"work")
    report.publish(store, {"2-1": {**keys, "usb-ver": "3"}})
    assert listed(dom0, f"{HOME}/qubes-usb-devices")["2-1"] == {**keys, "usb-ver": "3", "connected-to": "work"}


def test_without_the_node_from_dom0_nothing_is_half_written(
    xenstored: RealXenstored,  # noqa: F811
    dom0: XenStore,  # noqa: F811
    guest_home: str,  # noqa: F811
) -> None:
    with XenStore.open(xenstored.socket(GUEST), window=16) as guest:
        assert not DeviceReport(Machine("/"), blockdevices).publish(guest, {})
        with pytest.raises((PermissionDenied, KeyNotFound)):
            DeviceReport(Machine("/"), blockdevices).publish(guest, {"sda": STICK})
    assert not dom0.exists(BASE)


def test_what_other_vms_have_is_read_from_the_backends(dom0: XenStore, store: XenStore) -> None:  # noqa: F811
    dom0.write(f"{HOME}/backend", b"")
    dom0.set_permissions(f"{HOME}/backend", [f"n{GUEST}"])
    assert attached(store) == frozenset()
    for devid, number in (("51712", "8:1"), ("51728", "fd:1f"), ("51744", "junk"), ("51760", "x:y")):
        dom0.write(f"{HOME}/backend/vbd/9/{devid}/physical-device", number.encode())
    assert attached(store) == {"8:1", "253:31"}


class Serving:
    """A report at work in a thread."""

    def __init__(self, machine: Machine, kind: object, store: XenStore) -> None:
        self.stop, self.log = Stop(), []  # type: ignore[var-annotated]
        self._thread = threading.Thread(
            target=DeviceReport(machine, kind).serve,  # type: ignore[arg-type]
            args=(store, store, self.stop, self.log.append),
        )

    def __enter__(self) -> Serving:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop.set()
        self._thread.join(10)
        assert not self._thread.is_alive()


def until_listed(dom0: XenStore, names: set[str], base: str = BASE, seconds: float = 15.0) -> None:  # noqa: F811
    end = time.monotonic() + seconds
    while set(listed(dom0, base)) != names:
        assert time.monotonic() < end, f"{set(listed(dom0, base))}, not {names}"
        time.sleep(0.02)


def test_devices_of_a_folder_that_stands_for_a_machine_come_and_go(
    tmp_path: Path,
    dom0: XenStore,  # noqa: F811
    store: XenStore,
) -> None:
    vm = FakeSysfs(tmp_path / "vm")
    vm.usb("2-1.4")
    base = f"{HOME}/qubes-usb-devices"
    with Serving(vm.machine, usbdevices, store):
        until_listed(dom0, {"2-1_4"}, base)
        vm.usb("2-2")
        until_listed(dom0, {"2-1_4", "2-2"}, base)
        vm.remove("sys/bus/usb/devices/2-2")
        until_listed(dom0, {"2-1_4"}, base)


def test_a_list_waits_until_dom0_gives_its_node_and_says_so_once(
    tmp_path: Path,
    dom0: XenStore,  # noqa: F811
    store: XenStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vminterface.vm.report.devices.REFUSED", 0.1)
    dom0.remove(BASE)
    vm = FakeSysfs(tmp_path / "vm")
    vm.block("sda", "8:0")
    with Serving(vm.machine, blockdevices, store) as serving:
        time.sleep(0.5)
        assert len(serving.log) == 1
        assert "qubes-block-devices: not reported" in serving.log[0]
        dom0.write(BASE, b"")
        dom0.set_permissions(BASE, [f"n{GUEST}"])
        until_listed(dom0, {"sda"})


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[str]:
    """A real loop device on a file of ours, where this machine lets us have one."""
    image = tmp_path / "stick.img"
    image.write_bytes(bytes(1 << 20))
    ended = subprocess.run(["losetup", "--show", "-f", str(image)], capture_output=True, text=True, timeout=20)
    need("" if ended.returncode == 0 else f"no loop device to be had: {ended.stderr.strip()}")
    name = ended.stdout.strip()
    try:
        yield name.removeprefix("/dev/")
    finally:
        subprocess.run(["losetup", "-d", name], capture_output=True, timeout=20)


def test_a_real_loop_device_comes_and_goes_with_the_kernels_events(
    tmp_path: Path,
    loop: str,
    dom0: XenStore,  # noqa: F811
    store: XenStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Not by looking again after a while.
    monkeypatch.setattr("vminterface.vm.report.uevents.RARELY", 600.0)
    with Serving(Machine("/"), blockdevices, store):
        end = time.monotonic() + 30
        while loop not in listed(dom0):
            assert time.monotonic() < end
            time.sleep(0.02)
        keys = listed(dom0)[loop]
        assert keys == {
            "desc": f"{tmp_path}/stick.img",
            "size": "1048576",
            "mode": "w",
            "parent": "",
        }
        subprocess.run(["losetup", "-d", f"/dev/{loop}"], check=True, timeout=20)
        end = time.monotonic() + 30
        while loop in listed(dom0):
            assert time.monotonic() < end
            time.sleep(0.02)


def test_a_report_at_rest_costs_next_to_nothing(tmp_path: Path, dom0: XenStore, store: XenStore) -> None:  # noqa: F811
    with Serving(Machine("/"), blockdevices, store):
        time.sleep(1.0)
        before = os.times()
        time.sleep(2.0)
        after = os.times()
        assert after.user + after.system - before.user - before.system < 0.1
