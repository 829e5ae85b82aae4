"""Two hundred VMs on QubesDB, in a process that may have 64 open files: everything works, part after part."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.lab_store import wait_until
from tests.support.qubesdb import QubesHost

LIBRARY = Path(__file__).parents[2] / "_utils"
VMS = [f"vm{n:03}" for n in range(200)]
LIMIT = 64


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QubesHost]:
    with QubesHost(tmp_path_factory.mktemp("q") / "h") as qubes:
        for at in range(0, len(VMS), 50):
            qubes.start_vm(*VMS[at : at + 50])
        yield qubes


@pytest.fixture
def pillar(tmp_path: Path) -> Path:
    file = tmp_path / "pillar.json"
    settings: dict[str, dict[str, object]] = {vm: {"timezone": "Asia/Tokyo"} for vm in VMS}
    firewall = {"netvm": VMS[0], "ip": "10.137.0.9", "policy": "drop"}
    for vm in VMS[1:20]:
        settings[vm]["firewall"] = {**firewall, "ip": f"10.137.0.{10 + int(vm[2:])}"}
        settings[vm]["confirm"] = False
    file.write_text(json.dumps({"qubes": {"vms": settings}}))
    return file


def begin(host: QubesHost, tmp_path: Path, *words: str) -> subprocess.Popen[str]:
    environment = {
        **os.environ, "PYTHONPATH": str(LIBRARY), "VMINTERFACE_QUBESDB_DIR": str(host.folder),
        "XENSTORED_PATH": str(tmp_path / "none"), "VMINTERFACE_LOCK_DIR": str(tmp_path),
    }  # fmt: skip
    return subprocess.Popen(
        ["sh", "-c", f'ulimit -n {LIMIT}; exec "$@"', "sh", sys.executable, "-m", "vminterface", *words],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def run(host: QubesHost, tmp_path: Path, *words: str) -> tuple[int, dict[str, Any], str]:
    said, error = (process := begin(host, tmp_path, *words, "--json")).communicate(timeout=60)
    return process.returncode, json.loads(said), error


def test_every_command_reaches_all_vms(host: QubesHost, pillar: Path, tmp_path: Path) -> None:
    status, changes, _ = run(host, tmp_path, "diff", "--pillar", str(pillar))
    assert (status, len(changes)) == (3, 200)
    status, changes, error = run(host, tmp_path, "push", "--pillar", str(pillar))
    assert (status, error) == (0, "")
    assert sorted(changes) == VMS
    assert all(one["changes"] for one in changes.values())
    status, held, _ = run(host, tmp_path, "get")
    assert (status, {vm: own["timezone"] for vm, own in held.items()}) == (0, dict.fromkeys(VMS, "Asia/Tokyo"))
    status, reported, _ = run(host, tmp_path, "report")
    assert (status, sorted(reported)) == (0, VMS)


def test_the_watcher_lives_on(host: QubesHost, pillar: Path, tmp_path: Path) -> None:
    for vm in VMS[::50]:
        with host.store(vm) as store:
            store.write("/qubes-timezone", b"UTC")
    with begin(host, tmp_path, "watch", "--pillar", str(pillar)) as watcher:
        try:
            assert wait_until(lambda: all(host.read(vm, "qubes-timezone") == "Asia/Tokyo" for vm in VMS[::50]), 30)
            assert watcher.poll() is None
        finally:
            watcher.send_signal(signal.SIGTERM)
        assert watcher.wait(20) == 0
        assert watcher.stderr is not None
        assert "Errno" not in watcher.stderr.read()
