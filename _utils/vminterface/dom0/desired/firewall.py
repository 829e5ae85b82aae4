"""How a VM's ``firewall`` in the pillar is read: the provider that keeps it, the VM's addresses, and the rules."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from vminterface.dom0.desired.fields import suggest, yaml_text
from vminterface.dom0.desired.shownfirewall import ShownFirewall
from vminterface.errors import InvalidValue, InvalidValues, kind_of, printable_value
from vminterface.keys import DEFAULT
from vminterface.regex import regex
from vminterface.values import address, schema, vmname
from vminterface.values.address import parse_ipv4, parse_ipv6
from vminterface.values.firewall import ACTION_SCHEMA, OPTIONS, SCHEMAS, Action, Firewall, Rule
from vminterface.values.schema import Schema
from vminterface.values.vmname import VMName, refuse_dom0

_COMMENT = regex(r"[A-Za-z0-9 :;,./_\[\]-]{1,256}")
_EXPIRE = regex(r"[0-9]{1,12}")
#: What each option of a rule may be: those of a provider's keys, and those that qubesd alone keeps.
_RULE_SCHEMAS: Mapping[str, Schema] = {
    **SCHEMAS,
    "expire": schema.any_of(schema.number(0, 10**12 - 1), schema.text(_EXPIRE.pattern)),
    "comment": schema.text(_COMMENT.pattern),
}
_FIELD_SCHEMAS: Mapping[str, Schema] = {
    "netvm": schema.any_of(vmname.NOT_DOM0, schema.NULL),
    "ip": schema.any_of(address.IPV4, schema.NULL),
    "ip6": schema.any_of(address.IPV6, schema.NULL),
    "policy": ACTION_SCHEMA,
    "rules": schema.any_of(
        schema.listed(
            schema.any_of(
                schema.mapping(_RULE_SCHEMAS, needed=["action"]), schema.text("(?:.* )?action=(?:accept|drop)(?: .*)?")
            )
        ),
        schema.NULL,
    ),
}
_FIELDS = tuple(_FIELD_SCHEMAS)
SCHEMA = schema.mapping(_FIELD_SCHEMAS, needed=["policy"])
#: Options of a rule that YAML may well read as a number.
_NUMBERS = ("dstports", "icmptype", "expire")
#: Where a provider has the keys of its clients' firewalls, each below its address.
FOLDER = "qubes-firewall"


@dataclass(frozen=True, slots=True)
class ClientFirewall:
    """What the provider *netvm* lets one client of these addresses do; empty and None until they are known."""

    firewall: Firewall
    netvm: str = ""
    ip: IPv4Address | None = None
    ip6: IPv6Address | None = None
    #: Whether the addresses are those of the VM's ``network``.
    of_network: bool = False
    #: The rules as the pillar has them.
    written: tuple[Any, ...] = field(default=(), compare=False)

    @classmethod
    def parse(cls, raw: Any) -> ClientFirewall | None:
        """Read the pillar's mapping *raw*, None: not managed. Raises InvalidValues, paths below ``firewall``."""
        if raw is None:
            return None
        if not isinstance(raw, Mapping):
            raise InvalidValue(f"is of type {kind_of(raw)} (expected a mapping of {', '.join(_FIELDS)})")
        errors = [InvalidValue(f"unknown field{suggest(f, _FIELDS)}", _shown(f)) for f in raw if f not in _FIELDS]
        values: dict[str, Any] = {}
        for name, parse in (("netvm", VMName.parse), ("policy", Action.parse), ("ip", parse_ipv4), ("ip6", parse_ipv6)):
            try:
                if raw.get(name) is not None:
                    if name == "netvm":
                        refuse_dom0(raw[name])
                    values[name] = parse(yaml_text(raw[name]))
                elif name == "policy":
                    raise InvalidValue("is missing (expected accept or drop)")
            except InvalidValue as error:
                errors.append(InvalidValue(str(error), name))
        rules: list[Rule] = []
        try:
            rules = _rules(raw.get("rules"))
        except InvalidValue as error:
            errors += error.errors
        if errors:
            raise InvalidValues(errors)
        firewall = Firewall(values["policy"], tuple(rules))
        netvm = values["netvm"].render() if "netvm" in values else ""
        return cls(firewall, netvm, values.get("ip"), values.get("ip6"), written=tuple(raw.get("rules") or ()))

    def of_vm(self, netvm: str | None, desired: Mapping[str, Any]) -> ClientFirewall:
        """Return the same with its missing parts filled in: the VM's *netvm*, and the addresses of its ``network``.

        Raises InvalidValues where these are missing, too.
        """
        netvm = self.netvm or netvm
        errors = []
        if not netvm or netvm == DEFAULT:
            errors.append(
                InvalidValue("needs the VM that applies it (expected netvm here, or the VM's own netvm)", "netvm")
            )
        ip, ip6, of_network = self.ip, self.ip6, self.ip is None and self.ip6 is None
        if of_network:
            ip, ip6 = (desired.get(f"network:{field}") for field in ("ip", "ip6"))
            if ip is None and ip6 is None:
                errors.append(InvalidValue("needs the VM's address (expected ip or ip6 here, or a network)", "ip"))
        if errors or not netvm:
            raise InvalidValues(errors)
        return replace(self, netvm=netvm, ip=ip, ip6=ip6, of_network=of_network)

    def at(self, *, ip: object = None, ip6: object = None) -> ClientFirewall:
        """Return the same for other addresses; anything else, such as None, unchanged."""
        ip = ip if isinstance(ip, IPv4Address) else self.ip
        return replace(self, ip=ip, ip6=ip6 if isinstance(ip6, IPv6Address) else self.ip6)

    def keys(self) -> dict[str, Firewall]:
        """Return what is to be under each address of the client."""
        now = self.firewall.at(time.time()).without_ends()
        return {str(a): now.of_family(a.version) for a in (self.ip, self.ip6) if a is not None}

    @property
    def shown(self) -> ShownFirewall:
        """The firewall as the pillar has it, and in the keys of the provider."""
        texts = {f"{FOLDER}/{address}": str(firewall) for address, firewall in self.keys().items()}
        return ShownFirewall(self.in_words(), texts)

    def in_words(self, held: Firewall | None = None) -> dict[str, Any]:
        """Return the policy and rules as the pillar has them, or would have them if *held* were what it asks for.

        A rule of *held* that the pillar has too is as it is written there.
        """
        one = self.firewall if held is None else held
        if held is not None and self.firewall == self.firewall.meaning:
            # The last rule for every packet is a policy in the pillar.
            one = held.meaning
        written = dict(zip(self.firewall.rules, self.written, strict=True)) if self.written else {}
        texts = bool(written) and all(isinstance(rule, str) for rule in self.written)
        rules = [written.get(rule) or (_text(rule) if texts else _mapping(rule)) for rule in one.rules]
        return {"policy": one.policy.value, "rules": rules}


def _text(rule: Rule) -> str:
    """Return *rule* as a pillar may have it in one text."""
    return f"{rule.render(with_end=True)}{rule.comment and f' comment={rule.comment}'}"


def _mapping(rule: Rule) -> dict[str, Any]:
    """Return *rule* as a pillar may have it option by option."""
    options: dict[str, Any] = dict(word.split("=", 1) for word in rule.render(with_end=True).split(" "))
    if rule.ports is not None and rule.ports[0] == rule.ports[1]:
        options["dstports"] = str(rule.ports[0])
    numbers = {name: int(text) for name, text in options.items() if name in _NUMBERS and text.isdigit()}
    return {**options, **numbers, **({"comment": rule.comment} if rule.comment else {})}


def _rules(raw: Any) -> list[Rule]:
    if raw is None:
        return []
    if isinstance(raw, str) or not isinstance(raw, list | tuple):
        raise InvalidValue(f"is of type {kind_of(raw)} (expected a list of rules)", "rules")
    rules, errors = [], []
    for number, one in enumerate(raw):
        try:
            rules.append(_rule(one))
        except InvalidValue as error:
            errors += [InvalidValue(str(f), f"rules:{number}{f.where and ':'}{f.where}") for f in error.errors]
    if errors:
        raise InvalidValues(errors)
    return rules


def _rule(raw: Any) -> Rule:
    if isinstance(raw, str):
        return _of_text(raw)
    known = (*OPTIONS, *_STORED)
    if not isinstance(raw, Mapping):
        raise InvalidValue(f"is of type {kind_of(raw)} (expected a mapping of {', '.join(known)}, or the rule's text)")
    texts = {}
    errors = []
    for name, value in raw.items():
        if name not in known:
            errors.append(InvalidValue(f"unknown option{suggest(name, known)}", _shown(name)))
            continue
        try:
            texts[name] = printable_value(value) if name in _NUMBERS and type(value) is int else yaml_text(value)
        except InvalidValue as error:
            errors.append(InvalidValue(str(error), _shown(name)))
    stored: dict[str, Any] = {}
    for name in _STORED:
        try:
            if name in texts:
                stored[name] = _STORED[name](texts.pop(name))
        except InvalidValue as error:
            errors.append(InvalidValue(str(error), name))
    unreadable = {error.where for error in errors} - {*_STORED}
    try:
        rule = Rule.of(texts, unreadable)
    except InvalidValue as error:
        raise InvalidValues([*errors, *error.errors]) from None
    if errors:
        raise InvalidValues(errors)
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
    if not _EXPIRE.fullmatch(text):
        raise InvalidValue(f"'{printable_value(text)}' is not a valid time (expected seconds since 1970)")
    return int(text)


def _comment(text: str) -> str:
    if not _COMMENT.fullmatch(text):
        raise InvalidValue("has characters that qubesd does not accept (expected letters, digits, blanks and"
                           " :;,./_-[])",
                           "comment")  # fmt: skip
    return text


#: What qubesd keeps of a rule, and a provider has no word for.
_STORED = {"expire": _expire, "comment": _comment}


def _without_every_host(rule: Rule) -> Rule:
    """Raise InvalidValue for a destination that is every host: what was meant is as a rule something else."""
    if rule.network is not None and rule.network.network.prefixlen == 0:
        raise InvalidValue(
            f"{rule.network} matches every host (omit it; for the resolvers only, use specialtarget: dns)",
            f"dst{rule.network.version}",
        )
    return rule


def _shown(name: Any) -> str:
    return printable_value(name)
