"""Settings reach running VMs, and what came of it is told truly: on the real xenstored."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from signal import Signals
from typing import Any

import pytest

from lab.xenstored import fakexen
from tests.support.dom0 import Dom0
from tests.support.stopwatch import Stopwatch
from vminterface.channel.xenstore.store import XenStore
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.inventory.targets import Targets
from vminterface.dom0.push import keychanges
from vminterface.dom0.push.outcome import Outcome
from vminterface.dom0.push.push import Part, Push, diff, push
from vminterface.errors import ConnectionLost, DeadlineExceeded, SettingRefused, StoreError, VMNotRunning

pytestmark = pytest.mark.skipif(bool(fakexen.missing()), reason=fakexen.missing())

WORK = {"timezone": "Europe/Warsaw", "services": {"cups": True, "crond": False}, "debug": False}


def settings(raw: dict[str, Any], vm: str = "work", **more: object) -> VMSettings:
    return VMSettings.parse(vm, {**raw, **more})


def pushed(dom0: Dom0, *desired: VMSettings) -> list[Outcome]:
    with dom0.targets() as targets:
        return push(desired, targets)


def test_keys_are_written_and_read_by_the_vm(dom0: Dom0) -> None:
    dom0.start_vm("work")
    (outcome,) = pushed(dom0, settings(WORK))
    assert outcome.ok
    assert set(outcome.changes) == {"timezone", "services:cups", "services:crond", "debug"}
    with dom0.guest_store("work") as guest:
        assert guest.read("qubes-timezone") == b"Europe/Warsaw"
        assert guest.read("qubes-service/cups") == b"1"
        assert guest.read("qubes-service/crond") == b"0"
        assert guest.read("qubes-debug-mode") == b"0"


def test_every_key_of_the_interfaces_document_has_its_name_and_its_text(dom0: Dom0) -> None:
    """The document for R2 lists these; a ProxyVM has those of a client and those of a provider."""
    dom0.start_vm("firewall")
    keymap = 'xkb_keymap { xkb_keycodes { include "evdev" }; };'
    proxy = {
        "type": "ProxyVM",
        "updateable": False,
        "timezone": "Europe/Warsaw",
        "keymap": keymap,
        "debug": True,
        "services": {"qubes-network": True, "cups": False},
        "network": {
            "ip": "10.137.1.7",
            "netmask": "255.255.255.0",
            "gateway": "10.137.1.1",
            "dns": ["10.137.1.1", "10.137.1.254"],
        },
        "provides_network": {
            "gateway": "10.137.2.1",
            "netmask": "255.255.255.0",
            "network": "10.137.2.0",
            "dns": ["10.137.2.1", "10.137.2.254"],
        },
    }
    (outcome,) = pushed(dom0, settings(proxy, vm="firewall"))
    assert outcome.ok
    texts = {
        "qubes-vm-type": "ProxyVM",
        "qubes-vm-updateable": "False",
        "qubes-timezone": "Europe/Warsaw",
        "qubes-keyboard": keymap,
        "qubes-debug-mode": "1",
        "qubes-service/qubes-network": "1",
        "qubes-service/cups": "0",
        "qubes-ip": "10.137.1.7",
        "qubes-netmask": "255.255.255.0",
        "qubes-gateway": "10.137.1.1",
        "qubes-secondary-dns": "10.137.1.254",
        "qubes-netvm-gateway": "10.137.2.1",
        "qubes-netvm-netmask": "255.255.255.0",
        "qubes-netvm-network": "10.137.2.0",
        "qubes-netvm-secondary-dns": "10.137.2.254",
    }
    with dom0.guest_store("firewall") as guest:
        assert {key: guest.read(key).decode() for key in texts} == texts


def test_without_an_agent_the_comment_says_when_it_takes_effect(dom0: Dom0) -> None:
    dom0.start_vm("work")
    (outcome,) = pushed(dom0, settings(WORK))
    assert "no agent" in outcome.comment()
    assert "next start" in outcome.comment()


def test_an_agent_that_is_slow_to_announce_itself_is_given_part_of_the_vms_time(dom0: Dom0) -> None:
    dom0.start_vm("work")
    late = threading.Timer(2.5, dom0.agent, ["work"])
    late.start()
    (outcome,) = pushed(dom0, settings(WORK, timeout=10))
    late.join()
    assert outcome.ok
    assert "no agent" not in outcome.comment()


def test_a_vm_that_stops_before_it_is_written_to_is_told_and_nothing_is_left_of_it(
    dom0: Dom0, monkeypatch: pytest.MonkeyPatch
) -> None:
    dom0.start_vm("work")
    before = dom0.dump()
    compare = Push.compare

    def stopping(one: Push, part: Part) -> None:
        compare(one, part)
        dom0.stop_vm("work")

    monkeypatch.setattr(Push, "compare", stopping)
    (outcome,) = pushed(dom0, settings(WORK))
    assert isinstance(outcome.error, VMNotRunning)
    assert str(outcome.error) == "work stopped while its settings were written"
    assert outcome.changes == {}
    assert set(dom0.dump()) < set(before)


def test_what_the_store_refuses_is_told_with_the_vms_name(dom0: Dom0, monkeypatch: pytest.MonkeyPatch) -> None:
    dom0.start_vm("work")

    def refused(work: Any, asked: Any) -> None:
        raise StoreError("transaction: no memory left for it (ENOMEM)")

    monkeypatch.setattr(keychanges, "write", refused)
    (outcome,) = pushed(dom0, settings(WORK))
    assert str(outcome.error) == "work: transaction: no memory left for it (ENOMEM)"


def test_a_vm_that_stops_while_its_agent_is_waited_for_is_told_and_nothing_is_left_of_it(dom0: Dom0) -> None:
    domid = dom0.start_vm("work")
    dom0.agent("work", lambda setting, inputs: None)
    stop = threading.Timer(0.5, dom0.stop_vm, ["work"])
    stop.start()
    (outcome,) = pushed(dom0, settings(WORK, timeout=2))
    stop.join()
    assert isinstance(outcome.error, VMNotRunning)
    assert outcome.changes == {}
    assert not [path for path in dom0.dump() if path.startswith(f"/local/domain/{domid}/")]


def test_a_second_push_changes_nothing(dom0: Dom0) -> None:
    dom0.start_vm("work")
    dom0.agent("work")
    pushed(dom0, settings(WORK))
    before = dom0.dump()
    (outcome,) = pushed(dom0, settings(WORK))
    assert outcome.ok
    assert outcome.changes == {}
    assert dom0.dump() == before


def test_an_agent_that_acknowledges_makes_it_set(dom0: Dom0) -> None:
    dom0.start_vm("work")
    agent = dom0.agent("work")
    (outcome,) = pushed(dom0, settings(WORK))
    assert outcome.ok
    assert agent.announced.is_set()
    assert "agent" not in outcome.comment()


def test_a_refused_setting_restores_all_former_values_and_tells_the_vms_reason(dom0: Dom0) -> None:
    dom0.start_vm("work")
    agent = dom0.agent("work")
    assert pushed(dom0, settings(WORK))[0].ok
    agent.reply = lambda setting, inputs: "no such zone here" if inputs.get("timezone") == "Asia/Tokyo" else ""
    (outcome,) = pushed(dom0, settings({"timezone": "Asia/Tokyo", "debug": True, "services": {"crond": "default"}}))
    assert isinstance(outcome.error, SettingRefused)
    assert "work refused timezone: no such zone here" in outcome.comment()
    assert outcome.changes == {}
    assert dom0.read("work", "qubes-timezone") == "Europe/Warsaw"
    assert dom0.read("work", "qubes-debug-mode") == "0"
    assert dom0.read("work", "qubes-service/crond") == "0"


def test_one_vm_that_refuses_does_not_stop_the_others(dom0: Dom0) -> None:
    for vm in ("work", "personal"):
        dom0.start_vm(vm)
    dom0.agent("work", lambda setting, inputs: "no" if setting == "timezone" else "")
    dom0.agent("personal")
    work, personal = pushed(dom0, settings(WORK), settings(WORK, vm="personal"))
    assert isinstance(work.error, SettingRefused)
    assert personal.ok
    assert dom0.read("work", "qubes-timezone") is None
    assert dom0.read("personal", "qubes-timezone") == "Europe/Warsaw"


def test_a_vm_that_hangs_costs_its_own_deadline_once_and_gets_its_former_values(dom0: Dom0) -> None:
    for vm in ("hung", "dead", "well"):
        dom0.start_vm(vm)
        agent = dom0.agent(vm)
        assert pushed(dom0, settings(WORK, vm=vm))[0].ok
        if vm != "well":
            agent.reply = lambda setting, inputs: None
    later = {**WORK, "timezone": "Asia/Tokyo"}
    started = Stopwatch()
    hung, dead, well = pushed(dom0, *(settings(later, vm=vm, timeout=1) for vm in ("hung", "dead", "well")))
    started.check(1.9, least=0.9)
    assert well.ok
    for outcome in (hung, dead):
        assert isinstance(outcome.error, DeadlineExceeded)
        assert "did not acknowledge timezone within 1 s" in outcome.comment()
        assert dom0.read(outcome.vm, "qubes-timezone") == "Europe/Warsaw"
    assert dom0.read("well", "qubes-timezone") == "Asia/Tokyo"


def test_a_vm_that_is_not_running_is_told_and_is_no_error(dom0: Dom0) -> None:
    (outcome,) = pushed(dom0, settings(WORK))
    assert outcome.ok
    assert not outcome.running
    assert "work is not running" in outcome.comment()


def test_a_vm_that_must_run_and_does_not_is_an_error(dom0: Dom0) -> None:
    (outcome,) = pushed(dom0, settings(WORK, require_running=True))
    assert isinstance(outcome.error, VMNotRunning)


def test_a_diff_shows_what_a_push_would_change_and_writes_nothing(dom0: Dom0) -> None:
    dom0.start_vm("work")
    before = dom0.dump()
    with dom0.targets() as targets:
        (outcome,) = diff([settings(WORK)], targets)
    assert set(outcome.changes) == {"timezone", "services:cups", "services:crond", "debug"}
    assert outcome.comment(test=True) == "work: 4 fields would be set"
    assert dom0.dump() == before


def test_values_are_compared_not_texts(dom0: Dom0) -> None:
    dom0.start_vm("work")
    with dom0.store() as store:
        store.write("/local/domain/1/qubes-mac", b"00:16:3E:5E:6C:00")
    network = {"ip": "10.137.0.12", "gateway": "10.137.0.5", "mac": "00:16:3e:5e:6c:00"}
    (outcome,) = pushed(dom0, settings({"network": network}))
    assert "network:mac" not in outcome.changes


def test_what_was_there_is_restored_byte_for_byte_whatever_it_was(dom0: Any) -> None:
    dom0.start_vm("work")
    dom0.agent("work", lambda setting, inputs: "no such zone" if setting == "timezone" else "")
    network = {"ip": "10.137.0.12", "gateway": "10.137.0.5", "mac": "00:16:3e:5e:6c:09"}
    former = {
        "qubes-timezone": b"Mars/\xff\x00Olympus",
        "qubes-mac": b"00:16:3E:5E:6C:00",
        "keyboard-layout": b"pl",
        "qubes-debug-mode": b"",
    }
    with dom0.store() as store:
        for name, value in former.items():
            store.write(f"/local/domain/1/{name}", value)
        (outcome,) = pushed(dom0, settings({**WORK, "keyboard": "de", "network": network}))
        assert isinstance(outcome.error, SettingRefused)
        assert {name: store.read(f"/local/domain/1/{name}") for name in former} == former
        assert not store.exists("/local/domain/1/qubes-ip")


def test_client_keys_go_when_the_network_goes(dom0: Dom0) -> None:
    dom0.start_vm("work")
    network = {"ip": "10.137.0.12", "gateway": "10.137.0.5", "dns": ["10.139.1.1"]}
    pushed(dom0, settings({"network": network}))
    (outcome,) = pushed(dom0, settings({"network": "none"}))
    assert outcome.ok
    assert dom0.read("work", "qubes-ip") is None
    assert dom0.read("work", "qubes-primary-dns") is None


def test_provider_keys_go_when_the_vm_provides_no_more(dom0: Dom0) -> None:
    dom0.start_vm("net")
    pushed(dom0, settings({"type": "NetVM", "provides_network": {"gateway": "10.137.0.5"}}, vm="net"))
    assert dom0.read("net", "qubes-netvm-gateway") == "10.137.0.5"
    pushed(dom0, settings({"type": "AppVM"}, vm="net"))
    assert dom0.read("net", "qubes-netvm-gateway") is None


def test_a_service_that_the_store_cannot_hold_is_refused_before_anything_is_written(dom0: Dom0) -> None:
    dom0.start_vm("work")
    before = dom0.dump()
    (outcome,) = pushed(dom0, settings({"services": {"app-dispvm.x": True}, "debug": True}))
    assert "app-dispvm.x" in outcome.comment()
    assert not outcome.ok
    assert dom0.dump() == before


def test_an_agent_that_says_nonsense_counts_as_silent(dom0: Dom0) -> None:
    dom0.start_vm("work")
    dom0.agent("work", lambda setting, inputs: None)
    pushed(dom0, settings(WORK))
    with dom0.guest_store("work") as guest:
        guest.write("vminterface/ack/timezone", b"\x1b[2J" * 100)
        (outcome,) = pushed(dom0, settings({"timezone": "Asia/Tokyo"}, timeout=0.3))
    assert isinstance(outcome.error, DeadlineExceeded)


def test_a_setting_refused_earlier_is_not_reported_as_well(dom0: Dom0) -> None:
    dom0.start_vm("work")
    agent = dom0.agent("work")
    assert pushed(dom0, settings(WORK))[0].ok
    agent.reply = lambda setting, inputs: "spoiled"
    with dom0.store() as store:  # somebody wrote by hand what the VM refuses
        store.write("/local/domain/1/qubes-timezone", b"Asia/Tokyo")
    deadline = time.monotonic() + 30
    while "refused" not in (dom0.read("work", "vminterface/ack/timezone") or ""):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (outcome,) = pushed(dom0, settings({"timezone": "Asia/Tokyo"}))
    assert isinstance(outcome.error, SettingRefused)


def test_no_xenstored_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XENSTORED_PATH", str(tmp_path / "nothing"))
    with Targets() as targets, pytest.raises(ConnectionLost, match="nothing"):
        push([settings(WORK)], targets)


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
def test_a_daemon_stopped_in_the_middle_ends_in_time_and_the_next_run_converges(dom0: Dom0, how: Signals) -> None:
    vms = [f"vm{i}" for i in range(20)]
    for vm in vms:
        dom0.start_vm(vm)
    process = dom0.daemon.process
    assert process is not None
    with Targets(lambda: XenStore.open(dom0.path, timeout=1.0)) as targets:
        targets.running()
        threading.Timer(0.005, os.kill, [process.pid, how]).start()
        started = Stopwatch()
        try:
            for _ in range(200):
                zone = {"timezone": "Asia/Tokyo" if _ % 2 else "Europe/Warsaw"}
                outcomes = push([settings(zone, vm=vm) for vm in vms], targets)
                if not all(o.ok for o in outcomes):
                    break
            assert not all(o.ok for o in outcomes)
        except (ConnectionLost, DeadlineExceeded):
            pass
        started.check(8)
    if how == signal.SIGSTOP:
        os.kill(process.pid, signal.SIGCONT)
    else:  # what it held is lost with it, as on a host that restarts
        dom0.daemon.stop()
        dom0.daemon.start()
        for vm in vms:
            dom0.start_vm(vm)
    outcomes = pushed(dom0, *(settings({"timezone": "Europe/Lisbon"}, vm=vm) for vm in vms))
    assert all(o.ok for o in outcomes)
    assert {dom0.read(vm, "qubes-timezone") for vm in vms} == {"Europe/Lisbon"}


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
@pytest.mark.parametrize("late", [False, True])
def test_where_the_xenstore_is_lost_in_the_middle_each_vm_has_how_it_is_left(
    dom0: Dom0, monkeypatch: pytest.MonkeyPatch, how: Signals, late: bool
) -> None:
    """Once before the second VM's transaction has written anything, once when only its end is missing."""
    real = keychanges.put
    process = dom0.daemon.process
    assert process is not None

    def put(store: Any, target: Any, *arguments: Any, **options: Any) -> Any:
        if target.vm != "b":
            return real(store, target, *arguments, **options)
        if late:
            real(store, target, *arguments, **options)
        os.kill(process.pid, how)
        return None if late else real(store, target, *arguments, **options)

    for vm in "abc":
        dom0.start_vm(vm)
    monkeypatch.setattr(keychanges, "put", put)
    with Targets(lambda: XenStore.open(dom0.path, timeout=1.0)) as targets:
        a, b, c = push([settings(WORK, vm=vm) for vm in "abc"], targets)
    if how == signal.SIGSTOP:
        os.kill(process.pid, signal.SIGCONT)
    assert a.comment().startswith("a: still has its new values, which could not be restored: ")
    left = "has either all of its new values or none" if late else "nothing was written"
    assert b.comment().startswith(f"b: {left}: ")
    assert c.comment().startswith("c: nothing was written: ")
    assert not any(outcome.changes for outcome in (a, b, c))
