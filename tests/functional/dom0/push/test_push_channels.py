"""The same pillar on every release: what a push does and tells is the same on the XenStore and on QubesDB."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.xenstored.fakexen import missing
from tests.support.dom0 import Dom0
from tests.support.hosts import Host, write
from tests.support.qubesdb import QubesHost
from tests.support.stopwatch import Stopwatch
from tests.support.stores import need
from vminterface.channel.store import Watch
from vminterface.deadline import Deadline
from vminterface.dom0.desired.settings import VMSettings, parse_pillar
from vminterface.dom0.inventory import observed
from vminterface.dom0.inventory.targets import Targets
from vminterface.dom0.push.outcome import Outcome
from vminterface.dom0.push.push import diff, push
from vminterface.dom0.results.returns import changes_of
from vminterface.errors import (
    ConnectionLost,
    DeadlineExceeded,
    LocalProtocolError,
    SettingRefused,
    VMInterfaceError,
    VMNotRunning,
)
from vminterface.values.keyboard import Keymap
from vminterface.wire.qubesdb import CLIENT, DAEMON, NEED_DATA, Command, Connection, Reply, Request

SHIPPED = Path(__file__).resolve().parents[4] / "pillar/qubes/init.sls"
WORK = {"timezone": "Europe/Warsaw", "services": {"cups": True, "crond": False}, "debug": False}


def make(kind: str, root: Path) -> Host:
    if kind == "qubesdb":
        return QubesHost(root)
    need(missing())
    return Dom0(root)


@pytest.fixture(params=["xenstore", "qubesdb"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Host]:
    with make(request.param, tmp_path / "h") as made:
        yield made


@pytest.fixture
def qubes(tmp_path: Path) -> Iterator[QubesHost]:
    with QubesHost(tmp_path / "h") as made:
        yield made


def settings(raw: dict[str, Any], vm: str = "work", **more: object) -> VMSettings:
    return VMSettings.parse(vm, {**raw, **more})


def pushed(host: Host, *desired: VMSettings) -> list[Outcome]:
    with host.targets() as targets:
        return push(desired, targets)


def written(host: Host) -> dict[str, bytes]:
    """What dom0 wrote: everything but the agents' answers."""
    return {key: value for key, value in host.dump().items() if "vminterface/" not in key}


def story(kind: str, root: Path) -> list[Any]:
    """What pushes of the shipped pillar tell from a VM's start to a refusal, and what the VMs see."""
    desired = parse_pillar(yaml.safe_load(SHIPPED.read_text()))
    told: list[Any] = []

    def tell(outcomes: list[Outcome]) -> None:
        told.append([(o.vm, o.ok, o.running, changes_of(o), o.comment()) for o in outcomes])

    with make(kind, root) as host:
        agents = {}
        for one in desired:
            if one.vm != "sys-net":
                host.start_vm(one.vm)
                agents[one.vm] = host.agent(one.vm)
        with host.targets() as targets:
            tell(diff(desired, targets))
            tell(push(desired, targets))
            tell(push(desired, targets))
            agents["work"].reply = lambda setting, inputs: "no such zone" if setting == "timezone" else ""
            tell(push([settings({"timezone": "Asia/Tokyo", "services": {"cups": "default"}})], targets))
            tell(push([settings({"services": {"cups": "default"}, "network": "none"})], targets))
            tell(diff(desired, targets))
            found = targets.find([one.vm for one in desired])
            told.append(
                {
                    vm: own.texts
                    for group in observed.by_store(found.values())
                    for vm, own in observed.read(group).items()
                }
            )
    return told


def test_the_shipped_pillar_tells_the_same_on_both_channels(tmp_path: Path) -> None:
    on_qubesdb = story("qubesdb", tmp_path / "q")
    assert on_qubesdb == story("xenstore", tmp_path / "x")
    diffed, first, second, refused, *_ = on_qubesdb
    assert all(changes for vm, _, _, changes, _ in first if vm != "sys-net")
    assert [one[:4] for one in diffed] == [one[:4] for one in first]
    assert not any(changes for *_, changes, _ in second)
    assert refused[0][1] is False


def test_a_second_push_writes_nothing(host: Dom0 | QubesHost) -> None:
    host.start_vm("work")
    host.agent("work")
    assert pushed(host, settings(WORK))[0].changes
    before = written(host)
    (outcome,) = pushed(host, settings(WORK))
    assert (outcome.ok, outcome.changes) == (True, {})
    assert written(host) == before


def test_without_an_agent_the_comment_says_when_it_takes_effect(host: Dom0 | QubesHost) -> None:
    host.start_vm("work")
    (outcome,) = pushed(host, settings(WORK))
    assert outcome.ok
    assert "no agent" in outcome.comment()


def test_a_refused_setting_restores_all_former_values(host: Dom0 | QubesHost) -> None:
    host.start_vm("work")
    agent = host.agent("work")
    assert pushed(host, settings(WORK))[0].ok
    before = written(host)
    agent.reply = lambda setting, inputs: "no such zone here" if inputs.get("timezone") == "Asia/Tokyo" else ""
    (outcome,) = pushed(host, settings({"timezone": "Asia/Tokyo", "debug": True, "services": {"crond": "default"}}))
    assert isinstance(outcome.error, SettingRefused)
    assert outcome.changes == {}
    assert written(host) == before


def test_what_another_program_has_set_meanwhile_is_not_taken_back(host: Dom0 | QubesHost) -> None:
    host.start_vm("work")
    agent = host.agent("work")
    assert pushed(host, settings(WORK))[0].ok

    def silent(setting: Any, inputs: Any) -> Any:
        if inputs.get("timezone") == "Asia/Tokyo":
            agent.reply = lambda setting, inputs: "" if setting == "debug" else None
            write(host, "work", "qubes-timezone", b"Europe/Paris")
        return None if setting == "timezone" else ""

    agent.reply = silent
    (outcome,) = pushed(host, settings({"timezone": "Asia/Tokyo", "debug": True}, timeout=1.5))
    assert outcome.comment() == (
        "work: the agent did not acknowledge timezone within 1.5 s; "
        "timezone was set by another program meanwhile and is kept; former values restored"
    )
    assert host.read("work", "qubes-timezone") == "Europe/Paris"
    assert host.read("work", "qubes-debug-mode") == "0"


def test_a_silent_agent_costs_its_deadline_once_and_nobody_elses_time(host: Dom0 | QubesHost) -> None:
    vms = [f"vm{n}" for n in range(24)]
    for vm in vms:
        host.start_vm(vm)
        host.agent(vm)
    assert all(o.ok for o in pushed(host, *(settings(WORK, vm) for vm in vms)))
    for guest in host.guests[:20]:
        guest.reply = lambda setting, inputs: None
    started = Stopwatch()
    outcomes = pushed(host, *(settings({**WORK, "timezone": "Asia/Tokyo"}, vm, timeout=1.5) for vm in vms))
    started.check(4, least=1.4)
    assert [o.ok for o in outcomes] == [False] * 20 + [True] * 4
    assert all(isinstance(o.error, DeadlineExceeded) for o in outcomes[:20])
    assert {host.read(vm, "qubes-timezone") for vm in vms[:20]} == {"Europe/Warsaw"}


def test_what_a_vm_overwrote_is_told_and_put_back(qubes: QubesHost) -> None:
    qubes.start_vm("work")
    assert pushed(qubes, settings(WORK))[0].ok
    with qubes.guest_store("work") as guest:
        guest.write("qubes-timezone", b"\x1b[2JMars")
        guest.remove("qubes-service/cups")
        guest.write("qubes-service/crond", b"1")
    (outcome,) = pushed(qubes, settings(WORK))
    assert outcome.ok
    assert changes_of(outcome) == {
        "timezone": {"old": "\\x1b[2JMars", "new": "Europe/Warsaw"},
        "services:cups": {"old": "default", "new": "on"},
        "services:crond": {"old": "on", "new": "off"},
    }
    assert qubes.read("work", "qubes-timezone") == "Europe/Warsaw"
    assert pushed(qubes, settings(WORK))[0].changes == {}


def test_a_service_whose_name_has_a_dot_is_written(qubes: QubesHost) -> None:
    qubes.start_vm("work")
    (outcome,) = pushed(qubes, settings({"services": {"app-dispvm.x": True}}))
    assert outcome.ok
    assert qubes.read("work", "qubes-service/app-dispvm.x") == "1"


@pytest.mark.parametrize("names", [["qubes-vm-updatable"], ["qubes-vm-updatable", "qubes-vm-updateable"]])
def test_a_key_of_another_spelling_goes_with_its_field(host: Dom0 | QubesHost, names: list[str]) -> None:
    host.start_vm("work")
    for name in names:
        write(host, "work", name, b"True")
    (outcome,) = pushed(host, settings({"updateable": "default"}))
    assert outcome.ok, outcome.comment()
    assert changes_of(outcome) == {"updateable": {"old": "on", "new": "default"}}
    assert [host.read("work", name) for name in names] == [None] * len(names)
    assert pushed(host, settings({"updateable": "default"}))[0].changes == {}


def test_a_flag_comes_after_the_keys_that_it_speaks_of_and_goes_before_them(qubes: QubesHost) -> None:
    qubes.start_vm("work")
    network = {"ip": "10.137.0.12", "gateway": "10.137.0.5", "dns": ["10.139.1.1"]}
    with qubes.store("work") as store, store.watch(["/"]) as watch:
        watch.next(Deadline.after(5))
        pushed(qubes, settings({"network": network}))
        assert seen(watch, "/qubes-ip")[-1] == "/qubes-ip"
        pushed(qubes, settings({"network": "none"}))
        assert seen(watch, "/qubes-gateway")[0] == "/qubes-ip"


def seen(watch: Watch, last: str) -> list[str]:
    """The paths that *watch* tells of, until *last* is among them."""
    paths: list[str] = []
    while last not in paths:
        paths += [event.path for event in watch.next(Deadline.after(5))]
    return paths


def test_a_value_that_the_store_cannot_hold_changes_nothing(qubes: QubesHost, monkeypatch: pytest.MonkeyPatch) -> None:
    qubes.start_vm("work")
    before = qubes.dump()
    one = settings(WORK)
    (outcome,) = pushed(qubes, VMSettings("work", {**one.desired, "keymap": Keymap("x" * 3072)}))
    assert isinstance(outcome.error, LocalProtocolError)
    assert outcome.changes == {}
    assert qubes.dump() == before


def test_vms_on_both_channels_are_pushed_in_one_go(tmp_path: Path) -> None:
    need(missing())
    with Dom0(tmp_path / "x") as xen, QubesHost(tmp_path / "q") as qubes:
        for vm in ("old", "both"):
            xen.start_vm(vm)
        qubes.start_vm("both")
        qubes.start_vm("new")
        with Targets(xen.store, qubesdb_folder=str(qubes.folder)) as targets:
            assert targets.running(["old"]) == {"old": 1, "both": 2, "new": None}
            desired = [settings(WORK, vm) for vm in ("new", "neither", "both")]
            outcomes = push([*desired[:1], settings(WORK, "old", channel="xenstore"), *desired[1:]], targets)
            assert [(o.vm, o.ok, o.running) for o in outcomes] == [
                ("new", True, True), ("old", True, True), ("neither", True, False), ("both", True, True)
            ]  # fmt: skip
            assert xen.read("old", "qubes-timezone") == "Europe/Warsaw"
            assert qubes.read("new", "qubes-timezone") == "Europe/Warsaw"
            assert qubes.read("both", "qubes-timezone") == "Europe/Warsaw"
            assert xen.read("both", "qubes-timezone") is None
            (outcome,) = push([settings(WORK, "both", channel="xenstore")], targets)
            assert outcome.changes
            assert xen.read("both", "qubes-timezone") == "Europe/Warsaw"


def test_the_socket_of_a_dead_vm_is_no_running_vm(qubes: QubesHost) -> None:
    qubes.start_vm("work", "alive")
    qubes.start_vm("dead")
    qubes.stop_vm("dead")
    with qubes.targets() as targets:
        assert targets.running() == {"alive": None, "work": None}
        (outcome,) = push([settings(WORK, "dead")], targets)
        assert (outcome.ok, outcome.running) == (True, False)
        (outcome,) = push([settings(WORK, "dead", require_running=True)], targets)
        assert isinstance(outcome.error, VMNotRunning)
        with pytest.raises(VMNotRunning):
            targets.one("dead")
        qubes.start_vm("dead")
        assert push([settings(WORK, "dead")], targets)[0].changes


def test_a_vm_that_was_restarted_is_met_again_with_the_same_targets(qubes: QubesHost) -> None:
    qubes.start_vm("work")
    with qubes.targets() as targets:
        assert push([settings(WORK)], targets)[0].changes
        qubes.stop_vm("work")
        assert not push([settings(WORK)], targets)[0].running
        qubes.start_vm("work")
        assert push([settings(WORK)], targets)[0].changes


def test_a_host_with_neither_store_says_so(tmp_path: Path) -> None:
    host = QubesHost(tmp_path / "h")
    with host.targets() as targets, pytest.raises(ConnectionLost, match="no-xenstore"):
        push([settings(WORK)], targets)
    with host.targets() as targets, pytest.raises(ConnectionLost, match="no-xenstore"):
        targets.running()


def test_a_vm_that_shall_be_met_in_the_xenstore_needs_one(qubes: QubesHost) -> None:
    qubes.start_vm("work")
    with qubes.targets() as targets, pytest.raises(ConnectionLost, match="no-xenstore"):
        push([settings(WORK, channel="xenstore")], targets)


def test_read_only_sockets_and_dom0s_own_are_no_vms(qubes: QubesHost) -> None:
    qubes.start_vm("work", "dom0", "x.ro")
    with qubes.targets() as targets:
        assert set(targets.running()) == {"work", "x.ro"}
        assert targets.one("x.ro").store.read("/name") == b"x.ro"
        with pytest.raises(VMNotRunning):
            targets.one("work.ro")


def test_a_daemon_that_hangs_up_in_the_middle_gets_its_former_values_on_a_new_connection(
    qubes: QubesHost, tmp_path: Path
) -> None:
    """Between dom0 and the daemon stands a socket that ends one connection at the first write it would pass on."""
    qubes.start_vm("real")
    with qubes.store("real") as store:
        store.write("/qubes-timezone", b"Europe/Paris")
    relay = Relay(str(qubes.folder / "qubesdb.work.sock"), str(qubes.folder / "qubesdb.real.sock"))
    try:
        (outcome,) = pushed(qubes, settings(WORK))
    finally:
        relay.close()
    assert isinstance(outcome.error, ConnectionLost | VMInterfaceError)
    assert "could not be restored" not in outcome.comment()
    assert qubes.read("real", "qubes-timezone") == "Europe/Paris"
    assert qubes.read("real", "qubes-debug-mode") is None


class Relay:
    """Passes on everything; the first connection that writes is ended after its second write."""

    def __init__(self, path: str, to: str) -> None:
        self._to = to
        self._ended = False
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def _run(self) -> None:
        while True:
            try:
                stream, _ = self._listener.accept()
            except OSError:
                return
            with stream, socket.socket(socket.AF_UNIX) as daemon:
                daemon.connect(self._to)
                self._pass_on(stream, daemon)

    def _pass_on(self, stream: socket.socket, daemon: socket.socket) -> None:
        inward, outward, writes = Connection(DAEMON), Connection(CLIENT), 0
        while True:
            while (event := inward.next_event()) is NEED_DATA:
                inward.receive_data(stream.recv(65536))
            if not isinstance(event, Request):
                return
            if event.command in (Command.WRITE, Command.RM) and not self._ended:
                writes += 1
                if writes > 2:
                    self._ended = True
                    return
            daemon.sendall(outward.send(event))
            reply = None
            while reply is None:
                outward.receive_data(daemon.recv(65536))
                for told in outward.events():
                    stream.sendall(inward.send(told))
                    if isinstance(told, Reply) or not outward._in_flight:
                        reply = told


def test_two_hundred_vms_one_of_them_stopped(qubes: QubesHost) -> None:
    vms = [f"vm{n}" for n in range(199)]
    qubes.start_vm(*vms)
    qubes.start_vm("stopped")
    desired = [settings(WORK, vm, timeout=1.5) for vm in ("stopped", *vms)]
    with qubes.daemons["stopped"].stopped():
        started = Stopwatch()
        outcomes = pushed(qubes, *desired)
        started.check(4)
    stopped, *others = outcomes
    assert isinstance(stopped.error, DeadlineExceeded)
    assert "qubesdb.stopped.sock" in stopped.comment()
    assert all(o.ok and o.changes for o in others)
    assert qubes.read("vm198", "qubes-timezone") == "Europe/Warsaw"
    assert all(o.ok for o in pushed(qubes, *desired))


def test_many_vms_are_read_side_by_side(qubes: QubesHost) -> None:
    vms = [f"vm{n}" for n in range(30)]
    qubes.start_vm(*vms)
    for vm in vms:
        assert pushed(qubes, settings({"timezone": "Europe/Warsaw"}, vm))[0].ok
    with qubes.targets() as targets:
        states, faults = observed.read_all(targets.find(targets.running()).values())
    assert faults == {}
    assert {vm: one.texts["timezone"] for vm, one in states.items()} == dict.fromkeys(vms, "Europe/Warsaw")


def test_free_keys_are_written_compared_and_taken_away(host: Dom0 | QubesHost) -> None:
    host.start_vm("work")
    (first,) = pushed(host, settings({"vm_config": {"mode": "quiet", "site": "1 2"}}))
    assert first.comment().startswith("work: vm_config:mode, vm_config:site set")
    assert (host.read("work", "vm-config/mode"), host.read("work", "vm-config/site")) == ("quiet", "1 2")
    assert pushed(host, settings({"vm_config": {"mode": "quiet"}}))[0].changes == {}
    (gone,) = pushed(host, settings({"vm_config": {"mode": "default"}}))
    assert list(gone.changes) == ["vm_config:mode"]
    assert (host.read("work", "vm-config/mode"), host.read("work", "vm-config/site")) == (None, "1 2")


def test_a_dot_in_the_name_of_a_free_key_is_refused_where_the_store_has_none(host: Dom0 | QubesHost) -> None:
    host.start_vm("work")
    (outcome,) = pushed(host, settings({"vm_config": {"a.b": "x"}}))
    assert outcome.ok == isinstance(host, QubesHost)
    if outcome.ok:
        assert host.read("work", "vm-config/a.b") == "x"
    else:
        assert str(outcome.error) == "work: XenStore cannot hold the key 'a.b' (expected a name without dots)"


def test_a_service_with_a_long_name_is_refused_where_vms_do_not_look_for_its_hash(host: Dom0 | QubesHost) -> None:
    host.start_vm("work")
    name = f"app-dispvm.{'x' * 60}"
    (outcome,) = pushed(host, settings({"services": {name: True}}))
    assert outcome.ok == isinstance(host, QubesHost)
    if not outcome.ok:
        assert str(outcome.error) == f"work: XenStore cannot hold the service '{name}' (expected a name without dots)"


def test_all_resolvers_are_one_key_beside_the_two(host: Dom0 | QubesHost) -> None:
    host.start_vm("work")
    dns = ["10.139.1.1", "10.139.1.2", "10.139.1.3"]
    network = {"ip": "10.137.0.12", "gateway": "10.137.0.5", "dns": dns}
    host.agent("work")
    assert pushed(host, settings({"network": network}))[0].ok
    assert host.read("work", "vm-config/vminterface-dns") == " ".join(dns)
    assert host.read("work", "qubes-secondary-dns") == dns[1]
    assert pushed(host, settings({"network": {**network, "dns": dns[:2]}}))[0].ok
    assert host.read("work", "vm-config/vminterface-dns") is None
