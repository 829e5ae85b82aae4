"""``vminterface report``: what VMs say, as a table for people and as JSON for programs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import vminterface
from lab.fakexen import missing
from tests.support.dom0 import Dom0
from tests.support.qubesdb import QubesHost
from tests.support.stores import need
from vminterface.dom0.introduce import introduce

LIBRARY = Path(vminterface.__file__).parents[1]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Dom0]:
    need(missing())
    with Dom0(tmp_path / "xen") as host:
        domid = host.start_vm("work")
        with host.store() as store:
            introduce(store, domid, f"/local/domain/{domid}/")
            store.write(f"/local/domain/{domid}/memory/static-max", b"400000")
        with host.guest_store("work") as guest:
            guest.write("memory/meminfo", b"210000")
            for key, text in (("desc", b"Stick (X)"), ("size", b"1048576"), ("mode", b"r")):
                guest.write(f"qubes-block-devices/sda/{key}", text)
        yield host


def report(host: Dom0, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(LIBRARY), "XENSTORED_PATH": host.path, "COLUMNS": "80", **more}
    command = [sys.executable, "-m", "vminterface", "report", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)


def test_the_table_has_a_bar_of_memory_and_a_line_for_each_device(host: Dom0) -> None:
    shown = report(host)
    assert shown.returncode == 0
    assert shown.stdout.splitlines() == [
        f"work  [{'#' * 19}{'.' * 17}]  52 %  205 MiB of 391 MiB",
        "  block sda             1.0 MiB r  Stick (X)",
    ]


def test_a_vm_whose_qubesdb_is_dead_is_named_and_fails_the_command(host: Dom0, tmp_path: Path) -> None:
    host.start_vm("dead")
    with QubesHost(tmp_path / "q") as qubes:
        qubes.start_vm("work")
        qubes.start_vm("dead")
        qubes.stop_vm("dead")
        shown = report(host, VMINTERFACE_QUBESDB_DIR=str(qubes.folder))
        assert shown.returncode == 1
        assert "  ! dead: runs, but its QubesDB in dom0 is dead: " in shown.stdout
        assert "  52 %  205 MiB of 391 MiB" in shown.stdout
        assert report(host, "work", VMINTERFACE_QUBESDB_DIR=str(qubes.folder)).returncode == 0


def test_json_is_what_the_salt_function_returns(host: Dom0) -> None:
    host.start_vm("silent")
    data = json.loads(report(host, "--json").stdout)
    assert list(data) == ["silent", "work"]
    assert data["work"]["memory"] == {"maximum_kb": 400000, "swap_used_kb": None, "used_kb": 210000}
    assert list(json.loads(report(host, "work", "--json").stdout)) == ["work"]


def test_a_vm_that_does_not_run_is_one_line_and_status_1(host: Dom0) -> None:
    ended = report(host, "nosuch")
    assert (ended.returncode, ended.stderr) == (1, "vminterface: nosuch: no running VM has this name\n")


def test_where_nothing_runs_the_table_says_so(host: Dom0) -> None:
    host.stop_vm("work")
    assert report(host).stdout == "no VM is running\n"
