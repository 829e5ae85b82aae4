"""Where a VM of a host with QubesDB is met: it waits for one that starts, and names a QubesDB that is dead.

A real xenstored knows the domains; the QubesDBs are the lab's. The order at a start is that of Qubes R4: the domain,
then the socket, then the VM.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab.xenstored.fakexen import missing
from tests.support.dom0 import Dom0
from tests.support.qubesdb import QubesHost
from tests.support.stopwatch import Stopwatch
from tests.support.stores import need
from vminterface.channel.xenstore.store import XenStore
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.inventory import observed as state
from vminterface.dom0.inventory import targets
from vminterface.dom0.inventory.targets import Targets
from vminterface.dom0.push.push import diff, push
from vminterface.dom0.reports import devices
from vminterface.dom0.results import known
from vminterface.dom0.results.states import keys as states
from vminterface.errors import ConnectionLost, VMNotRunning, VMStarting


@dataclass
class Host:
    """Dom0 of R4: ``other`` runs; what else there is, a test says."""

    xen: Dom0
    qubes: QubesHost

    def targets(self) -> Targets:
        return Targets(self.xen.store, qubesdb_folder=str(self.qubes.folder))


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    need(missing())
    with Dom0(tmp_path / "x") as xen, QubesHost(tmp_path / "q") as qubes:
        xen.start_vm("other")
        qubes.start_vm("other")
        yield Host(xen, qubes)


def settings(vm: str = "work", timeout: float = 1.0, **more: object) -> VMSettings:
    return VMSettings.parse(vm, {"timezone": "Asia/Tokyo", "timeout": timeout, **more})


def unreachable() -> XenStore:
    raise ConnectionLost("/run/xenstored/socket: Connection refused") from ConnectionRefusedError()


@pytest.mark.parametrize("channel", ["auto", "qubesdb"])
def test_a_vm_that_starts_gets_its_keys_in_its_qubesdb_once_it_has_one(host: Host, channel: str) -> None:
    host.xen.start_vm("work")
    threading.Timer(0.5, host.qubes.start_vm, ["work"]).start()
    with host.targets() as targets:
        work, other = push([settings(timeout=20, channel=channel), settings("other")], targets)
    assert work.ok
    assert set(work.changes) == {"timezone"}
    assert other.ok
    assert host.qubes.read("work", "qubes-timezone") == "Asia/Tokyo"
    assert host.xen.read("work", "qubes-timezone") is None


@pytest.mark.parametrize("run", [push, diff])
def test_one_that_gets_none_in_time_is_an_error_and_holds_up_no_other(host: Host, run: Callable[..., Any]) -> None:
    host.xen.start_vm("work")
    started = Stopwatch()
    with host.targets() as targets:
        work, other = run([settings(), settings("other")], targets)
    started.check(3)
    assert isinstance(work.error, VMStarting)
    assert work.comment() == "work is starting: it does not have a QubesDB yet (waited for 0.5 s)"
    assert (work.changes, work.running) == ({}, True)
    assert set(other.changes) == {"timezone"}
    assert host.xen.read("work", "qubes-timezone") is None


def test_a_firewall_waits_for_a_provider_that_starts(host: Host) -> None:
    host.xen.start_vm("work")
    firewall = {"netvm": "work", "ip": "10.137.0.9", "policy": "drop"}
    one = VMSettings.parse("other", {"firewall": firewall, "confirm": False, "timeout": 20})
    threading.Timer(0.5, host.qubes.start_vm, ["work"]).start()
    with host.targets() as targets:
        (outcome,) = push([one], targets)
    assert outcome.ok
    assert host.qubes.read("work", "qubes-firewall/10.137.0.9/policy") == "drop"


def test_who_asks_for_a_vm_that_starts_is_told_so_and_who_asks_for_all_is_not(host: Host) -> None:
    host.xen.start_vm("work")
    with host.targets() as targets:
        assert targets.running() == {"other": 1}
        for ask in (lambda: targets.one("work"), lambda: devices.read(targets, ["work"])):
            with pytest.raises(VMStarting, match=r"^work is starting: it does not have a QubesDB yet$"):
                ask()
        assert list(devices.read(targets)) == ["other"]
        assert state.observe(targets, targets.running())[1] == {}


def test_a_vm_whose_settings_name_the_xenstore_is_met_there(host: Host) -> None:
    host.xen.start_vm("work")
    with host.targets() as targets:
        (work,) = push([settings(channel="xenstore")], targets)
        assert work.ok
        assert targets.running(["work"]) == {"other": 1, "work": 2}
    assert host.xen.read("work", "qubes-timezone") == "Asia/Tokyo"


@pytest.fixture
def found_by_environment(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """What opens its stores itself finds those of the host."""
    monkeypatch.setenv("XENSTORED_PATH", host.xen.path)
    monkeypatch.setenv("VMINTERFACE_QUBESDB_DIR", str(host.qubes.folder))


def test_a_start_is_the_same_one_while_the_xenstore_cannot_be_reached(host: Host) -> None:
    with host.targets() as found, Targets(unreachable, qubesdb_folder=str(host.qubes.folder)) as blind:
        assert found.starts() == blind.starts()
        assert list(found.starts()) == ["other"]


def test_bare_keys_wait_for_a_vm_that_starts(host: Host, found_by_environment: None) -> None:
    host.xen.start_vm("work")
    threading.Timer(0.5, host.qubes.start_vm, ["work"]).start()
    state = states.present("qubesdb", "/t", "x", "work", require_running=False, test=False)
    assert (state["result"], list(state["changes"])) == (True, ["/t"]), state
    assert host.qubes.read("work", "t") == "x"


@pytest.mark.parametrize("test", [False, True])
def test_a_state_of_bare_keys_fails_where_the_vm_gets_no_qubesdb_in_time(
    host: Host, found_by_environment: None, test: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(targets, "VM_TIMEOUT", 0.5)
    host.xen.start_vm("work")
    state = states.present("qubesdb", "/t", "x", "work", require_running=False, test=test)
    assert (state["result"], state["changes"]) == (False, {})
    assert state["comment"] == "work is starting: it does not have a QubesDB yet (waited for 0.5 s)"


@pytest.fixture
def dead(host: Host) -> Host:
    """The daemon of ``work`` in dom0 has died while the VM runs."""
    host.xen.start_vm("work")
    host.qubes.start_vm("work")
    host.qubes.stop_vm("work")
    return host


DEAD = r"^work runs, but its QubesDB in dom0 is dead: .*/qubesdb\.work\.sock refuses connections"


def test_a_running_vm_whose_qubesdb_is_dead_is_an_error_of_its_own(dead: Host) -> None:
    with dead.targets() as targets:
        assert targets.running() == {"other": 1, "work": 2}
        for run in (diff, push):
            work, other = run([settings(), settings("other")], targets)
            assert isinstance(work.error, ConnectionLost)
            assert re.match(DEAD, str(work.error))
            assert other.ok
        with pytest.raises(ConnectionLost, match=DEAD):
            targets.one("work")
        states, errors = state.observe(targets, targets.running())
        assert list(states) == ["other"]
        assert list(errors) == ["work"]
        assert list(known.read(targets)[1]) == ["work"]
        report = devices.read(targets)
        assert report["other"].warnings == []
        assert report["work"].warnings[0].startswith("work: runs, but its QubesDB in dom0 is dead: ")
        assert (report["work"].unread, report["other"].unread) == (True, False)


UNKNOWN = "and the XenStore, which knows whether it runs, cannot be reached"


def test_it_is_not_called_stopped_where_the_xenstore_cannot_say_so_either(dead: Host) -> None:
    with Targets(unreachable, qubesdb_folder=str(dead.qubes.folder)) as found:
        (outcome,) = push([settings()], found)
    assert outcome.comment().endswith(f"refuses connections, {UNKNOWN}")
    assert outcome.running


def test_nor_is_a_vm_without_a_qubesdb_that_may_be_starting(host: Host) -> None:
    host.qubes.start_vm("other")
    with Targets(unreachable, qubesdb_folder=str(host.qubes.folder)) as found:
        (outcome,) = push([settings()], found)
    assert outcome.comment() == f"work: it has no QubesDB, {UNKNOWN}"


def test_a_socket_that_is_left_of_a_vm_that_does_not_run_is_no_error(dead: Host) -> None:
    dead.xen.stop_vm("work")
    with dead.targets() as targets:
        (outcome,) = push([settings()], targets)
        assert (outcome.ok, outcome.running) == (True, False)
        with pytest.raises(VMNotRunning, match="there is no running VM"):
            targets.one("work")
        assert targets.running() == {"other": 1}
