"""The text in which qubesd keeps a firewall: each form that it was seen to give, and what others have saved."""

from __future__ import annotations

import pytest

from tests.support import seeds
from vminterface.values import firewallstore
from vminterface.values.firewall import Action, Firewall, Rule
from vminterface.values.firewallstore import StoredRule

NOW = 1_800_000_000


def firewall(policy: str, *rules: str) -> Firewall:
    return Firewall(Action.parse(policy), tuple(map(Rule.parse, rules)))


def means(text: str, desired: Firewall) -> bool:
    found = firewallstore.parse(text, NOW)
    return found is not None and found.meaning == desired.meaning


@pytest.mark.parametrize(
    ("desired", "text"),
    [
        (firewall("accept"), "action=accept\n"),
        (firewall("drop"), ""),
        (firewall("drop", "action=accept dst4=10.0.0.1"), "action=accept dst4=10.0.0.1/32\n"),
        (
            firewall("accept", "action=drop dsthost=mirror.example.org proto=tcp dstports=443"),
            "action=drop dsthost=mirror.example.org proto=tcp dstports=443-443\naction=accept\n",
        ),
        (
            firewall("drop", "action=accept specialtarget=dns", "action=accept proto=icmp icmptype=8"),
            "action=accept specialtarget=dns\naction=accept proto=icmp icmptype=8\n",
        ),
        (
            firewall("drop", "action=accept dst4=10.0.0.0/8", "action=accept dst6=fd00::/8"),
            "action=accept dst4=10.0.0.0/8\naction=accept dst6=fd00::/8\n",
        ),
    ],
)
def test_what_is_set_is_the_normal_form_that_qubesd_prints(desired: Firewall, text: str) -> None:
    assert firewallstore.render(desired) == text
    assert means(text, desired)


@pytest.mark.parametrize(
    "text",
    [
        "action=accept proto=tcp dstports=80-80 comment=for the mirror, at night",
        "action=accept comment=action=drop dst4=1.2.3.4 proto=tcp",
        "action=accept proto=tcp dstports=80-80 comment=",
    ],
)
def test_a_comment_does_nothing(text: str) -> None:
    rule = text.partition(" comment=")[0]
    assert means(text, firewall("drop", rule))
    assert StoredRule.parse(text).comment == text.partition("comment=")[2]


def test_a_rule_that_has_ended_is_none_and_one_that_will_end_is_not_the_same_without_an_end() -> None:
    rule = "action=accept {}proto=tcp dstports=80-80\n"
    assert means(rule.format(f"expire={NOW} "), firewall("drop"))
    assert means("action=accept expire=5 comment=gone\naction=accept\n", firewall("accept"))
    assert not means(rule.format(f"expire={NOW + 1} "), firewall("drop", rule.format("").strip()))
    assert not means(rule.format(f"expire={NOW + 1} "), firewall("drop"))
    both = rule.format("expire=5 ") + rule.format("")
    assert firewallstore.in_effect(both, NOW) == rule.format("")


def test_a_rule_of_another_program_ends_as_others_do() -> None:
    text = "action=accept dsthost=-bad- expire={} comment=of old"
    assert StoredRule.parse(text.format(5)) == StoredRule(None, 5, "of old")
    assert means(text.format(5) + "\naction=accept\n", firewall("accept"))
    assert firewallstore.parse(text.format(NOW + 1), NOW) is None


def test_ends_and_comments_are_kept_where_rules_are_written_again() -> None:
    text = f"action=accept expire={NOW + 1} dst4=10.0.0.1/32 comment=for a day\naction=accept\n"
    found = firewallstore.parse(text, NOW)
    assert found is not None
    assert firewallstore.render(found) == text


def test_a_rule_has_no_end_and_no_comment_unless_it_says_so() -> None:
    rule = Rule.parse("action=accept")
    assert StoredRule.parse("action=accept") == StoredRule(rule) == StoredRule(rule, None, "")


@pytest.mark.parametrize(
    "text",
    [
        "action=accept dsthost=-bad-",
        "action=accept proto=udp specialtarget=dns dstports=54-54",
        "action=accept proto=tcp dstports=0-65536",
        "action=accept expire=soon",
        "action=accept expire=99999999999999999999",
        "action=accept expire=1999999999 expire=1999999999",
        "action=accept dpi=http",
        "action=accept\x1b[2J",
        "comment=only this",
        "no rule at all",
        "action=accept \udcff",
    ],
)
def test_what_the_pillar_cannot_say_is_another_firewall_and_no_error(text: str) -> None:
    assert firewallstore.parse(f"action=drop proto=icmp\n{text}\n", NOW) is None


def test_more_rules_than_a_provider_takes_are_another_firewall() -> None:
    assert firewallstore.parse("action=drop proto=icmp\n" * 10_001, NOW) is None


@pytest.mark.fuzz
def test_any_text_is_read() -> None:
    chance = seeds.chance("a stored firewall")
    runs = seeds.rounds(50_000)
    words = [
        "action=",
        "accept",
        "expire=",
        "comment=",
        "dst4=10.0.0.1",
        " ",
        "\n",
        "=",
        "9",
        "proto=tcp",
        "\0",
        "\udcff",
    ]
    for _ in range(runs):
        firewallstore.parse("".join(chance.choice(words) for _ in range(chance.randrange(12))), NOW)
