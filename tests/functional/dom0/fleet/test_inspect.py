"""The record of a host with a VM of each state, through the real xenstored."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.xenstored.fakexen import missing
from tests.support.dom0 import Dom0
from tests.support.stores import need
from vminterface.deadline import Deadline
from vminterface.dom0.desired.settings import parse_pillar
from vminterface.dom0.fleet.inspect import host_record
from vminterface.dom0.fleet.record import HostRecord
from vminterface.dom0.inventory.targets import Targets
from vminterface.dom0.push.grants import grant
from vminterface.dom0.push.push import push
from vminterface.errors import VMInterfaceError

NAMES = ("converged", "drifted", "refusing", "hanging", "bare")
PILLAR: dict[str, Any] = {
    "qubes": {
        "defaults": {"timezone": "Europe/Warsaw", "timeout": 0.5},
        "vms": {**{vm: {} for vm in NAMES}, "halted": {}, "needed": {"require_running": True}},
    }
}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the host's clock says; a test sets it."""
    now = [1000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    return now


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Dom0]:
    need(missing())
    monkeypatch.setenv("VMINTERFACE_LOCK_DIR", str(tmp_path / "locks"))
    with Dom0(tmp_path / "x") as made:
        for vm in (*NAMES, "stranger"):
            made.start_vm(vm)
        made.agent("converged")
        made.agent("drifted")
        made.agent("refusing", reply=lambda setting, inputs: "no such zone here" if "timezone" in inputs else "")
        made.agent("hanging", reply=lambda setting, inputs: None if "timezone" in inputs else "")
        yield made


def read(host: Dom0, pillar: Any = PILLAR) -> HostRecord:
    return host_record(lambda: parse_pillar(pillar), host.targets)


def test_each_vm_has_its_state_with_reason_and_age(host: Dom0, clock: list[float]) -> None:
    with host.targets() as targets:
        push(parse_pillar(PILLAR), targets)
    clock[0] = 2000.0
    with host.store() as store:
        store.write(f"/local/domain/{host.domids['drifted']}/qubes-timezone", b"\x1b[2JUTC")
        grant(store, host.domids["converged"], f"/local/domain/{host.domids['converged']}/")
        store.write(f"/local/domain/{host.domids['converged']}/memory/static-max", b"400000")
    with host.guest_store("converged") as guest:
        guest.write("memory/meminfo", b"100000")
    record = read(host)
    assert {vm.name: vm.state for vm in record.vms.values()} == {
        "bare": "converged",
        "converged": "converged",
        "drifted": "drifted",
        "halted": "not_running",
        "hanging": "hung",
        "needed": "not_running",
        "refusing": "refused",
        "stranger": "not_in_pillar",
    }
    assert record.counts["no_agent"] == 2  # bare and stranger
    assert not record.well
    vm = record.vms["converged"]
    assert (vm.agent, vm.pushed, vm.acknowledged, vm.used_share) == ("0", 1000, 1000, 0.25)
    assert [(one.type, one.status, one.since) for one in vm.conditions] == [
        ("Running", True, 2000), ("Applied", True, 2000), ("AgentUp", True, 2000), ("Pushed", True, 1000)
    ]  # fmt: skip
    assert record.vms["drifted"].drift == {"timezone": {"store": "\\x1b[2JUTC", "pillar": "Europe/Warsaw"}}
    refused = record.vms["refusing"]
    assert refused.message.startswith("refusing refused timezone: no such zone here")
    assert (refused.pushed, refused.condition("Pushed").since) == (None, 1000)  # type: ignore[union-attr]
    assert "did not acknowledge timezone within 0.5 s" in record.vms["hanging"].message
    assert HostRecord.parse(record.as_data()) == record


def test_what_stays_as_it_is_keeps_the_moment_since_which_it_is_so(host: Dom0, clock: list[float]) -> None:
    def since() -> Any:
        applied = read(host).vms["drifted"].condition("Applied")
        assert applied is not None
        return applied.reason, applied.since

    assert since() == ("Drifted", 1000)
    clock[0] = 1500.0
    assert since() == ("Drifted", 1000)
    with host.targets() as targets:
        push(parse_pillar(PILLAR, vm="drifted"), targets)
    assert since() == ("Converged", 1500)


def test_a_wrong_pillar_is_a_part_of_the_record_and_so_are_the_vms_that_run(host: Dom0) -> None:
    record = read(host, {"qubes": {"vms": {"work": {"timezone": 5, "debug": "x"}}}})
    assert len(record.pillar_errors) == 2
    assert record.pillar_errors[0].startswith("qubes:vms:work:timezone: ")
    assert {vm.state for vm in record.vms.values()} == {"unknown"}
    assert set(record.vms) == {*NAMES, "stranger"}


def test_only_drift_is_told_from_other_trouble(host: Dom0) -> None:
    some = {"qubes": {"defaults": {"timezone": "Europe/Warsaw"}, "vms": {"drifted": {}, "converged": {}}}}
    assert read(host, some).only_drifted
    assert not read(host, {"qubes": {"vms": {"hanging": {"timezone": 5}}}}).only_drifted


def test_a_store_that_is_gone_is_a_part_of_the_record(host: Dom0) -> None:
    host.daemon.stop()
    record = read(host)
    assert record.vms == {}
    assert host.path in record.error
    assert HostRecord.parse(record.as_data()) == record


def test_a_store_that_hangs_costs_the_time_that_is_given_and_no_more(host: Dom0) -> None:
    assert host.daemon.process is not None
    host.daemon.process.send_signal(signal.SIGSTOP)
    try:
        began = Deadline.after(10)
        record = host_record(lambda: parse_pillar(PILLAR), lambda: Targets(host.store, deadline=Deadline.after(0.3)))
    finally:
        host.daemon.process.send_signal(signal.SIGCONT)
    assert record.error
    assert began.remaining > 5


def test_an_error_of_the_pillar_does_not_hide_one_of_the_store(host: Dom0) -> None:
    def gone() -> Targets:
        raise VMInterfaceError("no store \x07")

    record = host_record(lambda: parse_pillar({}), gone)
    assert record.pillar_errors
    assert record.error == "no store \\x07"
