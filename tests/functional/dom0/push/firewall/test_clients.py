"""A client's firewall is in the store of the VM that provides its network, written as its reader needs it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.xenstored.fakexen import missing
from tests.support.dom0 import Dom0
from tests.support.firewallservice import FirewallService
from tests.support.qubesdb import QubesHost
from tests.support.rpcstandin import until
from tests.support.stores import need
from vminterface.channel.qubesdb.store import QubesDB
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.push.firewall.client import Client
from vminterface.dom0.push.outcome import Outcome
from vminterface.dom0.push.push import diff, push
from vminterface.dom0.results.inwords import firewall
from vminterface.dom0.results.returns import changes_of
from vminterface.errors import (
    ConnectionLost,
    DeadlineExceeded,
    InvalidValue,
    SettingRefused,
    StoreError,
    VerificationFailed,
    VMNotRunning,
)
from vminterface.wire.qubesdb import Command

TOP = "/qubes-firewall/10.137.0.5"
RULES = ["action=accept dst4=8.8.8.8/32 proto=udp dstports=53-53", "action=accept specialtarget=dns"]
FIREWALL = {"netvm": "sys-net", "ip": "10.137.0.5", "policy": "drop", "rules": RULES}
COUNTER = "/qubes-firewall-handled/10.137.0.5"
HELD = {TOP: b"", f"{TOP}/policy": b"drop", f"{TOP}/0000": RULES[0].encode(), f"{TOP}/0001": RULES[1].encode()}


@pytest.fixture
def qubes(tmp_path: Path) -> Iterator[QubesHost]:
    with QubesHost(tmp_path / "h") as host:
        host.start_vm("work")
        host.start_vm("sys-net")
        yield host


@pytest.fixture
def service(qubes: QubesHost) -> Iterator[FirewallService]:
    """The firewall service of sys-net at work."""
    with FirewallService(qubes.daemons["sys-net"].guest("sys-net")) as service:
        yield service


def settings(
    vm: str = "work", *, timezone: str | None = None, timeout: float = 1.0, confirm: bool = True, **firewall: object
) -> VMSettings:
    raw: dict[str, object] = {"firewall": {**FIREWALL, **firewall}, "timeout": timeout, "confirm": confirm}
    return VMSettings.parse(vm, raw if timezone is None else {**raw, "timezone": timezone})


def pushed(host: QubesHost | Dom0, *desired: VMSettings) -> list[Outcome]:
    with host.targets() as targets:
        return push(desired, targets)


def held(host: QubesHost, below: str = "/qubes-firewall/") -> dict[str, bytes]:
    with host.store("sys-net") as store:
        return {path: value for path, value in store.tree("/").items() if path.startswith(below)}


@pytest.fixture
def changes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, bytes]]:
    """Every change that is asked of a QubesDB, in order."""
    asked: list[tuple[str, str, bytes]] = []
    ask = QubesDB._ask

    def note(self: QubesDB, requests: Any, deadline: Any, *more: Any) -> Any:
        asked.extend((r.command.name, r.path, r.value) for r in requests if r.command in (Command.WRITE, Command.RM))
        return ask(self, requests, deadline, *more)

    monkeypatch.setattr(QubesDB, "_ask", note)
    return asked


def test_old_rules_go_then_policy_and_rules_come_and_the_provider_is_told_last(
    qubes: QubesHost, service: FirewallService, changes: list[Any]
) -> None:
    with qubes.store("sys-net") as store:
        store.write(f"{TOP}/policy", b"accept")
        store.write(f"{TOP}/0007", b"action=drop")
    changes.clear()
    (outcome,) = pushed(qubes, settings())
    assert outcome.comment() == "work: firewall set"
    counted = [("WRITE", COUNTER, b"1"), ("WRITE", TOP, b""), ("WRITE", COUNTER, b"2")]
    assert changes[-3:] == counted
    assert changes[:-3] == [
        ("RM", f"{TOP}/", b""),
        ("WRITE", f"{TOP}/policy", b"drop"),
        ("WRITE", f"{TOP}/0000", RULES[0].encode()),
        ("WRITE", f"{TOP}/0001", RULES[1].encode()),
        ("WRITE", TOP, b""),
    ]
    assert service.handled == [("10.137.0.5", {path: value for path, value in HELD.items() if path != TOP})] * 2
    assert held(qubes) == HELD
    assert changes_of(outcome) == {
        "firewall": {"old": {"policy": "drop", "rules": []}, "new": {"policy": "drop", "rules": RULES}}
    }
    assert changes_of(outcome, keys=True) == {
        "qubes-firewall/10.137.0.5": {"old": "action=drop; policy=accept", "new": f"{'; '.join(RULES)}; policy=drop"}
    }


def test_a_second_time_nothing_is_written(qubes: QubesHost, changes: list[Any]) -> None:
    pushed(qubes, settings())
    changes.clear()
    (outcome,) = pushed(qubes, settings())
    assert (changes, outcome.changes, outcome.comment()) == ([], {}, "work is already as configured")


def test_rules_that_mean_the_same_are_not_written_anew(qubes: QubesHost, changes: list[Any]) -> None:
    with qubes.store("sys-net") as store:
        for path, value in ((f"{TOP}/0003", RULES[0]), (f"{TOP}/0009", RULES[1]), (f"{TOP}/policy", "drop"), (TOP, "")):
            store.write(path, value.encode())
    changes.clear()
    assert pushed(qubes, settings(rules=["action=accept dst4=8.8.8.8 proto=udp dstports=53", RULES[1]]))[0].ok
    assert changes == []


def test_rules_of_which_the_provider_was_never_told_are_written_anew(qubes: QubesHost) -> None:
    with qubes.store("sys-net") as store:
        for path in HELD.keys() - {TOP}:
            store.write(path, HELD[path])
    assert pushed(qubes, settings())[0].changes
    assert held(qubes) == HELD


@pytest.mark.parametrize("value", [b"action=accept dpi=http", b"\xff\x1b[2J", b""])
def test_what_is_no_firewall_is_replaced_and_shown_as_printable_text(qubes: QubesHost, value: bytes) -> None:
    with qubes.store("sys-net") as store:
        store.write(f"{TOP}/0000", value)
        store.write(f"{TOP}/policy", b"drop")
    (outcome,) = pushed(qubes, settings())
    old = changes_of(outcome)["firewall"]["old"]
    assert old.startswith("0000: ")
    assert old.isascii()
    assert old.isprintable()
    assert held(qubes) == HELD


def test_a_look_tells_the_same_and_writes_nothing(qubes: QubesHost, changes: list[Any]) -> None:
    with qubes.targets() as targets:
        (would,) = diff([settings()], targets)
    assert changes == []
    assert held(qubes) == {}
    assert would.changes == pushed(qubes, settings())[0].changes


def test_both_families_of_addresses_are_kept_each_with_its_rules(qubes: QubesHost) -> None:
    six = "action=accept dst6=fd00::/8"
    (outcome,) = pushed(qubes, settings(ip6="fd09:24ef:4179::a89:5", rules=[*RULES, six]))
    assert set(outcome.changes) == {"firewall"}
    assert set(changes_of(outcome, keys=True)) == {
        f"qubes-firewall/{a}" for a in ("10.137.0.5", "fd09:24ef:4179::a89:5")
    }
    top6 = "/qubes-firewall/fd09:24ef:4179::a89:5"
    assert held(qubes) == {
        **HELD,
        top6: b"",
        f"{top6}/policy": b"drop",
        # Numbered as qubesd does it, by the place among the rules of both families.
        f"{top6}/0001": RULES[1].encode(),
        f"{top6}/0002": six.encode(),
    }


def test_other_clients_are_left_alone(qubes: QubesHost) -> None:
    pushed(qubes, settings())
    # One whose address begins like the other's.
    qubes.start_vm("personal")
    pushed(qubes, settings("personal", ip="10.137.0.53", rules=[], policy="accept"))
    pushed(qubes, settings(rules=[]))
    assert held(qubes) == {
        TOP: b"",
        f"{TOP}/policy": b"drop",
        f"{TOP}3": b"",
        f"{TOP}3/policy": b"drop",
        f"{TOP}3/0000": b"action=accept",
    }


def test_a_client_that_is_not_running_has_its_firewall_before_it_starts(qubes: QubesHost) -> None:
    qubes.stop_vm("work")
    (outcome,) = pushed(qubes, settings())
    assert outcome.ok
    assert outcome.comment().startswith("work is not running: firewall set; ")
    assert held(qubes) == HELD
    assert "already" not in pushed(qubes, settings())[0].comment()


def test_a_provider_that_is_not_running_is_an_error_only_where_the_client_runs(qubes: QubesHost) -> None:
    qubes.stop_vm("sys-net")
    (outcome,) = pushed(qubes, settings())
    assert isinstance(outcome.error, VMNotRunning)
    assert str(outcome.error) == "work: sys-net, which applies its firewall, is not running"
    qubes.stop_vm("work")
    assert pushed(qubes, settings())[0].ok


@pytest.mark.parametrize(("timeout", "ok"), [(12.0, True), (0.5, False)])
def test_the_timeout_of_a_vm_is_that_of_its_providers_store_too(qubes: QubesHost, timeout: float, ok: bool) -> None:
    """The provider's daemon does nothing for longer than a VM's store has by default."""
    with qubes.daemons["sys-net"].stopped():
        wake = threading.Timer(6.0, qubes.daemons["sys-net"].signal, [signal.SIGCONT])
        wake.start()
        (outcome,) = pushed(qubes, settings(timeout=timeout, confirm=False))
        assert wake.is_alive() == (not ok)
        wake.cancel()
    assert outcome.ok == ok, outcome.comment()
    assert (held(qubes) == HELD) == ok


def test_a_provider_that_hangs_costs_one_deadline_however_many_clients_it_has(qubes: QubesHost) -> None:
    qubes.start_vm("personal")
    both = [settings(timeout=0.5), settings("personal", ip="10.137.0.6", timeout=0.5)]
    with qubes.daemons["sys-net"].stopped():
        outcomes = pushed(qubes, *both, VMSettings.parse("sys-net", {"timeout": 0.5}))
    assert all(isinstance(o.error, DeadlineExceeded) for o in outcomes[:2])
    assert [o.changes for o in outcomes] == [{}, {}, {}]


@pytest.fixture
def after_rules(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What else is done each time that the rule ``action=drop`` was written; its argument are the outcomes."""
    done: list[Any] = []
    batch = QubesDB.batch

    def with_more(self: QubesDB, operations: Any, **more: Any) -> Any:
        outcomes = batch(self, operations, **more)
        if done and any(getattr(o, "value", b"") == b"action=drop" for o in operations):
            done[0](outcomes)
        return outcomes

    monkeypatch.setattr(QubesDB, "batch", with_more)
    return done


def test_what_cannot_be_written_whole_is_put_back_before_the_provider_is_told(
    qubes: QubesHost, changes: list[Any], after_rules: list[Any]
) -> None:
    pushed(qubes, settings())
    changes.clear()
    after_rules.append(lambda outcomes: outcomes.__setitem__(-1, StoreError("no room")))
    (outcome,) = pushed(qubes, settings(rules=["action=drop"]))
    assert isinstance(outcome.error, StoreError)
    assert outcome.comment() == "work: its firewall in sys-net: no room; former values restored"
    assert outcome.changes == {}
    assert held(qubes) == HELD
    assert TOP not in [path for _, path, _ in changes]


def test_rules_that_somebody_else_writes_meanwhile_are_written_over(
    qubes: QubesHost, service: FirewallService, after_rules: list[Any]
) -> None:
    def once(outcomes: Any) -> None:
        after_rules.clear()
        with qubes.store("sys-net") as store:
            store.write(f"{TOP}/0005", b"action=accept")

    after_rules.append(once)
    assert pushed(qubes, settings(rules=["action=drop"], timeout=30))[0].ok
    assert held(qubes) == {TOP: b"", f"{TOP}/policy": b"drop", f"{TOP}/0000": b"action=drop"}


def test_rules_that_somebody_else_writes_all_the_time_are_left_to_them(
    qubes: QubesHost, changes: list[Any], after_rules: list[Any]
) -> None:
    pushed(qubes, settings())
    changes.clear()

    def each_time(outcomes: Any) -> None:
        with qubes.store("sys-net") as store:
            store.write(f"{TOP}/0005", b"action=accept")

    after_rules.append(each_time)
    (outcome,) = pushed(qubes, settings(rules=["action=drop"]))
    assert isinstance(outcome.error, VerificationFailed)
    assert outcome.comment() == (
        "work: its firewall in sys-net does not hold the written rules after 3 attempts; "
        "changes made there by another program meanwhile are kept"
    )
    assert held(qubes)[f"{TOP}/0005"] == b"action=accept"
    assert TOP not in [path for _, path, _ in changes]


def test_rules_that_qubesd_writes_while_the_vm_is_waited_for_are_no_former_ones(
    qubes: QubesHost, service: FirewallService
) -> None:
    theirs = {TOP: b"", f"{TOP}/policy": b"accept", f"{TOP}/0000": b"action=drop dst4=10.0.0.0/8"}

    def slowly(setting: Any, inputs: Any) -> Any:
        with qubes.store("sys-net") as store:
            for path, value in sorted(theirs.items(), reverse=True):
                store.write(path, value)
        # It has said so once that was counted.
        assert until(lambda: service.handled)
        service.at_work.clear()
        return ""

    qubes.agent("work", slowly)
    (outcome,) = pushed(qubes, settings(timezone="Europe/Warsaw", timeout=2))
    assert "did not handle" in outcome.comment()
    assert held(qubes) == theirs


def test_a_vm_that_hangs_holds_up_no_firewall_of_another_one(qubes: QubesHost, service: FirewallService) -> None:
    qubes.start_vm("slow")
    qubes.agent("slow", lambda setting, inputs: None)
    slow = VMSettings.parse("slow", {"timezone": "Asia/Tokyo", "timeout": 600})
    pushing = threading.Thread(target=pushed, args=(qubes, settings(timeout=30), slow), daemon=True)
    pushing.start()
    try:
        assert until(lambda: len(service.handled) == 2, 20)
        assert pushing.is_alive()
    finally:
        qubes.stop_vm("slow")
        pushing.join(20)


def test_it_is_set_once_the_provider_has_handled_it(qubes: QubesHost, service: FirewallService) -> None:
    service.at_work.clear()
    threading.Timer(0.5, service.at_work.set).start()
    (outcome,) = pushed(qubes, settings(ip6="fd09:24ef:4179::a89:5", timeout=30))
    assert outcome.comment() == "work: firewall set"
    assert {address for address, _ in service.handled} == {"10.137.0.5", "fd09:24ef:4179::a89:5"}
    assert pushed(qubes, settings(rules=[], timeout=30))[0].ok
    assert service.handled[-1] == ("10.137.0.5", {f"{TOP}/policy": b"drop"})


def test_what_the_provider_was_told_before_is_not_taken_for_an_answer(
    qubes: QubesHost, service: FirewallService
) -> None:
    service.at_work.clear()
    pushed(qubes, settings(rules=["action=drop"], confirm=False))
    assert until(lambda: service.seen)
    threading.Timer(0.5, service.at_work.set).start()
    assert pushed(qubes, settings(timeout=30))[0].ok
    assert service.handled[-1][1] == {path: value for path, value in HELD.items() if path != TOP}


def test_rules_that_the_provider_does_not_handle_in_time_are_put_back_with_all_else(
    qubes: QubesHost, service: FirewallService, changes: list[Any]
) -> None:
    qubes.agent("work")
    assert pushed(qubes, settings(timezone="Europe/Warsaw", timeout=30))[0].ok
    service.at_work.clear()
    changes.clear()
    (outcome,) = pushed(qubes, settings(timezone="Asia/Tokyo", rules=["action=drop"], timeout=2))
    assert isinstance(outcome.error, DeadlineExceeded)
    assert outcome.comment() == (
        "work: the firewall service of sys-net did not handle its rules within 2 s; former values restored"
    )
    assert outcome.changes == {}
    assert held(qubes) == HELD
    assert qubes.read("work", "qubes-timezone") == "Europe/Warsaw"
    # It was told of the former rules when all of them were there again.
    firewall_changes = [(command, path) for command, path, _ in changes if path.startswith(TOP)]
    assert firewall_changes.count(("WRITE", TOP)) == 2
    assert firewall_changes[-1] == ("WRITE", TOP)
    service.at_work.set()
    assert until(lambda: len(service.handled) == 2, 10)
    assert service.handled[-1][1] == {path: value for path, value in HELD.items() if path != TOP}


def test_where_there_were_none_nothing_is_left_of_rules_that_are_not_handled(qubes: QubesHost) -> None:
    with qubes.store("sys-net") as store:
        store.write("/qubes-firewall-handled/10.137.0.9", b"4")
    (outcome,) = pushed(qubes, settings(timeout=0.3))
    assert isinstance(outcome.error, DeadlineExceeded)
    assert held(qubes) == {}


def test_a_provider_without_a_firewall_service_is_told(qubes: QubesHost) -> None:
    qubes.agent("work")
    (outcome,) = pushed(qubes, settings(timezone="Europe/Warsaw", timeout=2))
    assert outcome.comment() == (
        "work: firewall, timezone set; "
        "no firewall service in sys-net replied within 2 s, so the rules take effect when one starts there"
    )
    qubes.stop_vm("work")
    assert pushed(qubes, settings(rules=[]))[0].comment() == (
        "work is not running: firewall set; no firewall service in sys-net replied within 1 s, so the "
        "rules take effect when one starts there; its settings need a push after the next start"
    )


def test_nobody_waits_where_the_pillar_says_so(qubes: QubesHost, service: FirewallService) -> None:
    service.at_work.clear()
    (outcome,) = pushed(qubes, settings(confirm=False, timeout=30))
    assert outcome.comment() == "work: firewall set; the acknowledgement of sys-net was not waited for"
    assert service.handled == []


def test_all_clients_of_a_provider_wait_together(qubes: QubesHost) -> None:
    with qubes.store("sys-net") as store:
        store.write("/qubes-firewall-handled/10.137.0.9", b"4")
    vms = {f"vm{n}": f"10.137.0.{n}" for n in range(20, 32)}
    qubes.start_vm(*vms)
    started = time.monotonic()
    outcomes = pushed(qubes, *(settings(vm, ip=ip, timeout=1.0) for vm, ip in vms.items()))
    # One after the other they would take 12 s.
    assert time.monotonic() - started < 8
    assert {type(outcome.error) for outcome in outcomes} == {DeadlineExceeded}


def test_a_provider_that_stops_before_it_has_handled_the_rules_is_an_error_of_its_client(
    qubes: QubesHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    notify = Client.notify

    def tell_and_stop(client: Any, *addresses: Any) -> None:
        notify(client, *addresses)
        qubes.daemons["sys-net"].stop()

    monkeypatch.setattr(Client, "notify", tell_and_stop)
    (outcome,) = pushed(qubes, settings(timezone="Europe/Warsaw", timeout=5))
    assert isinstance(outcome.error, ConnectionLost)
    assert str(outcome.error).startswith("work: its firewall in sys-net: ")
    assert outcome.comment().endswith("; the former rules could not be restored")
    assert outcome.changes == {}
    assert qubes.read("work", "qubes-timezone") is None


def test_a_firewall_that_cannot_be_begins_nothing_else_of_the_vm(qubes: QubesHost) -> None:
    qubes.stop_vm("sys-net")
    before = qubes.dump()
    assert isinstance(pushed(qubes, settings(timezone="Europe/Warsaw"))[0].error, VMNotRunning)
    assert qubes.dump() == before


def test_a_vm_that_refuses_its_settings_keeps_its_firewall(qubes: QubesHost, service: FirewallService) -> None:
    qubes.agent("work", lambda setting, inputs: "no such zone")
    (outcome,) = pushed(qubes, settings(timezone="Europe/Warsaw", timeout=30))
    assert isinstance(outcome.error, SettingRefused)
    assert held(qubes) == {}
    assert service.handled == []


def test_the_addresses_and_the_provider_are_those_of_the_vm_unless_the_firewall_names_others() -> None:
    raw = {"netvm": "sys-net", "network": {"ip": "10.137.0.5", "gateway": "10.137.0.1", "ip6": "fd00::5"}}
    one = VMSettings.parse("work", {**raw, "firewall": {"policy": "drop"}}).firewall
    assert one is not None
    assert (one.netvm, str(one.ip), str(one.ip6)) == ("sys-net", "10.137.0.5", "fd00::5")
    names = {"policy": "drop", "netvm": "sys-vpn", "ip": "10.0.0.1"}
    other = VMSettings.parse("work", {**raw, "firewall": names}).firewall
    assert other is not None
    assert (other.netvm, str(other.ip), other.ip6) == ("sys-vpn", "10.0.0.1", None)


@pytest.mark.parametrize(
    ("firewall", "where"),
    [
        ("drop", "firewall"),
        ({"netvm": "sys-net", "ip": "10.0.0.1"}, "firewall:policy"),
        ({**FIREWALL, "policy": "reject"}, "firewall:policy"),
        ({**FIREWALL, "policy": True}, "firewall:policy"),
        ({"policy": "drop", "ip": "10.0.0.1"}, "firewall:netvm"),
        ({"policy": "drop", "netvm": "sys-net"}, "firewall:ip"),
        ({**FIREWALL, "netvm": "no vm"}, "firewall:netvm"),
        ({**FIREWALL, "ip": "10.0.0"}, "firewall:ip"),
        ({**FIREWALL, "rulez": []}, "firewall:rulez"),
        ({**FIREWALL, "rules": RULES[0]}, "firewall:rules"),
        ({**FIREWALL, "rules": [7]}, "firewall:rules:0"),
        ({**FIREWALL, "rules": [RULES[0], "accept"]}, "firewall:rules:1"),
        ({**FIREWALL, "rules": [{"action": "accept", "dst5": "x"}]}, "firewall:rules:0:dst5"),
        ({**FIREWALL, "rules": [{"action": "accept", 5: "x"}]}, "firewall:rules:0:5"),
        ({**FIREWALL, "rules": [{"action": "accept", "dsthost": 8.8}]}, "firewall:rules:0:dsthost"),
        ({**FIREWALL, "rules": [{"action": "accept", "proto": "tcp", "dstports": True}]}, "firewall:rules:0:dstports"),
        (
            {**FIREWALL, "rules": [{"action": "accept", "proto": "tcp", "dstports": 10**5000}]},
            "firewall:rules:0:dstports",
        ),
    ],
)
def test_every_fault_in_the_pillar_has_its_path(firewall: dict[str, Any] | str, where: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        VMSettings.parse("work", {"firewall": firewall}, where="qubes:vms:work")
    assert [fault.where for fault in caught.value.errors] == [f"qubes:vms:work:{where}"]


def test_rules_may_be_mappings() -> None:
    rules = [{"action": "accept", "dst4": "8.8.8.8", "proto": "udp", "dstports": 53}, {"action": "drop"}]
    desired = settings(rules=rules).firewall
    assert desired is not None
    assert list(desired.keys()["10.137.0.5"].render().values()) == [
        "drop",
        RULES[0],
        "action=drop",
    ]


@pytest.mark.parametrize("keys", [False, True])
def test_it_is_shown_under_the_name_that_its_changes_have(qubes: QubesHost, keys: bool) -> None:
    desired = settings(ip6="fd09:24ef:4179::a89:5")
    assert desired.firewall is not None
    shown = firewall(desired.firewall.shown, keys=keys)
    changes = changes_of(pushed(qubes, desired)[0], keys=keys)
    assert shown == {field: change["new"] for field, change in changes.items()}
    assert {change["old"] for change in changes.values()} == {None if keys else "none"}


def test_rules_are_shown_as_the_pillar_has_them_and_others_in_the_same_form(qubes: QubesHost) -> None:
    web = {"action": "accept", "dsthost": "mirror.example.org", "proto": "tcp", "dstports": "443"}
    ping = {"action": "accept", "proto": "icmp", "icmptype": 8}
    ports = {"action": "drop", "dst4": "10.0.0.0/8", "proto": "udp", "dstports": "1-9"}
    pushed(qubes, settings(policy="accept", rules=[web, ping, ports]))
    (outcome,) = pushed(qubes, settings(policy="accept", rules=[ping]))
    assert changes_of(outcome)["firewall"] == {
        "old": {"policy": "accept", "rules": [{**web, "dstports": 443}, ping, {**ports, "dst4": "10.0.0.0/8"}]},
        "new": {"policy": "accept", "rules": [ping]},
    }
    (outcome,) = pushed(qubes, settings(policy="accept", rules=["action=accept dsthost=mirror.example.org"]))
    assert changes_of(outcome)["firewall"] == {
        "old": {"policy": "accept", "rules": ["action=accept proto=icmp icmptype=8"]},
        "new": {"policy": "accept", "rules": ["action=accept dsthost=mirror.example.org"]},
    }


def test_the_rules_of_both_families_are_shown_as_the_one_firewall_that_they_are(qubes: QubesHost) -> None:
    rules = ["action=accept dst6=fd00::/8", RULES[0], "action=accept dst6=fe80::/10"]
    pushed(qubes, settings(ip6="fd09:24ef:4179::a89:5", rules=rules))
    (outcome,) = pushed(qubes, settings(ip6="fd09:24ef:4179::a89:5", rules=[*rules, RULES[1]]))
    assert changes_of(outcome)["firewall"]["old"] == {"policy": "drop", "rules": [rules[0], RULES[0], rules[2]]}


def test_addresses_with_different_firewalls_are_shown_each(qubes: QubesHost) -> None:
    pushed(qubes, settings())
    (outcome,) = pushed(qubes, settings(ip6="fd09:24ef:4179::a89:5"))
    assert changes_of(outcome)["firewall"] == {
        "old": {"10.137.0.5": {"policy": "drop", "rules": RULES}, "fd09:24ef:4179::a89:5": "none"},
        "new": {"policy": "drop", "rules": RULES},
    }


def test_the_firewall_is_a_topic() -> None:
    both = settings(timezone="Europe/Warsaw")
    assert both.only(["timezone"]).firewall is None
    assert both.only(["firewall"]).firewall == both.firewall
    assert not both.only(["firewall"]).desired


def test_a_provider_on_xenstore_is_refused_in_a_sentence(tmp_path: Path) -> None:
    need(missing())
    with Dom0(tmp_path / "xen") as dom0:
        dom0.start_vm("work")
        dom0.start_vm("sys-net")
        before = dom0.dump()
        (outcome,) = pushed(dom0, settings())
        assert isinstance(outcome.error, InvalidValue)
        assert "QubesDB" in str(outcome.error)
        assert dom0.dump() == before
