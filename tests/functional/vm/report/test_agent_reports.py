"""The agent as a program: what it reports reaches dom0's reader, from the push that allows it to the VM's end."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.xenstored.fakexen import missing
from tests.support.dom0 import Dom0
from tests.support.fakesysfs import FakeSysfs
from tests.support.stores import need
from tests.support.warm import WarmPython
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.push.push import push
from vminterface.dom0.reports import devices as reports
from vminterface.dom0.reports.devices import Report
from vminterface.vm.agent import agent as agent_module

LIBRARY = Path(agent_module.__file__).parents[3]
MEMINFO = (
    "MemTotal: 400000 kB\nMemFree: 100000 kB\nBuffers: 20000 kB\nCached: 80000 kB\n"
    "SwapTotal: 1000000 kB\nSwapFree: 990000 kB\n"
)


class Running:
    """A VM with its agent, in a dom0 of its own."""

    def __init__(self, root: Path) -> None:
        self.host = Dom0(root / "xen").__enter__()
        self.host.start_vm("work")
        self.vm = FakeSysfs(root / "vm")
        self.vm.write("proc/meminfo", MEMINFO)
        self.log = root / "agent.log"
        self.agent: subprocess.Popen[bytes] | None = None

    def start_agent(self) -> None:
        self.agent = WarmPython(
            ["vminterface", "agent", "--root", str(self.vm.root)],
            isolated=True,
            env={
                **os.environ,
                "PYTHONPATH": str(LIBRARY),
                "XENSTORED_PATH": self.host.daemon.socket(self.host.domids["work"]),
            },
            stderr=self.log.open("wb"),
        )

    def push(self, **fields: object) -> None:
        with self.host.targets() as targets:
            (outcome,) = push([VMSettings.parse("work", {**fields, "timeout": 20})], targets)
        assert outcome.ok, outcome.comment()

    def report(self) -> Report:
        with self.host.targets() as targets:
            return reports.read(targets)["work"]

    def until(self, condition: Callable[[Report], bool], seconds: float = 20.0) -> None:
        end = time.monotonic() + seconds
        while not condition(self.report()):
            assert time.monotonic() < end, f"{self.report()}; agent: {self.log.read_text()}"
            time.sleep(0.05)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    need(missing())
    running = Running(tmp_path)
    try:
        yield running
    finally:
        if running.agent is not None:
            running.agent.kill()
            running.agent.wait()
        running.host.__exit__(None, None, None)


def test_memory_and_devices_of_a_vm_reach_dom0(running: Running) -> None:
    running.vm.usb("2-1.4")
    running.vm.block("sda", "8:0", udev={"ID_MODEL": "Stick", "ID_FS_LABEL": "X"})
    running.start_agent()
    running.push(services={"meminfo-writer": "on"})
    running.until(lambda r: r.used_kb == 210000 and bool(r.block_devices) and bool(r.usb_devices))
    report = running.report()
    assert report.swap_used_kb == 10000
    assert [(device.name, device.desc, device.size) for device in report.block_devices] == [
        ("sda", "Stick (X)", 1048576)
    ]
    assert [(device.name, device.ids) for device in report.usb_devices] == [("2-1_4", "046d:c52b")]
    assert report.warnings == []
    running.vm.mounted("8:0 /mnt ext4 /dev/sda")
    running.until(lambda r: not r.block_devices)


def test_a_vm_whose_service_is_off_says_nothing_of_its_memory(running: Running) -> None:
    running.vm.usb("2-1")
    running.start_agent()
    running.push(services={"meminfo-writer": "off"})
    running.until(lambda r: bool(r.usb_devices))
    assert running.report().used_kb is None


@pytest.mark.parametrize("program", ["usr/bin/meminfo-writer", "usr/sbin/meminfo-writer"])
def test_a_report_is_left_to_a_stock_program_that_makes_it(running: Running, program: str) -> None:
    """R4.3 has it in the first place, earlier releases in the second."""
    running.vm.write(program, "")
    running.vm.usb("2-1")
    running.start_agent()
    running.push(services={"meminfo-writer": "on"})
    running.until(lambda r: bool(r.usb_devices))
    assert running.report().used_kb is None
    assert f"memory: left to /{program}" in running.log.read_text()


def test_reports_end_with_the_agent(running: Running) -> None:
    running.start_agent()
    running.push(services={"meminfo-writer": "on"})
    running.until(lambda r: r.used_kb == 210000)
    assert running.agent is not None
    running.agent.send_signal(signal.SIGTERM)
    assert running.agent.wait(10) == 0
