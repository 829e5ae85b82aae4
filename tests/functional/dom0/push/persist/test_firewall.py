"""A firewall lasts: qubesd keeps the rules, compared by what they do, and the provider has qubesd's own keys."""

from __future__ import annotations

from typing import Any

import pytest

from lab.qubesd import Qube, Unanswered
from lab.qubesd.firewall import parse_rules
from tests.support.firewallservice import FirewallService
from tests.support.qubeshost import R4
from vminterface.channel import adminapi
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.results.returns import changes_of, drift_of
from vminterface.errors import (
    DeadlineExceeded,
    InvalidValue,
    PermissionDenied,
    SettingRefused,
    StoreError,
    VerificationFailed,
)

RULES = ["action=accept specialtarget=dns", "action=accept dst4=10.0.0.1/32 proto=tcp dstports=443-443"]
TEN = "action=drop dst4=10.0.0.0/8"
MIRROR = {"action": "drop", "dsthost": "mirror.example.org", "proto": "tcp", "dstports": 80}
MIRROR_KEPT = "action=drop dsthost=mirror.example.org proto=tcp dstports=80-80"
GET, SET = "firewall.Get", "firewall.Set"


def address(qubes: R4, vm: str = "work") -> str:
    found = qubes.qubesd.system.value(vm, "ip")
    assert found is not None
    return found


def settings(
    qubes: R4,
    vm: str = "work",
    policy: str = "drop",
    rules: list[Any] = RULES,
    timeout: float = 1.0,
    **more: bool | dict[str, str] | str,
) -> VMSettings:
    firewall = {"netvm": "sys-net", "ip": address(qubes, vm), "policy": policy, "rules": rules}
    return VMSettings.parse(vm, {"firewall": firewall, "timeout": timeout, **more})


def unanswered() -> None:
    raise Unanswered("a bad rule")


def live(qubes: R4, vm: str = "work") -> dict[str, str]:
    top = f"/qubes-firewall/{address(qubes, vm)}"
    return {path.removeprefix(top): text for path, text in qubes.keys("sys-net", top).items()}


OPEN = {"": "", "/policy": "drop", "/0000": "action=accept"}
CLOSED = {"": "", "/policy": "drop", "/0000": RULES[0], "/0001": RULES[1]}


def test_qubesd_keeps_the_rules_and_the_provider_has_the_keys_that_qubesd_writes(qubes: R4) -> None:
    assert live(qubes) == OPEN
    qubes.asked()
    (outcome,) = qubes.push(settings(qubes))
    assert outcome.ok, outcome.comment()
    assert qubes.rules("work").splitlines() == RULES
    assert live(qubes) == CLOSED
    change = {"old": {"policy": "accept", "rules": []}, "new": {"policy": "drop", "rules": RULES}}
    assert changes_of(outcome) == {"persistent:firewall": change, "firewall": change}
    new = f"{'; '.join(RULES)}; policy=drop"
    assert changes_of(outcome, keys=True) == {
        name: {"old": "action=accept; policy=drop", "new": new}
        for name in ("admin.vm.firewall", f"qubes-firewall/{address(qubes)}")
    }
    # Whatever lets qubesd write its own rules, they are these.
    qubes.qubesd.stop_vm("work")
    qubes.qubesd.start_vm("work")
    assert live(qubes) == CLOSED
    assert qubes.push(settings(qubes))[0].comment() == "work is already as configured"


def test_what_is_there_already_costs_one_call_and_sets_nothing(qubes: R4) -> None:
    qubes.push(settings(qubes))
    qubes.asked()
    assert qubes.push(settings(qubes))[0].changes == {}
    assert qubes.asked(GET, SET) == [("admin.vm.firewall.Get", "", "work")]


@pytest.mark.parametrize("running", [True, False])
def test_a_diff_says_what_a_push_then_changes_and_changes_nothing(qubes: R4, running: bool) -> None:
    if not running:
        qubes.qubesd.stop_vm("work")
    before = qubes.host.dump()
    (would,) = qubes.diff(settings(qubes))
    assert qubes.asked(SET) == []
    assert qubes.host.dump() == before
    (outcome,) = qubes.push(settings(qubes))
    assert outcome.changes == would.changes
    assert "persistent:firewall" in would.changes
    assert qubes.diff(settings(qubes))[0].changes == {}


def test_what_qubesd_will_write_counts_whatever_the_keys_are(qubes: R4) -> None:
    """The keys are as the pillar says, and would be so until the VM's next start."""
    qubes.push(settings(qubes, persist=False))
    assert live(qubes) == CLOSED
    (would,) = qubes.diff(settings(qubes))
    assert set(would.changes) == {"persistent:firewall"}
    assert "already" not in would.comment(test=True)
    assert set(drift_of([would])["work"]) == {"persistent:firewall"}
    (outcome,) = qubes.push(settings(qubes))
    assert outcome.changes == would.changes
    assert qubes.rules("work").splitlines() == RULES


def test_a_halted_vm_has_it_at_its_start(qubes: R4) -> None:
    (outcome,) = qubes.push(settings(qubes, "personal"))
    assert outcome.ok, outcome.comment()
    assert qubes.rules("personal").splitlines() == RULES
    qubes.qubesd.start_vm("personal")
    assert live(qubes, "personal") == CLOSED


def test_a_halted_vm_of_a_halted_provider_is_saved_alone(qubes: R4) -> None:
    qubes.qubesd.stop_vm("work")
    qubes.qubesd.stop_vm("sys-net")
    (outcome,) = qubes.push(settings(qubes))
    assert outcome.comment().startswith("work is not running: persistent:firewall set; ")
    assert qubes.rules("work").splitlines() == RULES


@pytest.mark.parametrize(
    ("policy", "rules", "kept"),
    [
        ("accept", [], "action=accept"),
        ("drop", [], ""),
        ("accept", [TEN, MIRROR], f"{TEN}\n{MIRROR_KEPT}\naction=accept"),
        ("drop", ["action=accept dst6=fd00::/8", RULES[0]], f"action=accept dst6=fd00::/8\n{RULES[0]}"),
    ],
)  # fmt: skip
def test_the_policy_is_a_last_rule_or_none(qubes: R4, policy: str, rules: list[Any], kept: str) -> None:
    desired = settings(qubes, policy=policy, rules=rules)
    assert qubes.push(desired)[0].ok
    assert qubes.rules("work") == kept
    written = live(qubes)
    assert written["/policy"] == "drop"
    assert qubes.diff(desired)[0].changes == {}
    # What this library writes into the provider is what qubesd writes.
    with qubes.host.store("sys-net") as store:
        store.write(f"/qubes-firewall/{address(qubes)}/0009", b"action=drop proto=icmp")
    assert qubes.push(desired)[0].ok
    assert live(qubes) == written


@pytest.mark.parametrize(
    "kept",
    [
        "action=accept specialtarget=dns comment=for names, of the admin\n" + RULES[1],
        f"action=drop expire=5 proto=icmp\n{RULES[0]}\n{RULES[1]}",
        f"{RULES[0]}\n{RULES[1]}\naction=drop",
    ],
    ids=["comment", "ended", "last rule"],
)
def test_rules_of_others_that_do_the_same_are_left_as_they_are(qubes: R4, kept: str) -> None:
    qubes.push(settings(qubes))
    qubes.qubesd.qubes["work"].firewall = parse_rules(kept.encode())
    qubes.asked()
    assert qubes.push(settings(qubes))[0].changes == {}
    assert qubes.asked(SET) == []
    assert qubes.rules("work") == kept


@pytest.mark.parametrize(
    "kept",
    [
        f"{RULES[0]}\naction=accept expire=1999999999 dst4=10.0.0.1/32 proto=tcp dstports=443-443",
        "action=accept dsthost=-bad-\naction=drop",
        "action=accept proto=udp specialtarget=dns dstports=54-54 comment=a trap",
    ],
    ids=["will end", "host", "reader"],
)
def test_rules_of_others_that_do_something_else_are_replaced_once(qubes: R4, kept: str) -> None:
    qubes.qubesd.qubes["work"].firewall = parse_rules(kept.encode())
    (outcome,) = qubes.push(settings(qubes))
    assert outcome.ok, outcome.comment()
    text = f"{'; '.join(kept.splitlines())}; policy=drop"
    assert changes_of(outcome, keys=True)["admin.vm.firewall"]["old"] == text
    in_pillar = {"policy": "drop", "rules": kept.splitlines()}
    assert changes_of(outcome)["persistent:firewall"]["old"] == (in_pillar if "expire" in kept else text)
    assert qubes.rules("work").splitlines() == RULES
    assert qubes.push(settings(qubes))[0].changes == {}


@pytest.mark.parametrize("saved", [False, True])
def test_rules_to_which_there_is_no_reply_are_named_with_vm_and_field_and_leave_nothing_behind(
    qubes: R4, saved: bool
) -> None:
    before = qubes.host.dump()
    if saved:
        qubes.qubesd.faults.afterwards["admin.vm.firewall.Set", ""] = [unanswered]
    else:
        qubes.qubesd.refuse["admin.vm.firewall.Set", ""] = Unanswered("a bad rule")
    (outcome,) = qubes.push(settings(qubes))
    assert isinstance(outcome.error, PermissionDenied)
    assert str(outcome.error) == (
        "work: firewall (admin.vm.firewall.Set): qubesd refuses it without a reason (its journal may have one); "
        f"sent: {'; '.join(RULES)}; policy=drop"
    )
    assert outcome.comment().endswith("; former values restored")
    assert outcome.changes == {}
    assert qubes.rules("work") == "action=accept"
    assert qubes.host.dump() == before


def test_what_qubesd_refuses_takes_all_else_of_the_push_back(qubes: R4) -> None:
    before = qubes.host.dump()
    qubes.qubesd.refuse["admin.vm.firewall.Set", ""] = Unanswered("a bad rule")
    (outcome,) = qubes.push(settings(qubes, debug=True, vm_config={"mode": "quiet"}))
    assert outcome.comment().endswith("; former values restored")
    assert outcome.changes == {}
    assert "debug" not in qubes.qubesd.qubes["work"].properties
    assert qubes.qubesd.qubes["work"].features == {}
    assert qubes.host.dump() == before


def test_more_rules_than_a_call_carries_are_refused_before_anything_is_done(qubes: R4) -> None:
    many = [f"action=accept dst4=10.0.{n % 250}.{n // 250}/32 proto=tcp dstports=40000-50000" for n in range(1100)]
    desired = settings(qubes, rules=many, debug=True)
    before = qubes.host.dump()
    for outcome in (*qubes.diff(desired), *qubes.push(desired)):
        assert isinstance(outcome.error, InvalidValue)
        assert str(outcome.error).startswith("work: firewall: the rules have ")
    assert qubes.host.dump() == before
    assert qubes.push(settings(qubes, rules=many[:900]))[0].ok


@pytest.fixture
def old_provider(qubes: R4) -> R4:
    """sys-net says of itself that it needs the rules as text for iptables."""
    del qubes.qubesd.qubes["sys-net"].features["qubes-firewall"]
    return qubes


def test_what_was_saved_but_cannot_be_passed_on_is_taken_back_and_said(old_provider: R4) -> None:
    many = [f"action=accept dst4=10.0.{n}.0/24 proto=tcp dstports=443-443" for n in range(60)]
    (outcome,) = old_provider.push(settings(old_provider, rules=many))
    assert isinstance(outcome.error, PermissionDenied)
    assert outcome.comment().startswith(
        "work: firewall: qubesd saved the rules but could not send them to sys-net, which does not have the feature "
        "qubes-firewall (expected a provider that has it, or fewer rules); sent: action=accept dst4=10.0.0."
    )
    assert outcome.comment().endswith("; former values restored")
    assert old_provider.rules("work") == "action=accept"
    assert live(old_provider) == OPEN
    # Fewer of them fit.
    assert old_provider.push(settings(old_provider))[0].ok


def test_it_comes_last_so_that_what_the_vm_refuses_has_not_reached_qubesd(qubes: R4) -> None:
    qubes.host.agent("work", lambda setting, inputs: "no such zone here" if setting == "timezone" else "")
    qubes.asked()
    (outcome,) = qubes.push(settings(qubes, timezone="Europe/Warsaw", timeout=30))
    assert isinstance(outcome.error, SettingRefused)
    assert qubes.asked(SET) == []
    assert live(qubes) == OPEN


@pytest.mark.parametrize("drifted", [False, True], ids=["as qubesd wrote them", "written by another"])
def test_rules_that_the_provider_does_not_handle_are_put_back_in_qubesd_and_in_the_keys(
    qubes: R4, drifted: bool
) -> None:
    top = f"/qubes-firewall/{address(qubes)}"
    with FirewallService(qubes.host.daemons["sys-net"].guest("sys-net")) as service:
        qubes.qubesd.qubes["work"].firewall = parse_rules(b"action=drop proto=icmp comment=mine\naction=accept")
        if drifted:
            with qubes.host.store("sys-net") as store:
                store.write(f"{top}/0005", b"action=drop")
                store.write(top, b"")
        before, kept = live(qubes), qubes.rules("work")
        with qubes.host.store("sys-net") as store:
            store.write(f"/qubes-firewall-handled/{address(qubes)}", b"7")
        service.at_work.clear()
        (outcome,) = qubes.push(settings(qubes, timeout=1.5))
        assert isinstance(outcome.error, DeadlineExceeded)
        assert outcome.comment().endswith("did not handle its rules within 1.5 s; former values restored")
        assert outcome.changes == {}
        assert qubes.rules("work") == kept
        assert live(qubes) == before
        service.at_work.set()


def test_it_is_set_once_the_provider_has_handled_it(qubes: R4) -> None:
    with FirewallService(qubes.host.daemons["sys-net"].guest("sys-net")) as service:
        (outcome,) = qubes.push(settings(qubes, timeout=30))
        assert outcome.ok, outcome.comment()
        assert "answered" not in outcome.comment()
        base = f"/qubes-firewall/{address(qubes)}"
        assert service.handled[-1][1] == {f"{base}{path}": text.encode() for path, text in CLOSED.items() if path}


def test_what_could_not_be_put_back_in_qubesd_is_said(qubes: R4, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adminapi.AdminAPI, "firewall_set", lambda self, vm, rules: keep_half(qubes, vm))
    (outcome,) = qubes.push(settings(qubes))
    assert isinstance(outcome.error, VerificationFailed)
    assert "does not hold the rules that were set" in outcome.comment()
    assert "the former rules could not be restored" in outcome.comment()
    assert outcome.restored is False


def keep_half(qubes: R4, vm: str) -> None:
    qubes.qubesd.qubes[vm].firewall = parse_rules(RULES[0].encode())


def test_without_persist_the_run_itself_warns_that_the_rules_are_gone_at_the_next_start(qubes: R4) -> None:
    (outcome,) = qubes.push(settings(qubes, persist=False))
    warning = (
        "qubesd puts the rules of its own store there when the VM starts, its netvm is set or its firewall is reloaded "
        "(persist: true stores these in qubesd)"
    )
    assert outcome.ok
    assert outcome.comment().endswith(warning)
    assert qubes.rules("work") == "action=accept"
    (again,) = qubes.push(settings(qubes, persist=False))
    assert again.comment() == f"work is already as configured; {warning}"
    qubes.qubesd.stop_vm("work")
    qubes.qubesd.start_vm("work")
    assert live(qubes) == OPEN


def test_a_qubesd_that_does_not_reply_costs_its_deadline_once_and_changes_no_key(
    qubes: R4, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vars(adminapi.AdminAPI)["open"].__func__, "__defaults__", (0.5,))
    before = qubes.host.dump()
    qubes.qubesd.hung.set()
    outcomes = qubes.push(settings(qubes), settings(qubes, "personal"))
    assert [str(one.error).partition(":")[0] for one in outcomes] == ["work", "personal"]
    assert isinstance(outcomes[0].error, DeadlineExceeded)
    qubes.qubesd.hung.clear()
    assert qubes.host.dump() == before


@pytest.mark.parametrize(
    ("persist", "own", "pillar", "provider"),
    [
        (None, "", {}, "none"),
        (False, "", {}, "none"),
        (None, "other-net", {}, "other-net"),
        (False, "other-net", {}, "other-net"),
        (None, "other-net", {"netvm": "sys-net"}, None),
        (None, None, {"netvm": "none"}, "none"),
        (None, "other-net", {"netvm": "default"}, None),
        (None, None, {}, None),
    ],
)
def test_rules_in_a_vm_that_is_not_the_provider_are_said_to_have_no_effect(
    qubes: R4, persist: bool | None, own: str | None, pillar: dict[str, Any], provider: str | None
) -> None:
    desired = settings(qubes, **pillar).with_options(persist=persist)
    qubes.qubesd.qubes["other-net"] = Qube(properties={"provides_network": "True", "netvm": ""})
    if own is not None:
        qubes.qubesd.stop_vm("work")
        qubes.qubesd.qubes["work"].properties["netvm"] = own
    for run in (qubes.diff, qubes.push, qubes.push):
        (outcome,) = run(desired)
        assert outcome.ok, outcome.comment()
        expected = f"the rules in sys-net have no effect, as qubesd has {provider} as the VM's netvm"
        assert (expected in outcome.comment()) is (provider is not None), outcome.comment()


def test_without_persist_a_qubesd_that_does_not_reply_keeps_no_rules_back(
    qubes: R4, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vars(adminapi.AdminAPI)["open"].__func__, "__defaults__", (0.3,))
    desired = settings(qubes, persist=False)
    qubes.qubesd.hung.set()
    (outcome,) = qubes.push(desired)
    assert outcome.ok, outcome.comment()
    assert live(qubes) == CLOSED


def test_a_vm_that_qubesd_does_not_know_is_an_error_of_its_own(qubes: R4) -> None:
    unknown, known = qubes.push(
        VMSettings.parse("wrok", {"firewall": {"netvm": "sys-net", "ip": "10.137.9.9", "policy": "drop"}}),
        settings(qubes),
    )
    assert isinstance(unknown.error, StoreError | LookupError)
    assert str(unknown.error) == "wrok: qubesd does not know a VM 'wrok' (did you mean 'work'?)"
    assert known.ok, known.comment()
