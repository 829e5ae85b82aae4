"""What a VM sends costs dom0 a bounded amount of memory, far below what it may have, and a push leaves none behind."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from lab.paths import PROJECT
from tests.support.dom0 import Dom0
from tests.support.qubesdb import QubesHost
from tests.support.realagent import RealAgent
from vminterface.deadline import Deadline
from vminterface.dom0.desired.settings import VMSettings
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
        pushes()
        gc.collect()
        try:
            gc.disable()
            gc.set_debug(gc.DEBUG_SAVEALL)
            pushes()
            gc.collect()
            left = Counter(type(one).__name__ for one in gc.garbage if type(one).__module__.startswith("vminterface"))
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
    assert left == {}
