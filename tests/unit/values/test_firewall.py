"""A client's firewall: every rule that dom0 may write, exactly as it writes it, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tests.support import seeds
from vminterface.errors import InvalidValue
from vminterface.values.firewall import OPTIONS, RULES_MAX, SCHEMAS, Action, Firewall, Rule

NUMBERED = [
    "action=accept dst4=8.8.8.8/32 proto=udp dstports=53-53",
    "action=accept specialtarget=dns",
    "action=drop",
    "action=drop proto=icmp icmptype=8",
    "action=accept dst6=fd00::/8 proto=tcp dstports=0-65535",
    "action=accept dsthost=mirror.example.org proto=tcp dstports=443-443",
    "action=accept dst4=10.0.0.1/8",
    "action=accept proto=udp specialtarget=dns dstports=53-53",
]


def refused(text: str) -> tuple[str, str]:
    with pytest.raises(InvalidValue) as caught:
        Rule.parse(text)
    assert str(caught.value).isascii()
    assert str(caught.value).isprintable()
    return caught.value.where, str(caught.value)


@pytest.mark.parametrize("text", NUMBERED)
def test_what_dom0_writes_is_read_and_written_the_same(text: str) -> None:
    assert Rule.parse(text).render() == text


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("action=accept dst4=8.8.8.8", "action=accept dst4=8.8.8.8/32"),
        ("action=accept dst6=FD00:0::1", "action=accept dst6=fd00::1/128"),
        ("dstports=53 proto=udp action=drop", "action=drop proto=udp dstports=53-53"),
        ("specialtarget=dns proto=tcp action=accept", "action=accept proto=tcp specialtarget=dns"),
    ],
)
def test_what_an_admin_writes_gets_the_one_form(text: str, rendered: str) -> None:
    assert Rule.parse(text).render() == rendered
    assert Rule.parse(rendered) == Rule.parse(text)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", ""),
        ("accept", ""),
        ("action=accept  proto=tcp", ""),
        ("action=accept ", ""),
        (" action=accept", ""),
        ("=accept", ""),
        ("action=accept\tproto=tcp", "action"),
        ("action=accept\n", "action"),
        ("proto=tcp", "action"),
        ("action=reject", "action"),
        ("action=Accept", "action"),
        ("action=", "action"),
        ("action=accept action=accept", "action"),
        ("action=accept dpi=http", "dpi"),
        ("action=accept comment=x", "comment"),
        ("action=accept dst4=8.8.8.8/33", "dst4"),
        ("action=accept dst4=8.8.8.8/08", "dst4"),
        ("action=accept dst4=8.8.8.8/255.0.0.0", "dst4"),
        ("action=accept dst4=8.8.8", "dst4"),
        ("action=accept dst4=256.8.8.8", "dst4"),
        ("action=accept dst4=fd00::1", "dst4"),
        ("action=accept dst6=8.8.8.8", "dst6"),
        ("action=accept dst6=fd00::1/129", "dst6"),
        ("action=accept dst6=fe80::1%eth0", "dst6"),
        ("action=accept dst4=8.8.8.8 dst6=fd00::1", "dst6"),
        ("action=accept dst4=8.8.8.8 dsthost=a.example", "dsthost"),
        ("action=accept dsthost=Example.org", "dsthost"),
        ("action=accept dsthost=-a", "dsthost"),
        ("action=accept dsthost=" + "a" * 254, "dsthost"),
        ("action=accept dsthost=8.8.8.8", "dsthost"),
        ("action=accept dsthost=", "dsthost"),
        ("action=accept proto=sctp", "proto"),
        ("action=accept dstports=53", "dstports"),
        ("action=accept proto=icmp dstports=53", "dstports"),
        ("action=accept proto=tcp dstports=65536", "dstports"),
        ("action=accept proto=tcp dstports=80-79", "dstports"),
        ("action=accept proto=tcp dstports=080", "dstports"),
        ("action=accept proto=tcp dstports=80-", "dstports"),
        ("action=accept proto=tcp dstports=-1", "dstports"),
        ("action=accept proto=tcp dstports=80-90-100", "dstports"),
        ("action=accept icmptype=8", "icmptype"),
        ("action=accept proto=tcp icmptype=8", "icmptype"),
        ("action=accept proto=icmp icmptype=256", "icmptype"),
        ("action=accept proto=icmp icmptype=08", "icmptype"),
        ("action=accept specialtarget=DNS", "specialtarget"),
        ("action=accept proto=icmp specialtarget=dns", "specialtarget"),
        # The reader would pass over this rule.
        ("action=accept proto=tcp specialtarget=dns dstports=54", "specialtarget"),
        ("action=accept \x1b[2J=x", "\\x1b[2J"),
    ],
)
def test_what_the_reader_would_not_take_is_refused_with_the_option_at_fault(text: str, where: str) -> None:
    assert refused(text)[0] == where


def test_the_policy_comes_first_and_the_rules_in_their_order() -> None:
    firewall = Firewall(Action.DROP, (Rule.parse(NUMBERED[0]), Rule.parse(NUMBERED[1])))
    assert list(firewall.render().items()) == [("policy", "drop"), ("0000", NUMBERED[0]), ("0001", NUMBERED[1])]
    assert str(firewall) == f"{NUMBERED[0]}; {NUMBERED[1]}; policy=drop"


def test_numbers_may_have_gaps_and_only_their_order_counts() -> None:
    keys = {"0010": NUMBERED[1], "policy": "drop", "0002": NUMBERED[0]}
    assert Firewall.parse(keys) == Firewall(Action.DROP, (Rule.parse(NUMBERED[0]), Rule.parse(NUMBERED[1])))


@pytest.mark.parametrize(
    ("keys", "where"),
    [
        ({}, "policy"),
        ({"0000": NUMBERED[0]}, "policy"),
        ({"policy": "drop", "1": NUMBERED[0]}, "1"),
        ({"policy": "drop", "00000": NUMBERED[0]}, "00000"),
        ({"policy": "drop", "0000/x": NUMBERED[0]}, "0000/x"),
        ({"policy": "drop", "\u0660" * 4: NUMBERED[0]}, "\\u0660\\u0660\\u0660\\u0660"),
    ],
)
def test_keys_that_make_no_firewall_are_refused(keys: dict[str, str], where: str) -> None:
    with pytest.raises(InvalidValue, match=r"\(expected (accept or drop|four digits)\)") as caught:
        Firewall.parse(keys)
    assert caught.value.where == where


@pytest.mark.parametrize(
    ("policy", "rules", "written"),
    [
        ("accept", [], ["action=accept"]),
        ("accept", ["action=drop dst4=10.0.0.0/8"], ["action=drop dst4=10.0.0.0/8", "action=accept"]),
        ("drop", ["action=accept"], ["action=accept"]),
        ("accept", ["action=drop"], ["action=drop"]),
        ("drop", [], []),
    ],
)
def test_the_policy_is_written_as_qubesd_does_it(policy: str, rules: list[str], written: list[str]) -> None:
    firewall = Firewall(Action.parse(policy), tuple(map(Rule.parse, rules)))
    assert list(firewall.render().items()) == [("policy", "drop"), *((f"{i:04}", t) for i, t in enumerate(written))]
    assert Firewall.parse(firewall.render()).meaning == firewall.meaning


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("accept", []), ("drop", ["action=accept"]), True),
        (("drop", []), ("drop", ["action=drop"]), True),
        (("accept", ["action=drop"]), ("drop", []), True),
        # What stands behind a rule that takes every packet is never reached.
        (("drop", ["action=accept", "action=drop"]), ("accept", []), True),
        (("accept", []), ("drop", []), False),
        (("drop", ["action=accept proto=tcp"]), ("accept", []), False),
    ],
)
def test_firewalls_are_compared_by_what_they_do(
    one: tuple[str, list[str]], other: tuple[str, list[str]], same: bool
) -> None:
    a, b = (Firewall(Action.parse(policy), tuple(map(Rule.parse, rules))) for policy, rules in (one, other))
    assert (a.meaning == b.meaning) is same


def test_a_rule_has_the_number_that_qubesd_gives_it_for_either_family() -> None:
    rules = ["action=accept dst4=10.0.0.0/8", "action=accept dst6=fd00::/8", "action=drop proto=icmp"]
    firewall = Firewall(Action.ACCEPT, tuple(map(Rule.parse, rules)))
    assert firewall.of_family(4).render() == {
        "policy": "drop", "0000": rules[0], "0002": rules[2], "0003": "action=accept"
    }  # fmt: skip
    assert firewall.of_family(6).render() == {
        "policy": "drop", "0001": rules[1], "0002": rules[2], "0003": "action=accept"
    }  # fmt: skip


def test_each_family_of_addresses_has_its_own_rules() -> None:
    firewall = Firewall(Action.DROP, tuple(map(Rule.parse, NUMBERED)))
    four, six = (firewall.of_family(version).render().values() for version in (4, 6))
    assert not any("dst6" in text for text in four)
    assert not any("dst4" in text for text in six)
    assert set(four) | set(six) == {*NUMBERED, "drop"}
    assert NUMBERED[5] in four
    assert NUMBERED[5] in six


def test_there_are_no_more_rules_than_numbers() -> None:
    assert len(Firewall(Action.DROP, (Rule(Action.DROP),) * RULES_MAX).render()) == RULES_MAX + 1
    with pytest.raises(InvalidValue, match=r"10001 rules \(expected at most 10000\)") as caught:
        Firewall(Action.DROP, (Rule(Action.DROP),) * (RULES_MAX + 1))
    assert caught.value.where == "rules"
    # The policy needs one more.
    with pytest.raises(InvalidValue):
        Firewall(Action.ACCEPT, (Rule(Action.DROP, protocol="tcp"),) * RULES_MAX)


PORTS = st.tuples(st.integers(0, 65535), st.integers(0, 65535)).map(sorted).map(tuple)
RULES = st.builds(
    Rule,
    action=st.sampled_from(Action),
    network=st.none() | st.ip_addresses(network="0.0.0.0/0").map(lambda a: Rule.parse(f"action=drop dst4={a}").network),
    protocol=st.sampled_from(["tcp", "udp"]),
    ports=st.none() | PORTS,
)


@given(RULES)
def test_every_rule_comes_back_from_its_text(rule: Any) -> None:
    assert Rule.parse(rule.render()) == rule
    assert len(rule.render()) <= 3071


@pytest.mark.fuzz
def test_any_text_is_a_rule_or_refused() -> None:
    chance = seeds.chance("firewall rules")
    runs = seeds.rounds(100_000)
    words = [*OPTIONS, "accept", "drop", "tcp", "icmp", "dns", "53", "80-90", "8.8.8.8/32", "fd00::/8", "=", " ", "\0"]
    accepted = 0
    for _ in range(runs):
        text = chance.choice(NUMBERED)
        for _ in range(chance.randrange(3)):
            at = chance.randrange(len(text) + 1)
            new = chance.choice(words) if chance.random() < 0.5 else chr(chance.choice([chance.randrange(128), 0x660]))
            text = text[:at] + new + text[at + chance.randrange(6) :]
        try:
            rule = Rule.parse(text)
        except InvalidValue:
            continue
        accepted += 1
        assert Rule.parse(rule.render()) == rule
    assert accepted > runs // 10


def test_all_errors_of_a_rule_are_found_each_with_its_option() -> None:
    with pytest.raises(InvalidValue) as caught:
        Rule.of({"dst4": "x", "dsthost": "a.example", "icmptype": "8", "\x1b": "y"})
    found = [error.where for error in caught.value.errors]
    assert found == ["action", "dsthost", "dst4", "\\x1b", "icmptype"]
    assert "the rule has both dst4 and dsthost" in str(caught.value)


def test_options_whose_errors_are_known_count_as_there() -> None:
    def found(options: dict[str, str], *unreadable: str) -> list[str]:
        with pytest.raises(InvalidValue) as caught:
            Rule.of(options, unreadable)
        return [error.where for error in caught.value.errors]

    assert found({"action": "accept"}, "dst4") == []
    assert found({}, "action") == []
    assert found({"dst4": "10.0.0.1"}, "action", "dsthost") == ["dsthost"]
    # A protocol that could not be read may be the right one.
    assert found({"action": "accept", "dstports": "53", "icmptype": "8"}, "proto") == []
    assert found({"action": "accept", "dstports": "x"}, "proto") == ["dstports"]


def test_an_address_in_place_of_a_name_is_told_where_it_belongs() -> None:
    assert "this goes into dst4" in refused("action=accept dsthost=8.8.8.8")[1]
    assert "this goes into dst6" in refused("action=accept dsthost=fd00::1/64")[1]


def test_the_last_icmp_type_is_255() -> None:
    assert Rule.parse("action=drop proto=icmp icmptype=255").icmp_type == 255


def test_a_rule_ends_at_its_second_and_a_providers_keys_do_not_have_that() -> None:
    rule = Rule(Action.ACCEPT, expire=100)
    firewall = Firewall(Action.DROP, (rule, Rule(Action.ACCEPT, protocol="tcp")))
    assert firewall.at(99.5) == firewall
    assert firewall.at(100).rules == firewall.rules[1:]
    assert firewall.without_ends().rules == (Rule(Action.ACCEPT), firewall.rules[1])
    assert rule.render() == "action=accept"
    assert rule.render(with_end=True) == "action=accept expire=100"
    assert str(firewall) == "action=accept expire=100; action=accept proto=tcp; policy=drop"


def test_a_comment_is_not_compared() -> None:
    assert Rule(Action.DROP, comment="a") == Rule(Action.DROP, comment="b") == Rule(Action.DROP)
    assert Rule(Action.DROP).comment == ""


def test_a_firewall_means_the_same_for_one_family_without_the_rules_of_the_other() -> None:
    rules = tuple(map(Rule.parse, ["action=accept", "action=drop dst6=fd00::/8"]))
    assert Firewall(Action.DROP, rules, 4).meaning == Firewall(Action.ACCEPT)
    assert Firewall(Action.DROP, rules, 6).meaning == Firewall(Action.DROP, rules)
    assert str(Firewall(Action.DROP, rules, 4)) == "action=accept; policy=drop"


@pytest.mark.parametrize("rule", [*NUMBERED, "action=drop proto=icmp icmptype=255", "action=accept dst6=FD00:0::1"])
def test_the_schemas_take_what_the_parser_takes(rule: str) -> None:
    for name, text in (word.split("=") for word in rule.split()):
        form = Draft202012Validator(SCHEMAS[name])
        assert form.is_valid(text)
        assert not text.isdigit() or form.is_valid(int(text))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("action", "reject"), ("dst4", "8.8.8"), ("dst4", "8.8.8.8/0"), ("dst6", "fe80::1%eth0"), ("dst6", "::/0"),
        ("dsthost", "Example.org"), ("dsthost", "a" * 254), ("proto", "sctp"), ("specialtarget", "DNS"),
        ("dstports", 65536), ("dstports", "080"), ("icmptype", 256), ("icmptype", "08"), ("dstports", -1),
        ("icmptype", -1),
    ],
)  # fmt: skip
def test_the_schemas_refuse_what_has_another_form(option: str, value: str | int) -> None:
    assert not Draft202012Validator(SCHEMAS[option]).is_valid(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("accept", "'accept' is not a valid rule (expected words option=value with one space between)"),
        ("action=accept action=accept", "is given twice"),
        ("proto=tcp", "the rule has no action (expected accept or drop)"),
        ("action=reject", "'reject' is not a valid action (expected accept or drop)"),
        ("action=accept dpi=http", f"unknown option (expected one of: {', '.join(OPTIONS)})"),
        (
            "action=accept dst4=8.8",
            "'8.8' is not a valid IPv4 network (expected one such as 10.0.0.0/8, or an address)",
        ),
        ("action=accept dst6=x", "'x' is not a valid IPv6 network (expected one such as fd00::/8, or an address)"),
        (
            "action=accept dsthost=A",
            "'A' is not a valid host name (expected lower-case letters, digits, dots, - and _)",
        ),
        ("action=accept proto=sctp", "'sctp' is not valid (expected tcp, udp, icmp)"),
        ("action=accept specialtarget=x", "'x' is not valid (expected dns)"),
        ("action=accept dstports=53", "ports are only valid with proto=tcp or proto=udp"),
        (
            "action=accept proto=tcp dstports=x",
            "'x' is not a valid port or range of ports (expected one from 0 to 65535, or first-last)",
        ),
        ("action=accept icmptype=8", "an ICMP type is only valid with proto=icmp"),
        ("action=accept proto=icmp icmptype=x", "'x' is not a valid ICMP type (expected a number from 0 to 255)"),
        (
            "action=accept proto=icmp specialtarget=dns",
            "specialtarget=dns is only valid with proto=tcp or proto=udp and port 53",
        ),
    ],
)
def test_the_message_says_what_is_wrong_and_what_is_expected(text: str, message: str) -> None:
    assert refused(text)[1] == message
