"""How a VM's ``firewall`` in the pillar is read: the provider that keeps it, the VM's addresses, and the rules."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from vminterface.dom0.fields import DEFAULT, suggest, yaml_text
from vminterface.errors import InvalidValue, InvalidValues, printable_value
from vminterface.values.address import parse_ipv4, parse_ipv6
from vminterface.values.firewall import OPTIONS, Action, Firewall, Rule
from vminterface.values.vmname import VMName, refuse_dom0

_FIELDS = ("netvm", "ip", "ip6", "policy", "rules")
#: Options of a rule that YAML may well read as a number.
_NUMBERS = ("dstports", "icmptype", "expire")


@dataclass(frozen=True, slots=True)
class ClientFirewall:
    """What the provider *netvm* lets one client of these addresses do; empty and None until they are known."""

    firewall: Firewall
    netvm: str = ""
    ip: IPv4Address | None = None
    ip6: IPv6Address | None = None
    #: Whether the addresses are those of the VM's ``network``.
    of_network: bool = False

    @classmethod
    def parse(cls, raw: Any) -> ClientFirewall | None:
        """Read the pillar's mapping *raw*, None: not managed. Raises InvalidValues, paths below ``firewall``."""
        if raw is None:
            return None
        if not isinstance(raw, Mapping):
            raise InvalidValue(f"expected a mapping ({', '.join(_FIELDS)}), found {type(raw).__name__}")
        faults = [InvalidValue(f"unknown field{suggest(f, _FIELDS)}", _shown(f)) for f in raw if f not in _FIELDS]
        values: dict[str, Any] = {}
        for name, parse in (("netvm", VMName.parse), ("policy", Action.parse), ("ip", parse_ipv4), ("ip6", parse_ipv6)):
            try:
                if raw.get(name) is not None:
                    if name == "netvm":
                        refuse_dom0(raw[name])
                    values[name] = parse(yaml_text(raw[name]))
                elif name == "policy":
                    raise InvalidValue("is needed (expected accept or drop)")
            except InvalidValue as error:
                faults.append(InvalidValue(str(error), name))
        rules: list[Rule] = []
        try:
            rules = _rules(raw.get("rules"))
        except InvalidValue as error:
            faults += error.faults
        if faults:
            raise InvalidValues(faults)
        firewall = Firewall(values["policy"], tuple(rules))
        netvm = values["netvm"].render() if "netvm" in values else ""
        return cls(firewall, netvm, values.get("ip"), values.get("ip6"))

    def of_vm(self, netvm: str | None, desired: Mapping[str, str | None]) -> ClientFirewall:
        """Return the same with what it does not say itself: the VM's *netvm*, and the addresses of its ``network``.

        Raises InvalidValues where that says nothing either.
        """
        netvm = self.netvm or netvm
        faults = []
        if not netvm or netvm == DEFAULT:
            faults.append(
                InvalidValue("needs the VM that keeps it (expected netvm here, or the VM's own netvm)", "netvm")
            )
        ip, ip6, of_network = self.ip, self.ip6, self.ip is None and self.ip6 is None
        if of_network:
            texts = [desired.get(f"network:{field}") for field in ("ip", "ip6")]
            if texts == [None, None]:
                faults.append(InvalidValue("needs the VM's address (expected ip or ip6 here, or a network)", "ip"))
            ip = None if texts[0] is None else parse_ipv4(texts[0])
            ip6 = None if texts[1] is None else parse_ipv6(texts[1])
        if faults or not netvm:
            raise InvalidValues(faults)
        return replace(self, netvm=netvm, ip=ip, ip6=ip6, of_network=of_network)

    def at(self, *, ip: str | None = None, ip6: str | None = None) -> ClientFirewall:
        """Return the same for other addresses; None, and text that is none: as it is."""
        found: dict[str, IPv4Address | IPv6Address] = {}
        for name, text, parse in (("ip", ip, parse_ipv4), ("ip6", ip6, parse_ipv6)):
            with suppress(InvalidValue):
                found.update({} if text is None else {name: parse(text)})
        return replace(self, **found)  # type: ignore[arg-type]

    def keys(self) -> dict[str, Firewall]:
        """Return what is to be under each address of the client."""
        now = self.firewall.at(time.time()).without_ends()
        return {str(a): now.of_family(a.version) for a in (self.ip, self.ip6) if a is not None}

    def in_words(self) -> dict[str, str]:
        """Return the rules and policy of each address, by the name that its changes have."""
        return {f"firewall:{address}": str(firewall) for address, firewall in self.keys().items()}


def _rules(raw: Any) -> list[Rule]:
    if raw is None:
        return []
    if isinstance(raw, str) or not isinstance(raw, list | tuple):
        raise InvalidValue(f"expected a list of rules, found {type(raw).__name__}", "rules")
    rules, faults = [], []
    for number, one in enumerate(raw):
        try:
            rules.append(_rule(one))
        except InvalidValue as error:
            faults += [InvalidValue(str(f), f"rules:{number}{f.where and ':'}{f.where}") for f in error.faults]
    if faults:
        raise InvalidValues(faults)
    return rules


def _rule(raw: Any) -> Rule:
    if isinstance(raw, str):
        return _of_text(raw)
    if not isinstance(raw, Mapping):
        names = ", ".join((*OPTIONS, *_STORED))
        raise InvalidValue(f"expected a mapping ({names}) or the rule's text, found {type(raw).__name__}")
    texts = {}
    faults = []
    for name, value in raw.items():
        try:
            texts[yaml_text(name)] = (
                printable_value(value) if name in _NUMBERS and type(value) is int else yaml_text(value)
            )
        except InvalidValue as error:
            faults.append(InvalidValue(str(error), _shown(name)))
    stored: dict[str, Any] = {}
    for name in _STORED:
        try:
            if name in texts:
                stored[name] = _STORED[name](texts.pop(name))
        except InvalidValue as error:
            faults.append(InvalidValue(str(error), name))
    unreadable = {fault.where for fault in faults} - {*_STORED}
    try:
        rule = Rule.of(texts, unreadable)
    except InvalidValue as error:
        raise InvalidValues([*faults, *error.faults]) from None
    if faults:
        raise InvalidValues(faults)
    return _without_every_host(replace(rule, **stored))


def _of_text(text: str) -> Rule:
    """Read a rule as ``qvm-firewall --raw`` prints it, with ``expire=`` and at its end a ``comment=``."""
    options, marker, comment = text.partition(" comment=")
    stored: dict[str, Any] = {"comment": _comment(comment)} if marker else {}
    words = options.split(" ")
    ends = [word for word in words if word.startswith("expire=")]
    if ends:
        words.remove(ends[0])
        try:
            stored["expire"] = _expire(ends[0].partition("=")[2])
        except InvalidValue as error:
            raise InvalidValue(str(error), "expire") from None
    return _without_every_host(replace(Rule.parse(" ".join(words)), **stored))


def _expire(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        raise InvalidValue(f"'{printable_value(text)}' is not a time (expected seconds since 1970)")
    return int(text)


def _comment(text: str) -> str:
    if not _COMMENT.fullmatch(text):
        raise InvalidValue("has characters that qubesd does not take (expected letters, digits, blanks and :;,./_-[])",
                           "comment")  # fmt: skip
    return text


_COMMENT = re.compile(r"[A-Za-z0-9 :;,./_\[\]-]{1,256}")
#: What qubesd keeps of a rule, and a provider has no word for.
_STORED = {"expire": _expire, "comment": _comment}


def _without_every_host(rule: Rule) -> Rule:
    """Raise InvalidValue for a destination that is every host: what was meant is as a rule something else."""
    if rule.network is not None and rule.network.network.prefixlen == 0:
        raise InvalidValue(
            f"{rule.network} is every host (leave it out; for the resolvers alone it is specialtarget: dns)",
            f"dst{rule.network.version}",
        )
    return rule


def _shown(name: Any) -> str:
    return printable_value(name)
