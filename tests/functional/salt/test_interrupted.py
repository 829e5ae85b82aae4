"""A Salt run that is told to end while it waits for a VM takes back what the VM has not acknowledged, and says so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from signal import Signals

import pytest
import yaml

from lab.xenstored.fakexen import missing
from tests.support.dom0 import Dom0
from tests.support.rpcstandin import until
from tests.support.stores import need
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.push.push import push

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def dom0(tmp_path: Path) -> Iterator[Dom0]:
    """A host whose VM ``work`` has a time zone, and an agent that does not say anything more."""
    need(missing())
    with Dom0(tmp_path / "xen") as host:
        host.start_vm("work")
        agent = host.agent("work")
        with host.targets() as targets:
            assert push([VMSettings.parse("work", {"timezone": "UTC"})], targets)[0].ok
        agent.reply = lambda setting, inputs: None
        yield host


@pytest.mark.parametrize(
    ("number", "words"),
    [(signal.SIGINT, ["state.single", "qubes_vm.all_configured", "all"]), (signal.SIGTERM, ["qubes_vm.push"])],
)
def test_what_was_not_acknowledged_is_taken_back(dom0: Dom0, number: Signals, words: list[str], tmp_path: Path) -> None:
    (tmp_path / "pillar").mkdir()
    (tmp_path / "pillar/top.sls").write_text("base: {'*': [qubes]}")
    vms = {"work": {"timezone": "Europe/Berlin", "timeout": 120}}
    (tmp_path / "pillar/qubes.sls").write_text(yaml.safe_dump({"qubes": {"vms": vms}}))
    config = {
        "id": "dom0",
        "root_dir": str(tmp_path / "run"),
        "file_client": "local",
        "pillar_roots": {"base": [str(tmp_path / "pillar")]},
        "module_dirs": [str(ROOT)],
    }
    (tmp_path / "minion").write_text(yaml.safe_dump(config))
    program = Path(sys.executable).with_name("salt-call")
    process = subprocess.Popen(
        [str(program), "-c", str(tmp_path), "--local", *words],
        env={**os.environ, "XENSTORED_PATH": dom0.path, "PYTHONPATH": str(ROOT / "_utils")},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert until(lambda: dom0.read("work", "qubes-timezone") == "Europe/Berlin", 60)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert "work: interrupted before the agent acknowledged timezone; former values restored" in stderr.splitlines()
    assert "Traceback" not in stderr
    assert process.returncode == 1
    assert dom0.read("work", "qubes-timezone") == "UTC"
