"""What a VM sends costs dom0 a bounded amount of memory, far below what it may have, and a push leaves none behind."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import cycle
from pathlib import Path

import pytest

from lab.paths import PROJECT
from tests.support.dom0 import Dom0
from tests.support.garbage import left_behind
from tests.support.qubesdb import QubesHost
from tests.support.qubesr4 import whole_r4
from tests.support.realagent import RealAgent
from vminterface.deadline import Deadline
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.inventory.targets import Targets
from vminterface.dom0.push.push import push
from vminterface.vm.agent import presence
from vminterface.vm.machine.machine import Machine

ZONES = ("UTC", "Europe/Berlin")


@pytest.mark.parametrize("call", ["file_sent, short names", "file_sent, long names", "applications, long"])
def test_the_most_that_a_call_takes_fits(call: str) -> None:
    done = subprocess.run(
        [sys.executable, str(PROJECT / "benchmarks/dom0_memory.py"), "--only", call], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": f"{PROJECT}:{PROJECT / '_utils'}"}, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the bound is 512 MiB" in done.stdout


def test_all_that_a_push_has_made_is_given_back_at_its_end(host: Dom0 | QubesHost, tmp_path: Path) -> None:
    """A watcher would keep what refers to itself until Python looks for that, a thousand pushes later."""

    def pushes() -> None:
        for zone in ZONES:
            with host.targets() as targets:
                (outcome,) = push([VMSettings.parse("work", {"timezone": zone, "timeout": 60})], targets)
            assert outcome.ok, outcome.comment()

    # A process of its own: what it keeps does not count.
    with RealAgent(host, "work", tmp_path / "work") as agent:
        for zone in ZONES:
            agent.zone(zone)
        presence.version(Machine(str(agent.root)), Deadline.after(60))
        assert left_behind(pushes) == {}


def test_all_that_a_push_has_asked_qubesd_with_is_given_back_at_its_end(tmp_path: Path) -> None:
    """Qubes' own client too, which refers to itself."""
    with whole_r4(tmp_path) as r4:
        r4.start("work")
        changes = cycle(("on", "off"))

        def pushes() -> None:
            for vm in ("work", "nosuch"):
                (outcome,) = r4.push(r4.settings(vm, services={"cups": next(changes)}, timeout=60))
                assert outcome.ok == (vm == "work"), outcome.comment()

        assert left_behind(pushes) == {}


def test_a_look_at_what_runs_is_given_back_at_its_end(dom0: Dom0, monkeypatch: pytest.MonkeyPatch) -> None:
    """The watcher has one each second, over the host's own XenStore."""
    monkeypatch.setenv("XENSTORED_PATH", dom0.path)
    dom0.start_vm("work")

    def look() -> None:
        with Targets() as targets:
            assert targets.starts().keys() == {"work"}

    assert left_behind(look) == {}
