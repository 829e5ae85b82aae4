"""The tables ``ip qubes`` and ``ip6 qubes`` of nftables in a VM that provides network: their text, and how to load it.

Chains and sets are named and ordered as in the files ``qubes-antispoof.nft`` and ``qubes-ipv4.nft`` of Qubes
core-agent, so that what an admin has written for those fits these. The chains ``custom-input`` and
``custom-forward`` are the admin's own and are never emptied.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from itertools import cycle
from typing import Any

from vminterface.errors import VMInterfaceError, printable
from vminterface.values.sha256 import hexdigest
from vminterface.vm.machine.programs import Programs

TABLE = "qubes"
FAMILIES = ("ip", "ip6")
#: Groups of interfaces: the way out, and the ways to clients.
UPLINK, VIF = 1, 2
CUSTOM = ("custom-input", "custom-forward")
#: A client's interface is in the group only once it was configured; until then it is recognized by its name.
_TO_CLIENTS = (f"oifgroup {VIF}", 'oifname "vif*"')
_FROM_CLIENTS = (f"iifgroup {VIF}", 'iifname "vif*"')

Address = IPv4Address | IPv6Address
#: Member of the set ``allowed``: the interface's name and the address that may come from it.
Element = tuple[str, Address]


@dataclass(frozen=True, slots=True)
class Found:
    """What the kernel has of one family's table: ``text`` loads it again, ``mark`` identifies it.

    Counters and members of sets do not count for the mark. ``text`` and ``mark`` are empty without a table.
    """

    text: str = ""
    mark: str = ""
    allowed: frozenset[Element] = frozenset()
    downstream: frozenset[Address] = frozenset()
    #: Chains and sets, and those chains of them that hold rules.
    chains: frozenset[str] = frozenset()
    filled: frozenset[str] = frozenset()
    sets: frozenset[str] = frozenset()


def rules(family: str, virtual: Sequence[Address], resolvers: Sequence[Address]) -> str:
    """Return the lines that make chains, sets and rules of *family*, whatever was there before of ours.

    *virtual* are the addresses that clients ask for names; those and *resolvers* of the other family do not count.
    """
    chains = _chains(family)
    hook = "type nat hook prerouting priority dstnat; policy accept;"
    version = 4 if family == "ip" else 6
    asked = [address for address in virtual if address.version == version]
    chains["dnat-dns"] = [hook, *_redirect(family, asked, [one for one in resolvers if one.version == version])]
    kind = "ipv4_addr" if family == "ip" else "ipv6_addr"
    lines = [
        f"add table {family} {TABLE}",
        f"add set {family} {TABLE} downstream {{ type {kind}; }}",
        f"add set {family} {TABLE} allowed {{ type ifname . {kind}; }}",
        *(f"add chain {family} {TABLE} {name}" for name in (*CUSTOM, *chains)),
        *(f"flush chain {family} {TABLE} {name}" for name in chains),
        # Made anew, as a chain's hook cannot be changed.
        *(f"delete chain {family} {TABLE} {name}" for name in reversed(chains)),
        *(f"add chain {family} {TABLE} {name} {{ {hook} }}" for name, (hook, *_) in chains.items()),
        *(f"add rule {family} {TABLE} {name} {rule}" for name, (_, *rules) in chains.items() for rule in rules),
    ]
    return "".join(f"{line}\n" for line in lines)


def _chains(family: str) -> dict[str, list[str]]:
    """Return each chain of *family* as its hook and its rules; one that is jumped to comes before who jumps to it."""
    source, icmp = ("ip saddr", "icmp") if family == "ip" else ("ip6 saddr", "icmpv6")
    prohibited = "host-prohibited" if family == "ip" else "admin-prohibited"
    icmp_from_clients = [f"{way} meta l4proto {icmp} accept" for way in _FROM_CLIENTS]
    dhcp_from_clients: list[str] = []
    uplink: list[str] = []
    if family == "ip":
        dhcp_from_clients = [f"{way} udp dport 68 counter drop" for way in _FROM_CLIENTS]
    else:
        # A client is no router: what it says of routes is not for this VM.
        routes = "icmpv6 type { nd-router-advert, nd-redirect } counter drop"
        icmp_from_clients = [*(f"{way} {routes}" for way in _FROM_CLIENTS), *icmp_from_clients]
        # A reply of DHCPv6 is to a request that went to everybody, so no flow knows it; and without its neighbours'
        # ICMPv6, that of routers and of multicast among it, a host has no IPv6.
        uplink = [
            "ip6 saddr fe80::/64 ip6 daddr fe80::/64 udp dport 546 accept",
            "meta l4proto icmpv6 accept",
        ]
    neither_client = " ".join(way.replace(" ", " != ", 1) for way in _FROM_CLIENTS)
    return {
        "antispoof": ["", f"iifname . {source} @allowed accept", "counter drop"],
        "prerouting": [
            "type filter hook prerouting priority raw; policy accept;",
            *(f"{way} goto antispoof" for way in _FROM_CLIENTS),
            f"{source} @downstream counter drop",
        ],
        "postrouting": [
            "type nat hook postrouting priority srcnat; policy accept;",
            *(f"{way} accept" for way in _TO_CLIENTS),
            'oifname "lo" accept',
            "masquerade",
        ],
        "input": [
            "type filter hook input priority filter; policy drop;",
            "jump custom-input",
            "ct state invalid counter drop",
            *dhcp_from_clients,
            "ct state established,related accept",
            *icmp_from_clients,
            'iifname "lo" accept',
            *(f"{way} counter reject with {icmp} {prohibited}" for way in _FROM_CLIENTS),
            *uplink,
            "counter",
        ],
        "forward": [
            "type filter hook forward priority filter; policy accept;",
            "jump custom-forward",
            "ct state invalid counter drop",
            "ct state established,related accept",
            f"{neither_client} counter drop",
            *(f"{way} counter drop" for way in _TO_CLIENTS),
        ],
    }


def _redirect(family: str, virtual: Sequence[Address], resolvers: Sequence[Address]) -> list[str]:
    """Return the rules for requests to *virtual*: in turn to the *resolvers*; without any, dropped.

    Over IPv6 they go to this VM's own address, whose input is rejected at once.
    """
    if family == "ip6" and not resolvers:
        return []
    targets = cycle([f"dnat to {resolver}" for resolver in resolvers] or ["drop"])
    return [
        f"{family} daddr {address} {protocol} dport 53 {target}"
        for address, target in zip(virtual, targets, strict=False)
        for protocol in ("udp", "tcp")
    ]


def elements(family: str, found: Found, old: Collection[Element], new: Collection[Element]) -> str:
    """Return the lines that take *old* out of the sets of *family* and put *new* in; empty where it is so already."""
    version = 4 if family == "ip" else 6
    mine = {element for element in old if element[1].version == version}
    desired = {element for element in new if element[1].version == version}
    remaining = {address for _, address in found.allowed - mine}
    before, after = {a for _, a in mine}, {a for _, a in desired}
    return "".join(
        f"{verb} element {family} {TABLE} {name} {{ {', '.join(members)} }}\n"
        for verb, name, members in (
            ("delete", "allowed", _pairs((mine - desired) & found.allowed)),
            ("delete", "downstream", sorted(map(str, (before - after - remaining) & found.downstream))),
            ("add", "allowed", _pairs(desired - found.allowed)),
            ("add", "downstream", sorted(map(str, after - found.downstream))),
        )
        if members
    )


def _pairs(found: Iterable[Element]) -> list[str]:
    return sorted(f'"{interface}" . {address}' for interface, address in found)


def withdrawal(family: str, found: Found) -> str:
    """Return the lines that take away what is ours; what an admin has put into the table stays, without effect."""
    if not found.text:
        return ""
    ours = {"dnat-dns", *_chains(family)}
    if not (found.filled & {*CUSTOM} or found.chains - ours - {*CUSTOM} or found.sets - {"allowed", "downstream"}):
        return f"delete table {family} {TABLE}\n"
    there = [name for name in ("dnat-dns", *reversed(_chains(family))) if name in found.chains]
    lines = [f"flush chain {family} {TABLE} {name}" for name in there]
    lines += [f"delete chain {family} {TABLE} {name}" for name in there]
    lines += [f"delete set {family} {TABLE} {name}" for name in ("allowed", "downstream") if name in found.sets]
    return "".join(f"{line}\n" for line in lines)


def restoration(family: str, before: Found) -> str:
    """Return the lines that make the table what it was *before*."""
    return f"add table {family} {TABLE}\ndelete table {family} {TABLE}\n{before.text}"


def load(machine: Programs, text: str) -> None:
    """Let the kernel take *text* over, all of it or nothing; empty text: nothing to do. Raises VMInterfaceError."""
    if text:
        machine.run(["nft", "-f", "-"], input=text.encode())


def read(machine: Programs, family: str) -> Found:
    """Return what the kernel has of the table of *family*. Raises VMInterfaceError."""
    tables = _ask(machine, ["tables", family])
    try:
        there = [(t["table"].get("name"), t["table"].get("family")) for t in tables if "table" in t]
    except (AttributeError, TypeError) as error:
        raise _unknown_form(f"tables {family}", error) from None
    if (TABLE, family) not in there:
        return Found()
    text = machine.run(["nft", "list", "table", family, TABLE]).decode()
    listed = _ask(machine, ["table", family, TABLE])
    try:
        members = {s["set"]["name"]: s["set"].get("elem", []) for s in listed if "set" in s}
        address = IPv4Address if family == "ip" else IPv6Address
        return Found(
            text,
            hexdigest(json.dumps([*filter(None, map(_stable, listed))]).encode()),
            frozenset((str(e["concat"][0]), address(e["concat"][1])) for e in members.get("allowed", [])),
            frozenset(address(e) for e in members.get("downstream", [])),
            frozenset(entry["chain"]["name"] for entry in listed if "chain" in entry),
            frozenset(entry["rule"]["chain"] for entry in listed if "rule" in entry),
            frozenset(members),
        )
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise _unknown_form(f"table {family} {TABLE}", error) from None


def _unknown_form(listed: str, error: Exception) -> VMInterfaceError:
    return VMInterfaceError(f"nft -j list {listed}: unknown output format ({printable(repr(error), 80)})")


def _stable(entry: Any) -> Any:
    """Return *entry* of a listing without what comes and goes: handles, counts, members of sets, an admin's rules."""
    if isinstance(entry, list):
        return [_stable(part) for part in entry]
    if not isinstance(entry, dict):
        return entry
    if "metainfo" in entry or entry.get("rule", {}).get("chain") in CUSTOM:
        return None
    return {k: _stable(v) for k, v in entry.items() if k not in ("handle", "packets", "bytes", "elem", "index")}


def _ask(machine: Programs, words: list[str]) -> list[dict[str, Any]]:
    output = machine.run(["nft", "-j", "list", *words])
    try:
        return list(json.loads(output)["nftables"])
    except (ValueError, KeyError, TypeError, RecursionError):
        shown = printable(output, 80)
        raise VMInterfaceError(f"nft -j list {' '.join(words)}: other output than requested: {shown}") from None
