"""The watcher on Qubes R4: what qubesd overwrites is pushed again, once, on the lab's qubesd and QubesDBs."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab.qubesd import CLIENT, Machines, Qubesd
from lab.qubesd.stores import StoreWriter
from tests.support.qubesd import qubes_r4
from tests.support.qubesdb import QubesHost
from tests.support.warm import WarmPython
from vminterface.channel.adminapi import AdminAPI
from vminterface.dom0.desired.settings import VMSettings, parse_pillar
from vminterface.dom0.push.push import push
from vminterface.dom0.push.watch import events as watch_events
from vminterface.dom0.push.watch import watcher as watch
from vminterface.dom0.push.watch.watcher import PillarFile, Watcher

LIBRARY = str(Path(__file__).parents[5] / "_utils")
ADDRESS = "10.137.0.2"
WORK = {
    "timezone": "Europe/Warsaw",
    "keyboard": "pl",
    "timeout": 1,
    "persist": False,
    "firewall": {"netvm": "sys-net", "ip": ADDRESS, "policy": "drop", "rules": ["action=accept specialtarget=dns"]},
}
RULES = {"policy": b"drop", "0000": b"action=accept specialtarget=dns"}


class Daemons(Machines):
    """The QubesDBs of the host, new with each start of a VM."""

    def __init__(self, host: QubesHost) -> None:
        self.host = host

    def create(self, vm: str) -> None:
        self.host.start_vm(vm)

    def destroy(self, vm: str) -> None:
        self.host.stop_vm(vm)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "CHECK_SECONDS", 0.3)
    monkeypatch.setattr(watch_events, "QUIET", 0.1)
    monkeypatch.setattr(watch_events, "PAUSE", 0.2)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[QubesHost]:
    with QubesHost(tmp_path / "qdb") as host:
        yield host


@pytest.fixture
def qubesd(host: QubesHost, tmp_path: Path) -> Iterator[Qubesd]:
    with qubes_r4(tmp_path, "work", "other", live=StoreWriter(host.store), machines=Daemons(host)) as daemon:
        yield daemon


@pytest.fixture
def pushes(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The VMs of each push that the watcher makes."""
    real = push
    made: list[list[str]] = []

    def counted(settings: Any, targets: Any, **how: Any) -> Any:
        made.append([one.vm for one in settings])
        return real(settings, targets, **how)

    monkeypatch.setattr(watch, "push", counted)
    return made


class Log(list[str]):
    def has(self, *words: str) -> bool:
        return any(all(word in line for word in words) for line in list(self))


@contextmanager
def watching(host: QubesHost, tmp_path: Path, **vms: dict[str, Any]) -> Iterator[Log]:
    file = tmp_path / "pillar.json"
    file.write_text(json.dumps({"qubes": {"vms": vms}}))

    def parsed() -> list[VMSettings]:
        return parse_pillar(json.loads(file.read_text()))

    log, stop = Log(), threading.Event()
    watcher = Watcher(PillarFile(str(file), parsed), host.targets, log.append)
    thread = threading.Thread(target=watcher.run, args=(stop,), daemon=True)
    thread.start()
    try:
        yield log
    finally:
        stop.set()
        thread.join(10)
        assert not thread.is_alive(), log


def soon(condition: Callable[[], object], seconds: float = 15.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "not within the time"
        time.sleep(0.02)


def rules(host: QubesHost) -> dict[str, bytes]:
    """What the provider has for work's address."""
    top = f"/qubes-firewall/{ADDRESS}"
    with host.store("sys-net") as store:
        return {path.removeprefix(f"{top}/"): value for path, value in store.tree("/").items() if f"{top}/" in path}


def happened(qubesd: Qubesd, vm: str, event: str) -> Callable[[], bool]:
    return lambda: (vm, event) in qubesd.events.log


def quiet(pushes: list[list[str]]) -> int:
    """Wait until no push was made for longer than an event takes to cause one; return how many there were."""
    count = -1
    while count != len(pushes):
        count = len(pushes)
        time.sleep(2 * watch_events.QUIET + watch_events.PAUSE + watch.CHECK_SECONDS)
    return count


def test_rules_that_qubesd_overwrites_when_their_vm_has_started_are_those_of_the_pillar_again(
    host: QubesHost, qubesd: Qubesd, tmp_path: Path, pushes: list[Any]
) -> None:
    qubesd.faults.qrexec_seconds = 1.5
    qubesd.start_vm("sys-net")
    with watching(host, tmp_path, work=WORK):
        starting = threading.Thread(target=qubesd.start_vm, args=("work",))
        starting.start()
        soon(lambda: rules(host) == RULES)
        assert not happened(qubesd, "work", "domain-start")(), "the watcher was to be first"
        starting.join(10)
        soon(happened(qubesd, "work", "domain-start"))
        soon(lambda: rules(host) == RULES)
        # They stay, and no push follows another.
        assert quiet(pushes) <= 3
        assert rules(host) == RULES


@pytest.mark.parametrize(
    "cause",
    [
        lambda api, qubesd: api._call("work", "admin.vm.firewall.Reload"),
        lambda api, qubesd: api.firewall_set("work", b"action=accept dsthost=mirror.example.org\n"),
        lambda api, qubesd: api.set_property("work", "netvm", "sys-net"),
        lambda api, qubesd: qubesd.start_vm("sys-net"),
    ],
    ids=["reload", "set", "netvm", "provider"],
)
def test_whatever_overwrites_the_rules_is_undone_once(
    host: QubesHost, qubesd: Qubesd, tmp_path: Path, pushes: list[Any], cause: Callable[..., Any]
) -> None:
    qubesd.start_vm("work")
    with watching(host, tmp_path, work=WORK):
        soon(lambda: rules(host) == RULES and qubesd.events.listeners)
        quiet(pushes)
        pushes.clear()
        cause(AdminAPI.open(), qubesd)
        soon(lambda: pushes and rules(host) == RULES)
        soon(lambda: host.read("work", "qubes-timezone") == "Europe/Warsaw")
        assert quiet(pushes) <= 2
        assert rules(host) == RULES


def test_a_key_that_follows_a_property_is_the_pillars_again_and_others_cause_nothing(
    host: QubesHost, qubesd: Qubesd, tmp_path: Path, pushes: list[Any]
) -> None:
    for vm in ("work", "other"):
        qubesd.start_vm(vm)
    with watching(host, tmp_path, work=WORK):
        soon(lambda: host.read("work", "keyboard-layout") == "pl++" and qubesd.events.listeners)
        quiet(pushes)
        pushes.clear()
        api = AdminAPI.open()
        api.set_property("work", "default_user", "root")
        api.set_property("work", "memory", "500")
        api.set_property("other", "keyboard_layout", "fr++")
        api.set_feature("work", "service.crond", "1")
        assert quiet(pushes) == 0
        api.set_property("work", "keyboard_layout", "de++")
        soon(lambda: pushes)
        soon(lambda: host.read("work", "keyboard-layout") == "pl++")
        assert quiet(pushes) == 1


def test_what_its_own_push_lets_qubesd_do_is_no_reason_to_push_on(
    host: QubesHost, qubesd: Qubesd, tmp_path: Path, pushes: list[Any]
) -> None:
    qubesd.start_vm("work")
    kept = {"timezone": "Europe/Warsaw", "keyboard": "pl", "services": {"cups": True}, "persist": True, "timeout": 1}
    with watching(host, tmp_path, work=kept):
        soon(lambda: qubesd.qubes["work"].features.get("service.cups") == "1")
        soon(lambda: host.read("work", "qubes-timezone") == "Europe/Warsaw")
        # The second one finds nothing to do.
        assert quiet(pushes) <= 2


def test_rules_that_qubesd_keeps_are_set_back_there_too_and_that_is_the_end_of_it(
    host: QubesHost, qubesd: Qubesd, tmp_path: Path, pushes: list[Any]
) -> None:
    qubesd.start_vm("work")
    with watching(host, tmp_path, work={**WORK, "persist": True}):
        soon(lambda: rules(host) == RULES and qubesd.events.listeners)
        quiet(pushes)
        pushes.clear()
        api = AdminAPI.open()
        kept = api.firewall_get("work")
        assert kept == b"action=accept specialtarget=dns\n"
        api.firewall_set("work", b"action=accept\n")
        soon(lambda: api.firewall_get("work") == kept and rules(host) == RULES)
        assert quiet(pushes) <= 2


def test_a_push_that_is_refused_and_taken_back_is_tried_as_often_as_ever(
    host: QubesHost, qubesd: Qubesd, tmp_path: Path, pushes: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "FIRST_PAUSE", 0.05)
    qubesd.start_vm("work")
    host.agent("work", lambda setting, inputs: "no such zone here" if setting == "timezone" else "")
    kept = {"timezone": "Europe/Warsaw", "services": {"cups": True}, "persist": True, "timeout": 5}
    with watching(host, tmp_path, work=kept) as log:
        soon(lambda: log.has("no further attempt"))
        assert quiet(pushes) == watch.ATTEMPTS
        assert qubesd.qubes["work"].features == {}


def test_a_qubesd_that_goes_away_and_comes_back_is_listened_to_again(
    host: QubesHost, qubesd: Qubesd, tmp_path: Path, pushes: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_events, "RECONNECT", 0.1)
    qubesd.start_vm("work")
    with watching(host, tmp_path, work=WORK) as log:
        soon(lambda: rules(host) == RULES and qubesd.events.listeners)
        qubesd.stop_listening()
        soon(lambda: log.has("qubesd.sock", "continuing without events of qubesd"))
        # A start is noticed all the same, by its QubesDB.
        qubesd.start_vm("work")
        soon(lambda: rules(host) == RULES)
        quiet(pushes)
        with host.store("sys-net") as store:
            store.write(f"/qubes-firewall/{ADDRESS}/0000", b"action=drop")
        qubesd.start_listening()
        soon(lambda: log.has("qubesd sends its events again"))
        soon(lambda: rules(host) == RULES)
        assert sum("events" in line for line in log) == 2
        AdminAPI.open()._call("work", "admin.vm.firewall.Reload")
        soon(lambda: rules(host) == RULES)


def test_a_qubesd_that_hangs_holds_up_no_push_that_does_without_it(
    host: QubesHost, qubesd: Qubesd, tmp_path: Path
) -> None:
    qubesd.start_vm("sys-net")
    qubesd.hung.set()
    # With a firewall it is asked how the VM's network is attached, for as long as a call may take.
    without = {field: value for field, value in WORK.items() if field != "firewall"}
    with watching(host, tmp_path, work=without):
        qubesd.start_vm("work")
        soon(lambda: host.read("work", "qubes-timezone") == "Europe/Warsaw", 5)


def test_the_command_listens_too_and_ends_while_it_does(host: QubesHost, qubesd: Qubesd, tmp_path: Path) -> None:
    file = tmp_path / "pillar.json"
    file.write_text(json.dumps({"qubes": {"vms": {"work": WORK}}}))
    qubesd.start_vm("work")
    process = WarmPython(
        ["vminterface", "watch", "--pillar", str(file)],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([LIBRARY, str(CLIENT)]),
            "VMINTERFACE_QUBESDB_DIR": str(host.folder),
            "XENSTORED_PATH": str(tmp_path / "none"),
            "LAB_QUBESD_SOCKET": str(qubesd.path),
        },
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        soon(lambda: rules(host) == RULES and qubesd.events.listeners)
        AdminAPI.open().firewall_set("work", b"action=accept\n")
        soon(lambda: rules(host) == RULES)
        process.terminate()
        _, log = process.communicate(timeout=10)
    finally:
        process.kill()
    assert process.returncode == 0, log
    assert "events" not in log
