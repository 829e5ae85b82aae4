"""The agent as a program of its own in a VM of Qubes R3 or R4: it finds its QubesDB, applies, and answers there."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.qubesdb import Daemons
from tests.support.stores import need
from tests.support.warm import WarmPython
from vminterface import keys
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.inventory import observed
from vminterface.dom0.inventory.targets import Targets
from vminterface.dom0.push.outcome import Outcome
from vminterface.dom0.push.push import push
from vminterface.errors import SettingRefused
from vminterface.vm.agent import agent as agent_module

LIBRARY = Path(agent_module.__file__).parents[3]


def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until *condition* holds, or fail."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "not so in time"
        time.sleep(0.01)


class VM:
    """A VM as a folder, whose QubesDB socket is where a VM has it."""

    def __init__(self, root: Path, dom0: Path) -> None:
        self.root = root
        self.dom0 = dom0
        for zone in ("Europe/Warsaw", "Asia/Tokyo", "UTC"):
            path = root / "usr/share/zoneinfo" / zone
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"TZif2" + bytes(40))
        (root / "etc").mkdir()
        (root / "etc/debian_version").write_text("12.0\n")
        (root / "run/qubes").mkdir(parents=True)
        self.daemons = Daemons(dom0, "work")
        self.agent: subprocess.Popen[bytes] | None = None
        self.start_daemons()

    def start_daemons(self) -> None:
        self.daemons.start()
        place = self.root / "run/qubes/qubesdb.sock"
        place.unlink(missing_ok=True)
        # The VM's own folder of sockets, as its mounts would show it.
        place.symlink_to(self.dom0 / "work/qubesdb.sock")

    def start_agent(self) -> None:
        self.agent = WarmPython(
            ["vminterface", "agent", "--root", str(self.root)],
            isolated=True,
            env={**os.environ, "PYTHONPATH": str(LIBRARY), "XENSTORED_PATH": str(self.root / "no-xenstore")},
            stderr=(self.root.parent / "agent.log").open("wb"),
        )
        until(lambda: self.read(keys.AGENT) is not None)

    def stop(self) -> None:
        if self.agent is not None:
            self.agent.kill()
            self.agent.wait()
        self.daemons.stop()

    def read(self, key: str) -> bytes | None:
        with self.daemons.dom0("work") as store:
            return store.read_many([f"/{key}"])[0]

    def push(self, **raw: object) -> Outcome:
        with Targets(qubesdb_folder=str(self.dom0)) as targets:
            return push([VMSettings.parse("work", raw)], targets)[0]

    @property
    def zone(self) -> str:
        link = self.root / "etc/localtime"
        return os.readlink(link).removeprefix("../usr/share/zoneinfo/") if link.is_symlink() else ""


@pytest.fixture
def vm(tmp_path: Path) -> Iterator[VM]:
    need("" if shutil.which("unshare") else "no program unshare")
    (tmp_path / "vm").mkdir()
    machine = VM(tmp_path / "vm", tmp_path / "q")
    try:
        yield machine
    finally:
        machine.stop()


def test_what_is_pushed_is_applied_and_acknowledged(vm: VM) -> None:
    vm.start_agent()
    outcome = vm.push(timezone="Europe/Warsaw", services={"cups": True})
    assert outcome.ok, outcome.comment()
    assert set(outcome.changes) == {"timezone", "services:cups"}
    assert "agent" not in outcome.comment()
    assert vm.zone == "Europe/Warsaw"
    assert (vm.root / "run/qubes-service/cups").exists()
    assert vm.push(timezone="Europe/Warsaw", services={"cups": True}).changes == {}
    assert vm.push(services={"cups": "default"}).ok
    assert not (vm.root / "run/qubes-service/cups").exists()


def test_a_service_of_qubesd_with_an_odd_name_is_ignored_and_keeps_no_push_from_the_vm(vm: VM) -> None:
    vm.start_agent()
    with vm.daemons.dom0("work") as store:
        store.write("/qubes-service/getty@tty", b"1")
        store.write("/qubes-service/a:b", b"True")
    outcome = vm.push(timezone="Europe/Warsaw", services={"cups": True})
    assert outcome.ok, outcome.comment()
    assert (vm.root / "run/qubes-service/cups").exists()
    assert vm.zone == "Europe/Warsaw"
    reply = vm.read(keys.acknowledgement("services"))
    assert reply is not None
    assert reply.endswith(
        b"ignored: 'a:b' (not a valid service name), 'getty@tty' (not a valid service name); on: cups"
    )
    until(lambda: b"ignored: 'a:b'" in (vm.root.parent / "agent.log").read_bytes())
    with Targets(qubesdb_folder=str(vm.dom0)) as targets:
        texts = observed.read_all([targets.one("work")])[0]["work"].texts
    assert (texts["services:getty@tty"], texts["services:a:b"]) == ("1", "True")
    assert vm.push(timezone="Europe/Warsaw", services={"cups": True}).changes == {}


def test_what_is_there_at_the_start_is_applied(vm: VM) -> None:
    assert vm.push(timezone="Asia/Tokyo").ok
    vm.start_agent()
    until(lambda: vm.zone == "Asia/Tokyo")
    assert vm.push(timezone="Asia/Tokyo").changes == {}


def test_what_the_vm_cannot_apply_is_refused_and_taken_back(vm: VM) -> None:
    vm.start_agent()
    assert vm.push(timezone="Europe/Warsaw").ok
    outcome = vm.push(timezone="Europe/Lisbon")
    assert isinstance(outcome.error, SettingRefused)
    assert vm.read("qubes-timezone") == b"Europe/Warsaw"
    until(lambda: vm.zone == "Europe/Warsaw")


def test_after_a_restart_of_the_daemons_the_agent_is_in_work_again_and_keeps_what_it_applied(vm: VM) -> None:
    vm.start_agent()
    assert vm.push(timezone="Europe/Warsaw").ok
    vm.daemons.stop()
    vm.start_daemons()
    until(lambda: vm.read(keys.AGENT) is not None)
    assert vm.zone == "Europe/Warsaw"
    assert vm.push(timezone="Asia/Tokyo").ok
    assert vm.zone == "Asia/Tokyo"


def test_an_agent_that_ends_takes_its_announcement_back(vm: VM) -> None:
    vm.start_agent()
    assert vm.agent is not None
    assert vm.agent is not None
    vm.agent.terminate()
    assert vm.agent.wait(10) == 0
    assert vm.read(keys.AGENT) is None


def test_after_a_restart_of_dom0s_daemon_alone_what_the_agent_says_is_heard(vm: VM) -> None:
    vm.start_agent()
    assert vm.push(timezone="Asia/Tokyo").ok
    vm.daemons.restart_dom0()
    outcome = vm.push(timezone="Europe/Vienna")
    assert isinstance(outcome.error, SettingRefused)
    assert vm.zone == "Asia/Tokyo"
    for zone in ("Asia/Tokyo", "UTC"):
        vm.daemons.restart_dom0()
        outcome = vm.push(timezone=zone)
        assert outcome.comment() == "work: timezone set"
        assert vm.zone == zone
    assert vm.read(keys.AGENT) is not None


def test_the_agents_farewell_leaves_dom0s_daemon_alive_that_lacks_the_key(vm: VM) -> None:
    vm.start_agent()
    vm.daemons.restart_dom0()
    assert vm.agent is not None
    vm.agent.terminate()
    assert vm.agent.wait(10) == 0
    with vm.daemons.dom0("work") as dom0, vm.daemons.guest("work") as guest:
        dom0.write("/a", b"v")
        assert guest.read("/a") == b"v"
        assert not guest.exists(f"/{keys.AGENT}")
