"""The lab as one of R2, R3 and R4: where dom0 tells a VM its settings, and what a new start of a VM changes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.control import Lab
from lab.paths import PROJECT
from tests.support.labs import running
from vminterface.channel.qubesdb.store import QubesDB
from vminterface.channel.xenstore.store import XenStore
from vminterface.cli import pillaryaml
from vminterface.deadline import Deadline
from vminterface.dom0.desired.settings import VMSettings, parse_pillar
from vminterface.dom0.export import render
from vminterface.dom0.export.export import export
from vminterface.dom0.inventory.targets import Targets
from vminterface.dom0.push import push
from vminterface.dom0.push.outcome import Outcome
from vminterface.errors import ConnectionLost, InvalidValue

ZONE = "Asia/Tokyo"
#: The VMs that the host knows.
VMS = {"R2": ["personal", "work"], "R3": ["personal", "work"], "R4": ["personal", "template", "work"]}


@pytest.fixture(scope="module", params=["R2", "R3", "R4"])
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with running(tmp_path_factory.mktemp("lab"), release=request.param) as made:
        yield made


@pytest.fixture(scope="module", params=["namespaces", "folders"])
def r4(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with running(tmp_path_factory.mktemp("r4"), release="R4", namespaces=request.param == "namespaces") as made:
        yield made


def set_zone(vm: str, name: str) -> Outcome:
    """Push a time zone, as the states do."""
    with Targets() as targets:
        [outcome] = push.push([VMSettings.parse(vm, {"timezone": name})], targets)
    return outcome


def zone(lab: Lab, vm: str) -> str:
    return os.readlink(lab.paths.root(vm) / "etc/localtime").partition("zoneinfo/")[2]


def told(vm: str, name: str) -> bytes:
    """Return what *vm* is told, wherever that is."""
    with Targets() as targets:
        target = targets.one(vm)
        return target.store.read(target.path(name))


def test_a_push_reaches_the_vm_and_is_acknowledged_on_its_releases_channel(lab: Lab) -> None:
    release = lab.ask("status")["release"]
    with Targets() as targets:
        assert targets.one("work").store.channel == ("xenstore" if release == "R2" else "qubesdb")
    outcome = set_zone("work", ZONE)
    assert outcome.error is None
    assert zone(lab, "work") == ZONE
    assert zone(lab, "personal") != ZONE
    assert told("work", "qubes-timezone") == ZONE.encode()


def test_only_r2_has_settings_in_the_xenstore(lab: Lab) -> None:
    set_zone("work", ZONE)
    status = lab.ask("status")
    with XenStore.open(status["socket"]) as store:
        there = store.exists(f"/local/domain/{status['vms']['work']['domid']}/qubes-timezone")
    assert there is (status["release"] == "R2")
    assert (lab.paths.root("work") / "run/qubes/qubesdb.sock").exists() is (status["release"] != "R2")


def test_an_export_that_is_pushed_back_changes_nothing(lab: Lab) -> None:
    set_zone("work", ZONE)
    with Targets() as targets:
        raw = {"services": {"cups": "on", "own": "off"}, "vm_config": {"mode": "a: b # {{ c }}"}, "debug": "on"}
        [outcome] = push.push([VMSettings.parse("work", raw)], targets)
        assert outcome.error is None
        exports = export(targets)
        assert {one.vm: one.error for one in exports} == dict.fromkeys([*VMS[lab.ask("status")["release"]]], "")
        pillar = pillaryaml.load("exported", render.as_yaml(exports))
        work = pillar["qubes"]["vms"]["work"]
        assert (work["timezone"], work["services"]["cups"], work["vm_config"]) == (ZONE, True, raw["vm_config"])
        settings = parse_pillar(pillar)
        assert [(one.error, one.changes) for one in push.push(settings, targets)] == [(None, {})] * len(settings)


def test_memory_is_told_in_the_xenstore_on_every_release(lab: Lab) -> None:
    status = lab.ask("status")
    path = f"/local/domain/{status['vms']['work']['domid']}/memory/target"
    with XenStore.open(status["socket"]) as store:
        assert int(store.read(path)) > 0


def test_dom0_tells_an_r4_vm_its_name_and_user(r4: Lab) -> None:
    assert (told("work", "name"), told("work", "default-user")) == (b"work", b"user")
    assert (r4.paths.root("work") / "etc/hostname").read_text() == "work\n"


def test_each_vm_has_a_qubesdb_of_its_own(r4: Lab) -> None:
    set_zone("work", ZONE)
    assert told("work", "qubes-timezone") == ZONE.encode()
    assert told("personal", "qubes-timezone") != ZONE.encode()


def test_a_vm_that_starts_again_is_a_new_domain_with_a_new_qubesdb(r4: Lab) -> None:
    set_zone("personal", ZONE)
    domid = r4.ask("status")["vms"]["personal"]["domid"]
    with QubesDB.open("personal") as old:
        assert old.read("/qubes-timezone") == ZONE.encode()
        r4.ask("stop", "personal")
        with pytest.raises(ConnectionLost):
            old.read("/qubes-timezone")
    with Targets() as targets:
        assert set(targets.running()) == {"work"}
    r4.ask("start", "personal")
    r4.wait_for_agents(Deadline.after(60))
    assert r4.ask("status")["vms"]["personal"]["domid"] > domid
    # qubesd writes dom0's zone for every VM, and the agent takes the one that was asked for from what qubesd keeps.
    assert told("personal", "vm-config/vminterface-timezone") == ZONE.encode()
    assert zone(r4, "personal") == ZONE
    outcome = set_zone("personal", "Europe/Berlin")
    assert outcome.error is None
    assert zone(r4, "personal") == "Europe/Berlin"


def test_up_says_what_programs_of_dom0_need(r4: Lab) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lab", "--dir", str(r4.paths.folder), "status"], cwd=PROJECT, capture_output=True,
        text=True, timeout=30, env={**os.environ, "PYTHONPATH": str(PROJECT / "_utils")}, check=True,
    )  # fmt: skip
    assert done.stdout.startswith("release: R4")
    assert Path(r4.environment()["VMINTERFACE_QUBESDB_DIR"], "qubesdb.work.sock").exists()
    assert r4.environment()["PATH"].startswith(f"{r4.paths.programs}:")


def test_daemons_are_started_again_and_the_next_push_is_acknowledged(lab: Lab) -> None:
    restarts = {"R2": ["restart-store"], "R3": ["restart-store", "restart-qubesdb"]}
    release = lab.ask("status")["release"]
    for command in restarts.get(release, [*restarts["R3"], "restart-qubesd"]):
        lab.ask(command, "work" if command == "restart-qubesdb" else "")
        for name in ("Africa/Cairo", ZONE):
            assert set_zone("work", name).error is None, command
            assert zone(lab, "work") == name


def test_an_agent_that_was_killed_is_another_one_then(lab: Lab) -> None:
    log = lab.paths.vm_log("work")
    before = log.read_text().count("vminterface agent: running")
    lab.ask("restart-agent", "work")
    until = Deadline.after(20)
    while log.read_text().count("vminterface agent: running") == before:
        assert not until.passed
        time.sleep(0.05)
    assert set_zone("work", "Africa/Cairo").error is None
    assert zone(lab, "work") == "Africa/Cairo"


def test_what_a_release_has_not_cannot_be_started_again(lab: Lab) -> None:
    release = lab.ask("status")["release"]
    if release == "R2":
        with pytest.raises(InvalidValue, match="work has no QubesDB"):
            lab.ask("restart-qubesdb", "work")
    if release != "R4":
        with pytest.raises(InvalidValue, match="there is no qubesd here"):
            lab.ask("restart-qubesd")
    with pytest.raises(InvalidValue, match="nobody"):
        lab.ask("restart-agent", "nobody")
