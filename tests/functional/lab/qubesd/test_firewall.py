"""Firewalls in the lab's qubesd: the rules that it takes, how it prints them, and where it writes them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from lab.qubesd.daemon import Qubesd
from tests.functional.lab.qubesd.conftest import Keys
from tests.support.qubesdcalls import NOTHING, Vm


@pytest.mark.parametrize(
    ("rules", "reads"),
    [
        ("action=accept", "action=accept\n"),
        ("action=drop\n", "action=drop\n"),
        ("", ""),
        ("action=accept dst4=10.0.0.1", "action=accept dst4=10.0.0.1/32\n"),
        ("action=accept dsthost=10.0.0.0/8", "action=accept dst4=10.0.0.0/8\n"),
        ("action=accept dst6=FD00::1", "action=accept dst6=FD00::1/128\n"),
        (
            "action=accept dsthost=mirror.example.org proto=tcp dstports=443",
            "action=accept dsthost=mirror.example.org proto=tcp dstports=443-443\n",
        ),
        ("action=accept proto=tcp dstports=+80", "action=accept proto=tcp dstports=80-80\n"),
        ("proto=udp dstports=8000-8080 action=accept", "action=accept proto=udp dstports=8000-8080\n"),
        ("action=accept specialtarget=dns", "action=accept specialtarget=dns\n"),
        (
            "action=accept specialtarget=dns proto=tcp dstports=53",
            "action=accept proto=tcp specialtarget=dns dstports=53-53\n",
        ),
        ("action=accept proto=icmp icmptype=8", "action=accept proto=icmp icmptype=8\n"),
        (
            "action=accept proto=tcp dstports=80 expire=4102444800",
            "action=accept expire=4102444800 proto=tcp dstports=80-80\n",
        ),
        ("action=accept proto=tcp dstports=80 expire=1000000000", ""),
        ("action=accept comment=to be removed, soon", "action=accept comment=to be removed, soon\n"),
        ("action=accept dsthost=-bad-", "action=accept dsthost=-bad-\n"),
        ("action=accept\naction=drop proto=icmp", "action=accept\naction=drop proto=icmp\n"),
    ],
)
def test_rules_read_in_their_normal_form(work: Vm, rules: str, reads: str) -> None:
    assert work.firewall(rules) == reads


@pytest.mark.parametrize(
    "rules",
    [
        "policy=drop",
        "proto=tcp",
        "action=reject",
        "action=accept dstports=443",
        "action=accept proto=icmp dstports=443",
        "action=accept proto=tcp dstports=80,443",
        "action=accept proto=tcp dstports=443-80",
        "action=accept proto=tcp dstports=65536",
        "action=accept proto=tcp icmptype=8",
        "action=accept proto=icmp icmptype=256",
        "action=accept  proto=tcp",
        "action=accept\n\naction=drop",
        "action=accept action=drop",
        "action=accept dst4=10.0.0.1 dsthost=mirror.example.org",
        "action=accept dst4=10.0.0.1/33",
        "action=accept dsthost=Mirror.Example.Org",
        "action=accept dsthost=mirror.example.org/24",
        "action=accept colour=red",
        "action=accept expire=soon",
        "action=accept expire=99999999999999999999",
        "action=accept comment=no $hell",
        "action=accept specialtarget=ntp",
        "action=accept dsthost=caf\u00e9.example.org",
    ],
)
def test_what_is_refused_is_not_answered_and_changes_nothing(work: Vm, rules: str) -> None:
    assert work.call("firewall.Set", "", rules) is NOTHING
    assert work.call("firewall.Get") == "action=accept\n"


RULES = "action=accept specialtarget=dns\naction=accept dst6=fd00::1\naction=drop dst4=10.0.0.1 comment=a b"
WRITTEN = {"policy": "drop", "0000": "action=accept specialtarget=dns", "0002": "action=drop dst4=10.0.0.1/32"}


def rules(keys: Keys, work: Vm) -> dict[str, str]:
    return keys.below("sys-net", f"qubes-firewall/{work.get('ip')}")


def test_a_vm_that_is_off_has_its_rules_kept_and_nobody_gets_them(qubesd: Qubesd, work: Vm, keys: Keys) -> None:
    qubesd.start_vm("sys-net")
    before = dict(keys["sys-net"])
    work.firewall(RULES)
    assert keys["sys-net"] == before


def test_the_provider_has_the_rules_of_a_vm_that_starts_in_place_of_all_others(
    qubesd: Qubesd, work: Vm, keys: Keys
) -> None:
    work.firewall(RULES)
    qubesd.start_vm("sys-net")
    keys["sys-net"][f"qubes-firewall/{work.get('ip')}/0009"] = "action=accept"
    qubesd.start_vm("work")
    assert rules(keys, work) == WRITTEN
    assert keys["sys-net"][f"qubes-firewall/{work.get('ip')}"] == ""


@pytest.mark.parametrize(
    "cause",
    [
        lambda work: work.firewall(RULES),
        lambda work: work.call("firewall.Reload"),
        lambda work: work.set("netvm", "sys-net"),
        lambda work: work.daemon.start_vm("sys-net"),
        lambda work: work.daemon.start_vm("work"),
    ],
    ids=["set", "reload", "netvm", "provider", "start"],
)
def test_what_others_have_put_there_goes(qubesd: Qubesd, work: Vm, keys: Keys, cause: Callable[..., Any]) -> None:
    work.firewall(RULES)
    qubesd.start_vm("work")
    keys["sys-net"][f"qubes-firewall/{work.get('ip')}/0000"] = "action=drop"
    keys["sys-net"][f"qubes-firewall/{work.get('ip')}/0009"] = "action=accept"
    cause(work)
    assert rules(keys, work) == WRITTEN


def test_a_rule_that_expires_goes_by_itself(qubesd: Any, work: Any, keys: Any) -> None:
    qubesd.start_vm("work")
    work.firewall(f"action=accept expire={int(time.time()) + 1}\naction=drop")
    assert rules(keys, work)["0000"] == "action=accept"
    changed = ("work", "firewall-changed")
    until = time.monotonic() + 30
    while qubesd.events.log.count(changed) < 2:
        assert time.monotonic() < until
        time.sleep(0.01)
    assert rules(keys, work) == {"policy": "drop", "0000": "action=drop"}
    assert work.call("firewall.Get") == "action=drop\n"


def test_the_other_family_has_rules_of_its_own(qubesd: Qubesd, work: Vm, keys: Keys) -> None:
    qubesd.qubes["sys-net"].features["ipv6"] = "1"
    work.firewall(RULES)
    qubesd.start_vm("work")
    assert keys.below("sys-net", f"qubes-firewall/{work.get('ip6')}") == {
        "policy": "drop",
        "0000": "action=accept specialtarget=dns",
        "0001": "action=accept dst6=fd00::1/128",
    }


def test_a_provider_of_old_has_no_room_for_many_rules_which_are_kept_all_the_same(qubesd: Qubesd, work: Vm) -> None:
    qubesd.start_vm("work")
    many = "".join(f"action=accept dst4=10.0.{number}.1/32 proto=tcp dstports=443-443\n" for number in range(50))
    assert work.firewall(many) == many
    qubesd.qubes["fedora"].features["qubes-firewall"] = ""
    assert work.firewall("action=accept") == "action=accept\n"
    assert work.call("firewall.Set", "", many) is NOTHING
    assert work.call("firewall.Get") == many
    assert Vm(qubesd, "personal").firewall(many) == many
