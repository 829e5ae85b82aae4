"""Monitors are pushed with the keys: one outcome, one deadline and one way back for a VM, and no call to any other."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.xenstored import fakexen
from tests.support.dom0 import Dom0
from tests.support.rpcstandin import StandIn, until
from tests.support.xrandr import fake_xrandr
from vminterface.channel.qrexec.client import Qrexec
from vminterface.dom0.desired.settings import parse_pillar
from vminterface.dom0.push.outcome import Outcome
from vminterface.dom0.push.push import diff, push
from vminterface.dom0.results import returns
from vminterface.dom0.services import commands, monitors
from vminterface.errors import DeadlineExceeded, Interrupted, ProgramMissing, SettingRefused, VMNotRunning
from vminterface.values.change import Change
from vminterface.values.monitor import MonitorLayout

pytestmark = pytest.mark.skipif(bool(fakexen.missing()), reason=fakexen.missing())

ONE = [{"width": 1280, "height": 800, "x": 0, "y": 0}]
TWO = [{"width": 1920, "height": 1080, "x": 0, "y": 0}, {"width": 800, "height": 600, "x": 1920, "y": 0}]
#: Seconds that suffice for a VM's real handlers on a busy machine.
PATIENT = 60
ZONE = "Europe/Warsaw"
WORK = {"timezone": ZONE, "monitors": TWO, "timeout": PATIENT}


@pytest.fixture
def dom0(tmp_path: Path, vms: StandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[Dom0]:
    monkeypatch.setenv("VMINTERFACE_QREXEC", vms.client)
    with Dom0(tmp_path / "x") as host:
        yield host


@pytest.fixture
def screens(dom0: Dom0, vms: StandIn) -> StandIn:
    """The stand-in for qrexec, with a running VM called work that has screens and an agent."""
    vms.machine("work")
    fake_xrandr(vms, "work")
    dom0.start_vm("work")
    return vms


def replace(vms: StandIn, service: str, script: str, vm: str = "work") -> None:
    """Have *vm* answer *service* by *script* in place of the real handler."""
    (vms.folder / "vms" / vm / service).unlink(missing_ok=True)
    vms.handler(vm, service, script)


def run(
    dom0: Dom0,
    raw: dict[str, object],
    *,
    test: bool = False,
    only: list[str] | None = None,
    stop: threading.Event | None = None,
) -> dict[str, Outcome]:
    """Push the pillar *raw*, VMs by name; return what came of each."""
    desired = parse_pillar({"qubes": {"vms": raw}}, only=only)
    with dom0.targets() as targets:
        found = diff(desired, targets) if test else push(desired, targets, stop=stop)
    return {outcome.vm: outcome for outcome in found}


def shown(vms: StandIn, vm: str = "work") -> list[dict[str, int]]:
    return monitors.as_mappings(monitors.of_vm(Qrexec(vms.client), vm).layout)


def give(vms: StandIn, layout: list[dict[str, int]]) -> None:
    monitors.set_layout(Qrexec(vms.client), "work", MonitorLayout.from_mappings(layout))


def test_keys_and_monitors_are_one_push_and_test_mode_says_the_same(dom0: Any, screens: Any) -> None:
    dom0.agent("work")
    changes = {"timezone": Change("default", ZONE), "monitors": Change("none", TWO)}
    would = run(dom0, {"work": WORK}, test=True)["work"]
    assert (would.error, would.fields) == (None, changes)
    assert (dom0.read("work", "qubes-timezone"), shown(screens)) == (None, [])
    done = run(dom0, {"work": WORK})["work"]
    assert (done.error, done.fields) == (None, changes)
    assert done.comment() == "work: monitors, timezone set"
    assert (dom0.read("work", "qubes-timezone"), shown(screens)) == (ZONE, TWO)
    for test in (True, False):
        again = run(dom0, {"work": WORK}, test=test)["work"]
        assert (again.error, again.changes) == (None, {})


def test_a_refused_layout_takes_the_keys_of_the_push_back(dom0: Any, screens: Any) -> None:
    dom0.agent("work")
    replace(screens, monitors.SERVICE, "cat >/dev/null; echo no memory >&2; exit 1")
    outcome = run(dom0, {"work": WORK})["work"]
    assert isinstance(outcome.error, SettingRefused)
    assert outcome.comment() == (
        "work: monitors: qubes.SetMonitorLayout in work: exit status 1: no memory; former values restored"
    )
    assert (outcome.changes, dom0.read("work", "qubes-timezone"), shown(screens)) == ({}, None, [])


def test_keys_that_the_agent_refuses_take_the_former_layout_back(dom0: Any, screens: Any) -> None:
    give(screens, ONE)
    dom0.agent("work", lambda setting, inputs: "no such zone here")
    outcome = run(dom0, {"work": WORK})["work"]
    assert isinstance(outcome.error, SettingRefused)
    assert "no such zone here" in outcome.comment()
    assert outcome.restored
    assert (outcome.changes, dom0.read("work", "qubes-timezone"), shown(screens)) == ({}, None, ONE)


def test_a_layout_that_is_set_in_part_is_put_back(dom0: Any, screens: Any) -> None:
    give(screens, ONE)
    count = screens.folder / "count"
    service = screens.folder / "vms/work" / monitors.SERVICE
    real = service.rename(service.with_name("real"))
    # The first call fails after it has done it all; the second one, which puts back, does not.
    screens.handler("work", "fails", "")
    service.write_text(f"#!/bin/sh\n{real} || exit\n[ -e {count} ] || {{ touch {count}; exit 3; }}\n")
    service.chmod(0o755)
    outcome = run(dom0, {"work": {"monitors": TWO, "timeout": PATIENT}})["work"]
    assert outcome.comment() == "work: monitors: qubes.SetMonitorLayout in work: exit status 3; former values restored"
    assert shown(screens) == ONE


def test_a_vm_that_had_no_monitors_cannot_be_given_these_back_and_says_so(dom0: Any, screens: Any) -> None:
    dom0.agent("work", lambda setting, inputs: "no such zone here")
    outcome = run(dom0, {"work": WORK})["work"]
    assert outcome.restored is False
    assert outcome.comment().endswith("; the former monitors could not be restored: the VM reported none")
    assert (dom0.read("work", "qubes-timezone"), shown(screens)) == (None, TWO)


def test_monitors_can_be_pushed_alone(dom0: Any, screens: Any) -> None:
    dom0.agent("work")
    outcome = run(dom0, {"work": WORK, "plain": {"timezone": ZONE}}, only=["monitors"])["work"]
    assert (outcome.error, outcome.fields) == (None, {"monitors": Change("none", TWO)})
    assert (dom0.read("work", "qubes-timezone"), shown(screens)) == (None, TWO)
    assert run(dom0, {"work": WORK}, only=["timezone"])["work"].fields == {"timezone": Change("default", ZONE)}


@pytest.mark.parametrize("test", [True, False])
def test_a_host_without_qrexec_fails_those_vms_alone_that_have_monitors(
    dom0: Any, tmp_path: Any, monkeypatch: Any, test: Any
) -> None:
    monkeypatch.delenv("VMINTERFACE_QREXEC")
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    dom0.start_vm("work")
    dom0.start_vm("plain")
    found = run(dom0, {"work": WORK, "plain": {"timezone": ZONE}, "off": WORK}, test=test)
    for vm in ("work", "off"):
        assert isinstance(found[vm].error, ProgramMissing)
        assert "neither qrexec-client nor qrexec-client-vm is installed" in found[vm].comment()
    assert found["plain"].fields == {"timezone": Change("default", ZONE)}
    assert dom0.read("work", "qubes-timezone") is None


@pytest.mark.parametrize("test", [True, False])
def test_a_vm_that_hangs_costs_its_own_time_and_has_nothing_written(dom0: Any, screens: Any, test: Any) -> None:
    dom0.agent("work")
    replace(screens, commands.EXEC, "exec sleep 1000", "hung")
    dom0.start_vm("hung")
    started = time.monotonic()
    found = run(dom0, {"hung": {**WORK, "timeout": 0.5}, "work": WORK}, test=test)
    assert time.monotonic() - started < PATIENT / 2
    assert isinstance(found["hung"].error, DeadlineExceeded)
    assert found["hung"].comment().startswith("hung: monitors: qubes.VMExec in hung: no reply within ")
    assert found["work"].error is None
    assert (dom0.read("hung", "qubes-timezone"), bool(found["work"].changes)) == (None, True)


def test_a_vm_that_hangs_while_it_is_given_them_loses_the_keys_too(dom0: Any, screens: Any) -> None:
    dom0.agent("work")
    replace(screens, monitors.SERVICE, "exec sleep 1000")
    outcome = run(dom0, {"work": {**WORK, "timeout": 5}})["work"]
    assert isinstance(outcome.error, DeadlineExceeded)
    assert outcome.comment().endswith("; the former monitors could not be restored")
    assert dom0.read("work", "qubes-timezone") is None


def test_vms_are_called_at_the_same_time(dom0: Any, vms: Any) -> None:
    names = ["a", "b", "c"]
    for vm in names:
        # None gets an end before all have begun.
        begun = " ".join(f"[ -e {vms.folder}/{other} ] &&" for other in names)
        replace(vms, commands.EXEC, f"touch {vms.folder}/{vm}; until {begun} true; do sleep 0.02; done", vm)
    found = run(dom0, {vm: {"monitors": ONE, "timeout": PATIENT} for vm in names}, test=True)
    assert [outcome.fields for outcome in found.values()] == [{"monitors": Change("none", ONE)}] * 3


def test_nobody_is_called_who_has_no_monitors(dom0: Any, screens: Any) -> None:
    run(dom0, {"work": {"timezone": ZONE}}, test=True)
    run(dom0, {"work": {"timezone": ZONE}})
    assert screens.ran() == []


def test_a_vm_is_asked_twice_at_most_and_once_where_nothing_differs(dom0: Any, screens: Any) -> None:
    dom0.agent("work")
    run(dom0, {"work": WORK})
    assert screens.ran() == [commands.EXEC, monitors.SERVICE, commands.EXEC]
    run(dom0, {"work": WORK})
    assert screens.ran()[3:] == [commands.EXEC]


@pytest.mark.parametrize("raw", [WORK, {"monitors": TWO}], ids=["keys too", "alone"])
def test_a_halted_vm_is_passed_over_unless_it_has_to_run(dom0: Any, screens: Any, raw: Any) -> None:
    outcome = run(dom0, {"off": raw})["off"]
    assert (outcome.ok, outcome.running, outcome.changes) == (True, False, {})
    assert outcome.comment().startswith("off is not running: its settings need a push after the next start")
    assert isinstance(run(dom0, {"off": {**raw, "require_running": True}})["off"].error, VMNotRunning)


def test_a_running_vm_that_qrexec_does_not_know_is_no_success(dom0: Any, vms: Any) -> None:
    dom0.start_vm("bare")
    outcome = run(dom0, {"bare": WORK})["bare"]
    assert isinstance(outcome.error, VMNotRunning)
    assert outcome.comment().startswith("bare: monitors: qubes.VMExec in bare: the VM is not running")
    assert dom0.read("bare", "qubes-timezone") is None


def test_dom0s_monitors_are_asked_for_once_and_only_for_vms_that_run(
    dom0: Any, screens: Any, tmp_path: Any, monkeypatch: Any
) -> None:
    program = tmp_path / "xrandr"
    program.write_text(
        f"#!/bin/sh\necho >> {tmp_path}/asked\necho 'eDP-1 connected primary 1280x800+0+0 (x) 0mm x 0mm'\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    desired = {"monitors": "from_dom0", "timeout": PATIENT}
    assert run(dom0, {"off": desired})["off"].ok
    assert not (tmp_path / "asked").exists()
    found = run(dom0, {"work": desired, "off": desired})
    assert found["work"].fields == {"monitors": Change("none", ONE)}
    assert (tmp_path / "asked").read_text() == "\n"
    program.write_text("#!/bin/sh\nexit 1\n")
    failed = run(dom0, {"work": desired, "off": desired}, test=True)
    assert failed["work"].comment() == "work: dom0's monitors: xrandr -q: exit status 1"
    assert failed["off"].ok


def test_an_interrupted_push_takes_both_back_at_once(dom0: Any, screens: Any) -> None:
    give(screens, ONE)
    service = screens.folder / "vms/work" / monitors.SERVICE
    real, begun = service.rename(service.with_name("real")), screens.folder / "begun"
    service.write_text(f"#!/bin/sh\n[ -e {begun} ] && exec {real}\n{real}; touch {begun}; exec sleep 1000\n")
    service.chmod(0o755)
    stop = threading.Event()

    def stop_once_begun() -> None:
        if until(begun.exists, 30):
            stop.set()

    threading.Thread(target=stop_once_begun, daemon=True).start()
    started = time.monotonic()
    outcome = run(dom0, {"work": WORK}, stop=stop)["work"]
    assert isinstance(outcome.error, Interrupted)
    assert time.monotonic() - started < PATIENT / 2
    assert dom0.read("work", "qubes-timezone") is None


def test_what_lies_over_each_other_is_noted(dom0: Any, screens: Any) -> None:
    outcome = run(dom0, {"work": {"monitors": ONE * 2, "timeout": PATIENT}})["work"]
    assert outcome.comment() == "work: monitors set; monitors 1 and 2 show the same area"


def test_drift_of_monitors_is_shown_as_the_pillar_has_them(dom0: Any, screens: Any) -> None:
    give(screens, ONE)
    found = run(dom0, {"work": {"monitors": TWO, "timeout": PATIENT}}, test=True)
    assert returns.drift_of(list(found.values())) == {"work": {"monitors": {"store": ONE, "pillar": TWO}}}
    assert returns.drift_of(list(found.values()), keys=True) == {"work": {"monitors": {"store": ONE, "pillar": TWO}}}
