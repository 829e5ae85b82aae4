"""Rules of firewalls, as a provider's keys, qubesd and nftables have them."""

from __future__ import annotations

import json
from dataclasses import replace

from tests.fuzz.pieces import in_pairs, packed, plain, text_pairs
from tests.fuzz.target import Target, bytes_target, check_text, text_target
from vminterface.dom0.desired.firewall import ClientFirewall
from vminterface.errors import ProgramFailed, VMInterfaceError
from vminterface.values import firewallstore
from vminterface.values.firewall import Firewall, Rule
from vminterface.vm.machine.programs import Programs
from vminterface.vm.net import nft

NOW = 1_700_000_000.0
RULES = (
    "action=accept dst4=8.8.8.8/32 proto=udp dstports=53-53",
    "action=accept specialtarget=dns",
    "action=drop dst6=fd00::/8",
    "action=accept dsthost=mirror.example.org proto=tcp dstports=443",
    "action=drop proto=icmp icmptype=8",
)
WRONG_RULES = (
    "proto=tcp", "action=accept action=drop", "action=accept dst4=1.2.3.4 dst6=::", "action=accept dstports=1-2",
    "action=accept icmptype=8", "action=accept specialtarget=dns proto=icmp", "action=accept proto=tcp dstports=9-8",
    "action=accept dsthost=1.2.3.4", "action=accept dsthost=-", "action=accept dst4=1.2.3.4/33", "action=x", "x=y",
    "x", "=",
    "action=accept proto=x", "action=accept icmptype=256 proto=icmp", "action=accept dst6=x", "action=drop dsthost=A",
)  # fmt: skip
_WORDS = (
    "action=accept action=drop dst4= dst6= dsthost= proto=tcp proto=udp proto=icmp specialtarget=dns dstports="
    " icmptype="
    " expire= comment= /32 ::/0 0.0.0.0/0 65535"
)
STORED = (
    "action=accept dst4=8.8.8.8/32 proto=udp dstports=53-53\naction=accept specialtarget=dns\n",
    "action=accept expire=1800000000 dsthost=example.org comment=a b\naction=drop\n",
    "action=accept expire=1\naction=drop dsthost=-bad-\n",
    "action=accept expire=1 expire=2\n\n",
)
PILLARS = (
    {"policy": "drop", "rules": [{"action": "accept", "dsthost": "mirror.example.org", "proto": "tcp",
        "dstports": 443}]},
    {"policy": "accept", "netvm": "sys-firewall", "ip": "10.137.0.12", "ip6": "fd00::1", "rules": [RULES[0], RULES[2]]},
    {"policy": "drop", "rules": [{"action": "accept", "expire": 1_800_000_000, "comment": "for now"}]},
    {"policy": "drop", "rules": ["action=accept expire=1800000000 comment=x", "action=accept dst4=0.0.0.0/0"]},
    {"policy": "x", "netvm": "dom0", "rules": "x", "y": 1},
    {"policy": "drop", "rules": [{"action": None}, 7, {"x": 1}, {"action": "accept", "comment": "é", "expire": "x"}]},
)  # fmt: skip


def _keys(data: bytes) -> Firewall:
    """Read the keys of one client; a first line ``4`` or ``6`` is the version of its address."""
    first, _, rest = data.partition(b"\n")
    if first in (b"4", b"6"):
        return Firewall.parse(text_pairs(rest)).of_family(int(first))
    return Firewall.parse(text_pairs(data))


def _firewall_holds(value: Firewall) -> None:
    check_text(str(value))
    again = (
        Firewall.parse(value.render()).of_family(value.version or 0)
        if value.version
        else Firewall.parse(value.render())
    )
    assert again.meaning == value.meaning, f"{value} is rendered as {again}"
    assert value.meaning.meaning == value.meaning
    assert value.at(NOW).without_ends().at(NOW * 2) == value.at(NOW).without_ends()


def _rule_holds(rule: Rule) -> None:
    text = rule.render()
    check_text(text)
    assert Rule.parse(text).render() == text
    assert firewallstore.StoredRule.parse(text).rule == rule
    later = replace(rule, expire=7)
    assert firewallstore.StoredRule.parse(later.render(with_end=True)).expire == 7


def _stored(text: str) -> Firewall | None:
    found = firewallstore.parse(text, NOW)
    left = firewallstore.in_effect(text, NOW)
    assert firewallstore.in_effect(left, NOW) == left
    assert firewallstore.parse(left, NOW) == found
    return found


def _stored_holds(value: Firewall | None) -> None:
    if value is not None and all(rule.comment.isascii() for rule in value.rules):
        text = firewallstore.render(value)
        again = firewallstore.parse(text, NOW)
        assert again is not None
        assert again.meaning == value.meaning, f"{value} is rendered as {text!r}"
        assert firewallstore.render(again) == text


def _of_pillar(data: bytes) -> ClientFirewall | None:
    return ClientFirewall.parse(plain(data))


def _pillar_holds(value: ClientFirewall | None) -> None:
    if value is None:
        return
    text = firewallstore.render(value.firewall)
    assert text.isascii()
    again = ClientFirewall.parse(value.in_words(value.firewall))
    assert again is not None
    assert again.firewall.meaning == value.firewall.meaning
    assert firewallstore.parse(text, 0.0) is not None
    for address, firewall in value.keys().items():
        assert Firewall.parse(firewall.render()).meaning == firewall.meaning, address


class _Nft(Programs):
    """A machine whose nft prints what it is told to, in JSON where it is asked for that."""

    def __init__(self, output: bytes) -> None:
        self._output = output

    def run(self, argv: object, **options: object) -> bytes:
        assert isinstance(argv, list)
        if argv == ["nft", "-j", "list", "tables", "ip"]:
            return self._output.partition(b"\0")[0]
        if "-j" not in argv:
            return b"table ip qubes { }\n"
        if self._output.endswith(b"\0"):
            raise ProgramFailed("nft ended with status 1", 1)
        return self._output.partition(b"\0")[2]


def _listed(data: bytes) -> nft.Found:
    return nft.read(_Nft(data), "ip")


def _listed_holds(found: nft.Found) -> None:
    assert found == nft.Found() or found.mark
    nft.withdrawal("ip", found)
    nft.elements("ip", found, found.allowed, frozenset())
    nft.restoration("ip", found)


_TABLES = b'{"nftables": [{"metainfo": {}}, {"table": {"family": "ip", "name": "qubes", "handle": 1}}]}'
_LISTING = json.dumps({
    "nftables": [
        {"metainfo": {"version": "1"}}, {"table": {"family": "ip", "name": "qubes"}},
        {"chain": {"family": "ip", "table": "qubes", "name": "custom-input", "handle": 1}},
        {"rule": {"family": "ip", "table": "qubes", "chain": "custom-input", "expr": [{"counter": {"packets": 1}}]}},
        {"set": {"name": "allowed", "elem": [{"concat": ["vif5.0", "10.137.0.12"]}]}},
        {"set": {"name": "downstream", "elem": ["10.137.0.12"]}},
    ]
}).encode()  # fmt: skip

TARGETS: tuple[Target, ...] = (
    text_target(
        "values.firewallrule", Rule.parse, Rule.render, *RULES, *WRONG_RULES, holds=_rule_holds, words=_WORDS,
    ),
    bytes_target(
        "values.firewall", _keys,
        in_pairs({"policy": "drop", **{f"{i:04}": rule for i, rule in enumerate(RULES)}}),
        b"4\npolicy=drop\n0001=action=accept dst6=fd00::1\n0002=action=accept", b"policy=accept\n0000=action=drop",
        b"0000=action=drop", b"policy=drop\n00=x", b"policy=x\n",
        b"6\npolicy=drop\n0000=action=accept\n0001=action=accept",
        holds=_firewall_holds, words=f"policy=drop policy=accept 0000= 0001= 9999= {_WORDS}",
    ),
    text_target("values.firewallstore", _stored, None, *STORED, holds=_stored_holds, words=_WORDS),
    bytes_target(
        "dom0.firewallpillar", _of_pillar, *map(packed, PILLARS), packed(None), packed("x"), holds=_pillar_holds,
        words=f"policy drop accept netvm ip ip6 rules {_WORDS.replace('=', ' ')}",
    ),
    bytes_target(
        "vm.nftables", _listed, _TABLES + b"\0" + _LISTING, _TABLES + b"\0", b'{"nftables": []}\0', b"\0", b"[]\0[]",
        _TABLES + b'\0{"nftables": [7, {"set": {}}]}', holds=_listed_holds, errors=(VMInterfaceError,),
        words='{"nftables":[ ]} {"set":{ "name":"allowed" "elem":[ "concat":[ null {"rule":{ {"chain":{ 1e999 "table"',
    ),
)  # fmt: skip
