"""``vminterface report``: what VMs say, as a table for people and as JSON for programs."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

import vminterface
from lab.xenstored.fakexen import missing
from tests.support import warm
from tests.support.dom0 import Dom0
from tests.support.qubesdb import QubesHost
from tests.support.stores import need
from vminterface.cli import main
from vminterface.cli.errors import WrongCall
from vminterface.dom0.push.grants import grant

LIBRARY = Path(vminterface.__file__).parents[1]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Dom0]:
    need(missing())
    with Dom0(tmp_path / "xen") as host:
        domid = host.start_vm("work")
        with host.store() as store:
            grant(store, domid, f"/local/domain/{domid}/")
            store.write(f"/local/domain/{domid}/memory/static-max", b"400000")
        with host.guest_store("work") as guest:
            guest.write("memory/meminfo", b"210000")
            for key, text in (("desc", b"Stick (X)"), ("size", b"1048576"), ("mode", b"r")):
                guest.write(f"qubes-block-devices/sda/{key}", text)
        yield host


def report(host: Dom0, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(LIBRARY), "XENSTORED_PATH": host.path, "COLUMNS": "80", **more}
    return warm.run(["vminterface", "report", *words], env=environment, text=True, timeout=30)


def test_the_table_has_a_bar_of_memory_and_the_devices(host: Dom0) -> None:
    shown = report(host)
    assert shown.returncode == 0
    assert shown.stdout.splitlines() == [
        f"work  [{'#' * 19}{'.' * 17}]  52 %  205 MiB of 391 MiB",
        "  block work:sda              1.0 MiB r  Stick (X)",
        "        id :None",
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


def metrics(text: str) -> dict[tuple[str, ...], float]:
    found = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return {(sample.name.removeprefix("vminterface_"), *sample.labels.values()): sample.value for sample in found}


def test_prometheus_gets_memory_and_agents_and_with_a_pillar_what_differs(host: Dom0, tmp_path: Path) -> None:
    pillar, file = tmp_path / "pillar.sls", tmp_path / "vminterface.prom"
    pillar.write_text("qubes: {vms: {work: {timezone: UTC}, gone: {timezone: UTC}}}")
    found = metrics(report(host, "--prometheus").stdout)
    assert found["vm_memory_used_bytes", "work"] == 210000 * 1024
    assert found["vm_agent_up", "work"] == 0
    assert ("vm_converged", "work") not in found
    done = report(host, "--prometheus", "--pillar", str(pillar), "--output", str(file))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    found = metrics(file.read_text())
    assert (found["vm_converged", "work"], found["vm_drift_fields", "work"]) == (0, 1)
    assert (found["vms", "drifted"], found["vms", "not_running"]) == (1, 1)


def test_prometheus_gets_a_file_also_where_something_is_wrong(host: Dom0, tmp_path: Path) -> None:
    """An alarm about a host that cannot be looked at needs a metric that says so."""
    file, pillar = tmp_path / "vminterface.prom", tmp_path / "pillar.sls"
    pillar.write_text("qubes: {vms: {work: {timezone: Nowhere/At_all}}}")
    done = report(host, "--prometheus", "--pillar", str(pillar), "--output", str(file))
    assert done.returncode == 1
    assert done.stderr.startswith("vminterface: qubes:vms:work:timezone: ")
    assert (metrics(file.read_text())[("pillar_valid",)], metrics(file.read_text())[("up",)]) == (0, 1)
    done = report(host, "--prometheus", "--output", str(file), XENSTORED_PATH=str(tmp_path / "none"))
    assert done.returncode == 1
    assert metrics(file.read_text())[("up",)] == 0
    done = report(host, "--prometheus", "--output", str(tmp_path / "no/folder"))
    assert done.returncode == 1
    assert done.stderr == f"vminterface: {tmp_path}/no: No such file or directory\n"


@pytest.mark.parametrize("kind", ["pipe", "link", "folder"])
def test_only_a_regular_file_is_replaced(host: Dom0, tmp_path: Path, kind: str) -> None:
    """As root ``--html /dev/null`` would make the device a page, and ``/dev/stdout`` is a link."""
    place, target = tmp_path / "vms.html", tmp_path / "target"
    target.write_text("as before")
    {"pipe": os.mkfifo, "link": lambda path: path.symlink_to(target), "folder": Path.mkdir}[kind](place)
    before = os.lstat(place)
    for words in (("--html", str(place)), ("--prometheus", "--output", str(place))):
        done = report(host, *words)
        what = "a symbolic link" if kind == "link" else "not a regular file"
        said = f"vminterface: {place}: is {what} (expected a regular file, or nothing)\n"
        assert (done.returncode, done.stdout, done.stderr) == (1, "", said)
    assert (os.lstat(place).st_ino, target.read_text()) == (before.st_ino, "as before")
    assert sorted(path.name for path in tmp_path.glob(".vms*")) == []


def test_a_page_is_one_file_that_names_this_host(host: Dom0, tmp_path: Path) -> None:
    pillar, file = tmp_path / "pillar.sls", tmp_path / "vms.html"
    pillar.write_text("qubes: {vms: {work: {timezone: UTC}}}")
    done = report(host, "--html", str(file), "--pillar", str(pillar))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    text = file.read_text()
    assert f"<h3>{socket.gethostname()}</h3>" in text
    assert "timezone on 1 VM of 1 host" in text
    assert report(host, "--html", str(file)).returncode == 0
    assert "1 not compared" in file.read_text()


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--html", "x", "--json"], "--html: expected no --json with it"),
        (["work", "--prometheus"], "--prometheus: expected no VM with it"),
        (["--prometheus", "--html", "x"], "--prometheus: expected no --html with it"),
        (["--html", "x", "--output", "y"], "--html: expected no --output with it"),
        (["--pillar", "x"], "--pillar: expected --prometheus or --html with it"),
    ],
)
def test_options_that_do_not_go_together_are_named(words: list[str], error: str) -> None:
    options = main.command_line("report").parse_args(["report", *words])
    with pytest.raises(WrongCall, match=re.escape(error)):
        options.run(options)


def test_a_vm_that_does_not_run_is_one_line_and_status_1(host: Dom0) -> None:
    ended = report(host, "nosuch")
    assert (ended.returncode, ended.stderr) == (1, "vminterface: nosuch: there is no running VM with this name\n")


def test_where_nothing_runs_the_table_says_so(host: Dom0) -> None:
    host.stop_vm("work")
    assert report(host).stdout == "no VM is running\n"
