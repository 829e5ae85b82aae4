"""When the monitors of dom0's X server change, running VMs with ``from_dom0`` get the new ones, and no others do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.rpcstandin import StandIn
from tests.support.stores import need
from tests.support.xrandr import fake_xrandr
from tests.support.xservers import XServer, lack
from vminterface.channel.qrexec.client import Qrexec
from vminterface.dom0.desired.settings import VMSettings, parse_pillar
from vminterface.dom0.inventory.targets import Targets
from vminterface.dom0.push.watch import monitors as watch_monitors
from vminterface.dom0.push.watch.monitors import MonitorFollower
from vminterface.dom0.services import monitors

VMS: dict[str, object] = {
    "work": {"monitors": "from_dom0"},
    "fixed": {"monitors": [{"width": 1280, "height": 800, "x": 0, "y": 0}]},
    "plain": {"timezone": "UTC"},
    "off": {"monitors": "from_dom0", "require_running": True},
}


@pytest.fixture
def display(monkeypatch: pytest.MonkeyPatch) -> Iterator[XServer]:
    need(lack("Xvfb", "xrandr"))
    server = XServer.xvfb()
    monkeypatch.setenv("DISPLAY", server.display)
    monkeypatch.setattr(watch_monitors, "CHECK_SECONDS", 0.2)
    monkeypatch.setattr(watch_monitors, "SETTLE", 0.05)
    for width, height in ((800, 600), (1024, 768)):
        timing = [width, width + 40, width + 80, width + 200, height, height + 1, height + 4, height + 28]
        server.xrandr("--newmode", f"{width}x{height}_t", "40", *map(str, timing))
        server.xrandr("--addmode", "screen", f"{width}x{height}_t")
    yield server
    server.end()


@pytest.fixture
def work(vms: StandIn) -> Path:
    for vm in ("work", "fixed", "plain"):
        vms.machine(vm)
        fake_xrandr(vms, vm)
    return vms.folder


@contextmanager
def following(settings: Callable[[], Mapping[str, VMSettings]]) -> Iterator[list[str]]:
    stop = threading.Event()
    log: list[str] = []
    thread = MonitorFollower(settings, Targets, log.append).start(stop)
    assert thread is not None
    try:
        yield log
    finally:
        stop.set()
        thread.join(20)
        assert not thread.is_alive(), log


def settings_of(vms: Mapping[str, object]) -> dict[str, VMSettings]:
    return {one.vm: one for one in parse_pillar({"qubes": {"vms": vms}})}


def soon(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "not within the time"
        time.sleep(0.02)


def first_read(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Return what is set once dom0's monitors have been read."""
    read, real = threading.Event(), monitors.of_dom0

    def of_dom0(**options: Any) -> object:
        layout = real(**options)
        read.set()
        return layout

    monkeypatch.setattr(monitors, "of_dom0", of_dom0)
    return read


def test_a_change_reaches_the_vms_with_from_dom0_alone(
    display: XServer, work: Path, vms: StandIn, qrexec: Qrexec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMINTERFACE_QREXEC", vms.client)
    read = first_read(monkeypatch)
    settings = settings_of(VMS)
    with following(lambda: settings) as log:
        assert read.wait(20)
        display.xrandr("--output", "screen", "--mode", "800x600_t")
        soon(lambda: any(line.startswith("work: monitors set") for line in log))
        shown = monitors.of_vm(qrexec, "work").layout
        assert shown is not None
        assert (shown.monitors[0].width, shown.monitors[0].height) == (800, 600)
        monkeypatch.setattr(watch_monitors, "SETTLE", 1.5)
        # What changes again before it is sent is sent once, as it is in the end.
        display.xrandr("--output", "screen", "--mode", "1280x1024")
        display.xrandr("--output", "screen", "--mode", "1024x768_t")
        soon(lambda: sum(line.startswith("work: monitors set") for line in log) == 2)
        shown = monitors.of_vm(qrexec, "work").layout
        assert shown is not None
        assert (shown.monitors[0].width, shown.monitors[0].height) == (1024, 768)
    for vm in ("fixed", "plain"):
        assert monitors.of_vm(qrexec, vm).outputs == ()
    assert [line for line in log if line.startswith("dom0's")] == [
        "dom0's monitors are now 800x600+0+0",
        "dom0's monitors are now 1024x768+0+0",
    ]
    assert not any("off" in line for line in log), log


def test_the_dpi_of_a_vm_is_its_own(
    display: XServer, work: Path, vms: StandIn, qrexec: Qrexec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMINTERFACE_QREXEC", vms.client)
    read = first_read(monkeypatch)
    settings = settings_of({"work": {"monitors": {"from_dom0": True, "dpi": 144}}})
    with following(lambda: settings) as log:
        assert read.wait(20)
        display.xrandr("--output", "screen", "--mode", "800x600_t")
        soon(lambda: any(line.startswith("work: monitors set") for line in log))
    shown = monitors.of_vm(qrexec, "work").layout
    assert shown is not None
    assert (shown.monitors[0].width_mm, shown.monitors[0].height_mm) == (141, 106)


def test_without_such_vms_nobody_asks_the_x_server(display: XServer, monkeypatch: pytest.MonkeyPatch) -> None:
    read = first_read(monkeypatch)
    with following(lambda: settings_of({"fixed": VMS["fixed"]})) as log:
        assert not read.wait(1)
    assert log == []


def test_without_a_display_there_is_nothing_to_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    assert MonitorFollower(lambda: settings_of(VMS), Targets, print).start(threading.Event()) is None


def test_a_display_that_cannot_be_reached_is_told_once_and_followed_once_it_can(
    display: XServer, work: Path, vms: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMINTERFACE_QREXEC", vms.client)
    monkeypatch.setenv("DISPLAY", ":987")
    read = first_read(monkeypatch)
    with following(lambda: settings_of(VMS)) as log:
        soon(lambda: log)
        assert not read.wait(1)
        assert len(log) == 1
        assert log[0].startswith("dom0's monitors: xrandr --current: exit status 1: ")
        assert log[0].endswith("; monitors from_dom0 are followed once dom0's monitors can be read")
        monkeypatch.setenv("DISPLAY", display.display)
        soon(lambda: log[-1] == "dom0's monitors can be read")
