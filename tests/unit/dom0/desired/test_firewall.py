"""Rules as ``qvm-firewall --raw`` prints them, with what qubesd's store alone has: an end and a comment."""

from __future__ import annotations

import time

import pytest

from vminterface.dom0.desired.firewall import ClientFirewall
from vminterface.errors import InvalidValue
from vminterface.values import firewallstore

LATER = 99_999_999_999
WORDS = "action=accept dst4=192.168.1.0/24 proto=tcp dstports=443-443"


def firewall(*rules: object) -> ClientFirewall:
    found = ClientFirewall.parse({"policy": "drop", "netvm": "sys-net", "ip": "10.137.0.12", "rules": list(rules)})
    assert found is not None
    return found


@pytest.mark.parametrize(
    "rule",
    [
        f"action=accept dst4=192.168.1.0/24 proto=tcp dstports=443-443 expire={LATER} comment=the printer, until May",
        f"action=accept expire={LATER} dst4=192.168.1.0/24 proto=tcp dstports=443-443 comment=the printer, until May",
        {"action": "accept", "dst4": "192.168.1.0/24", "proto": "tcp", "dstports": 443, "expire": LATER,
         "comment": "the printer, until May"},
    ],
)  # fmt: skip
def test_qubesd_keeps_the_end_and_the_comment_and_the_provider_has_the_rule(rule: dict[str, int | str] | str) -> None:
    found = firewall(rule)
    stored = WORDS.replace("accept", f"accept expire={LATER}")
    assert firewallstore.render(found.firewall) == f"{stored} comment=the printer, until May\n"
    assert found.keys()["10.137.0.12"].render() == {"policy": "drop", "0000": WORDS}


def test_what_qubesd_holds_is_compared_with_the_end_and_without_the_comment() -> None:
    desired = firewall(f"{WORDS} expire={LATER} comment=mine").firewall
    held = firewallstore.parse(f"{WORDS} expire={LATER} comment=theirs\n", 0)
    assert held is not None
    assert held.meaning == desired.meaning
    assert firewallstore.parse(f"{WORDS}\n", 0) != desired
    assert firewallstore.parse(f"{WORDS} expire={LATER - 1}\n", 0) != desired


def test_a_rule_that_has_ended_is_none() -> None:
    ended = firewall(f"{WORDS} expire=5", "action=drop proto=icmp")
    assert ended.keys()["10.137.0.12"].render() == {"policy": "drop", "0000": "action=drop proto=icmp"}
    assert firewallstore.render(ended.firewall.at(time.time())) == "action=drop proto=icmp\n"


@pytest.mark.parametrize(
    ("rule", "where"),
    [
        (f"{WORDS} expire=soon", "rules:0:expire"),
        (f"{WORDS} expire=5 expire=6", "rules:0:expire"),
        (f"{WORDS} comment=", "rules:0:comment"),
        (f"{WORDS} comment=\x1b[2J", "rules:0:comment"),
        (f"comment=x {WORDS}", "rules:0:comment"),
        ({"action": "drop", "expire": -1}, "rules:0:expire"),
        ({"action": "drop", "comment": 7}, "rules:0:comment"),
    ],
)
def test_an_end_or_a_comment_that_qubesd_does_not_take_is_refused(rule: dict[str, int | str] | str, where: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        firewall(rule)
    assert [fault.where for fault in caught.value.errors] == [where]


def test_an_option_that_is_no_option_is_said_whatever_its_value() -> None:
    with pytest.raises(InvalidValue, match=r"^rules:0:dstport: unknown option \(did you mean 'dstports'\?\)$"):
        ClientFirewall.parse({"policy": "drop", "rules": [{"action": "accept", "proto": "tcp", "dstport": 22}]})
