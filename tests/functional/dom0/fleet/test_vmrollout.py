"""A rollout over the VMs of real stores: xenstored, the QubesDBs of a host, and qubesd's own keeping."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.xenstored.fakexen import missing
from tests.support.dom0 import Dom0
from tests.support.lab_store import wait_until
from tests.support.qubesdb import QubesHost
from tests.support.rpcstandin import StandIn
from tests.support.stores import need
from tests.support.xrandr import fake_xrandr
from vminterface import keys
from vminterface.channel.qrexec.client import Qrexec
from vminterface.dom0.desired.settings import VMSettings, parse_pillar
from vminterface.dom0.fleet import vmrollout
from vminterface.dom0.fleet.journal import RolloutExists
from vminterface.dom0.history.log import History
from vminterface.dom0.inventory import observed
from vminterface.dom0.services import monitors
from vminterface.values.monitor import MonitorLayout

VMS = [f"vm{number:02}" for number in range(12)]
FORMER = {"timezone": "Asia/Tokyo", "services:cups": "0"}
PILLAR: dict[str, dict[str, Any]] = {
    "qubes": {
        "defaults": {"timezone": "Europe/Warsaw", "services": {"cups": True}, "debug": False, "timeout": 3},
        "vms": {vm: {} for vm in VMS},
    }
}
LIBRARY = str(Path(vmrollout.__file__).parents[3])


def picky(setting: str, inputs: dict[str, str]) -> str:
    """The reply of an agent that takes no such zone."""
    return "no" if "Europe/Warsaw" in inputs.values() else ""


@pytest.fixture(params=["xenstore", "qubesdb"])
def host(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A host of each kind with twelve VMs that have FORMER; vm07 takes no time zone of Europe."""
    if request.param == "xenstore":
        need(missing())
    monkeypatch.setenv("VMINTERFACE_LOCK_DIR", str(tmp_path / "locks"))
    monkeypatch.setenv("VMINTERFACE_ROLLOUTS", str(tmp_path / "rollouts"))
    monkeypatch.setenv("VMINTERFACE_LOG_DIR", str(tmp_path / "history"))
    with (Dom0 if request.param == "xenstore" else QubesHost)(tmp_path / "h") as made:
        for vm in VMS:
            made.start_vm(vm)
            made.agent(vm, reply=picky if vm == "vm07" else lambda setting, inputs: "")
        with made.targets() as targets:
            for target in targets.find(VMS).values():
                for field, text in FORMER.items():
                    target.store.write(target.path(keys.for_field(field).name), text.encode())
        yield made


def settings() -> list[VMSettings]:
    return parse_pillar(PILLAR)


def held(host: Any) -> dict[str, dict[str, str]]:
    """What the keys of each VM hold of the pillar's fields."""
    with host.targets() as targets:
        states, errors = observed.observe(targets, VMS, fields=("timezone", "services:cups", "debug"))
    assert not errors
    return {vm: state.texts for vm, state in states.items()}


NEW = {"timezone": "Europe/Warsaw", "services:cups": "1", "debug": "0"}


def test_a_refusal_stops_it_and_its_wave_has_what_it_had(host: Any) -> None:
    found = vmrollout.begin("one", settings(), canary=["vm11"], sizes=[4], open_targets=host.targets)
    assert found["ended"] == "stopped"
    assert found["units"]["vm07"]["state"] == "failed"
    assert found["units"]["vm07"]["message"].startswith("vm07 refused timezone: no")
    states = {vm: one["state"] for vm, one in found["units"].items()}
    assert {vm for vm, state in states.items() if state == "restored"} == {"vm04", "vm05", "vm06"}
    done = {vm for vm, state in states.items() if state == "done"}
    assert done == {"vm11", "vm00", "vm01", "vm02", "vm03"}
    assert held(host) == {vm: NEW if vm in done else FORMER for vm in VMS}
    # Whoever reads the history sees that these have their former zone again.
    last = next(History().newest_first())
    assert set(last["vms"]) == {"vm04", "vm05", "vm06"}
    assert last["vms"]["vm04"]["changes"]["timezone"] == {"old": "Europe/Warsaw", "new": "Asia/Tokyo"}


def test_it_is_resumed_once_the_cause_is_gone_and_taken_back_as_a_whole(host: Any) -> None:
    vmrollout.begin("one", settings(), sizes=["50%"], open_targets=host.targets)
    host.guests[VMS.index("vm07")].reply = lambda setting, inputs: ""
    assert vmrollout.resume("one", settings(), open_targets=host.targets)["ended"] == "complete"
    assert held(host) == dict.fromkeys(VMS, NEW)
    found = vmrollout.restore("one", settings(), open_targets=host.targets)
    assert {one["state"] for one in found["units"].values()} == {"restored"}
    assert held(host) == dict.fromkeys(VMS, FORMER)


def test_what_another_program_sets_meanwhile_stays_and_is_reported(host: Any) -> None:
    vmrollout.begin("one", settings()[:2], open_targets=host.targets)
    with host.targets() as targets:
        target = targets.find(["vm00"])["vm00"]
        target.store.write(target.path("qubes-timezone"), b"Europe/Paris")
    found = vmrollout.restore("one", settings(), open_targets=host.targets)
    assert found["units"]["vm00"] == {
        "wave": 1,
        "state": "not_restored",
        "message": "vm00: timezone was set by another program meanwhile and is kept",
    }
    assert held(host)["vm00"] == FORMER | {"timezone": "Europe/Paris"}
    assert held(host)["vm01"] == FORMER


def test_a_vm_that_cannot_be_compared_is_known_before_its_wave_is_touched(host: Any) -> None:
    some = [*settings()[:3], VMSettings.parse("gone", {"timezone": "UTC", "require_running": True})]
    found = vmrollout.begin("one", some, sizes=[2], open_targets=host.targets)
    assert found["ended"] == "stopped"
    assert {vm: one["state"] for vm, one in found["units"].items()} == {
        "vm00": "done", "vm01": "done", "vm02": "waiting", "gone": "failed"
    }  # fmt: skip
    assert held(host)["vm02"] == FORMER


def test_a_name_is_used_once(host: Any) -> None:
    vmrollout.begin("one", settings()[:1], open_targets=host.targets)
    with pytest.raises(RolloutExists):
        vmrollout.begin("one", settings()[:1], open_targets=host.targets)


ONE = [{"width": 1280, "height": 800, "x": 0, "y": 0}]
TWO = [{"width": 1920, "height": 1080, "x": 0, "y": 0}, {"width": 800, "height": 600, "x": 1920, "y": 0}]


@pytest.fixture
def screens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A host with the VMs work and personal, which show one monitor; returns it, and a function for what a VM shows."""
    need(missing())
    for name in ("LOCK_DIR", "ROLLOUTS", "LOG_DIR"):
        monkeypatch.setenv(f"VMINTERFACE_{name}", str(tmp_path / name))
    (tmp_path / "qrexec").mkdir()
    stand_in = StandIn(tmp_path / "qrexec")
    monkeypatch.setenv("VMINTERFACE_QREXEC", stand_in.client)
    with Dom0(tmp_path / "h") as made:
        for vm in ("work", "personal"):
            stand_in.machine(vm)
            fake_xrandr(stand_in, vm)
            made.start_vm(vm)
            made.agent(vm)
            show(vm, ONE)
        yield made


def show(vm: str, layout: list[dict[str, int]]) -> None:
    monitors.set_layout(Qrexec(), vm, MonitorLayout.from_mappings(layout))


def shown(vm: str) -> list[dict[str, int]]:
    return monitors.as_mappings(monitors.of_vm(Qrexec(), vm).layout)


def test_monitors_are_given_back_with_their_wave_unless_somebody_has_set_others(screens: Dom0) -> None:
    pillar = {"defaults": {"monitors": TWO, "timezone": "Europe/Warsaw"}, "vms": {"work": {}, "personal": {}}}
    desired = parse_pillar({"qubes": pillar})
    screens.guests[1].reply = picky
    found = vmrollout.begin("one", desired, sizes=[2], open_targets=screens.targets)
    assert {vm: one["state"] for vm, one in found["units"].items()} == {"work": "restored", "personal": "failed"}
    assert (shown("work"), shown("personal")) == (ONE, ONE)
    assert screens.read("work", "qubes-timezone") is None

    screens.guests[1].reply = lambda setting, inputs: ""
    assert vmrollout.resume("one", desired, open_targets=screens.targets)["ended"] == "complete"
    assert (shown("work"), shown("personal")) == (TWO, TWO)
    own = [{"width": 1024, "height": 768, "x": 0, "y": 0}]
    show("work", own)
    found = vmrollout.restore("one", desired, open_targets=screens.targets)
    assert {vm: (one["state"], one["message"]) for vm, one in found["units"].items()} == {
        "work": ("not_restored", "work: monitors was set by another program meanwhile and is kept"),
        "personal": ("restored", found["units"]["personal"]["message"]),
    }
    assert (shown("work"), shown("personal")) == (own, ONE)
    assert {screens.read(vm, "qubes-timezone") for vm in ("work", "personal")} == {None}


KILLED = """
import os, sys
from vminterface.dom0.desired.settings import parse_pillar
from vminterface.dom0.fleet import vmrollout
vmrollout.begin("one", parse_pillar({pillar!r}), sizes=[4])
"""


def test_killed_in_the_middle_of_a_wave_it_is_resumed_and_no_other_wave_was_touched(
    host: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent of vm05 is silent, so that the wave has been written and is waited for when the program is killed."""
    host.guests[VMS.index("vm05")].reply = lambda setting, inputs: None
    folder = (
        {"VMINTERFACE_QUBESDB_DIR": str(host.folder)} if isinstance(host, QubesHost) else {"XENSTORED_PATH": host.path}
    )
    slow = {"qubes": {**PILLAR["qubes"], "defaults": {**PILLAR["qubes"]["defaults"], "timeout": 60}}}
    program = subprocess.Popen(
        [sys.executable, "-c", KILLED.format(pillar=slow)], env={**os.environ, **folder, "PYTHONPATH": LIBRARY}
    )
    try:
        assert wait_until(lambda: held(host)["vm06"].get("timezone") == "Europe/Warsaw", 30)
        # As dom0's QubesDB ends when it writes to a client that has gone: by the reply to this, it has written all.
        program.send_signal(signal.SIGSTOP)
        for guest in host.guests:
            guest.stop()
        held(host)
    finally:
        program.send_signal(signal.SIGKILL)
        program.wait()
    now = held(host)
    assert all(texts in (FORMER, NEW) for texts in now.values())
    assert {vm for vm, texts in now.items() if texts != FORMER} <= set(VMS[:8])
    for vm in VMS:
        host.agent(vm)
    found = vmrollout.resume("one", settings(), open_targets=host.targets)
    assert found["ended"] == "complete"
    assert held(host) == dict.fromkeys(VMS, NEW)
