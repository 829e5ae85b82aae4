"""The firewall of one client as its provider reads it: rules in their order, then the policy for everything else.

The form of a rule is that of Qubes R4's ``/qubes-firewall/ADDRESS/NNNN`` (core-admin ``qubes/firewall.py`` writes it,
core-agent ``qubesagent/firewall.py`` reads it): words ``option=value`` with one space between, in a fixed order. The
limits are dom0's; the reader drops everything of a client over one rule that it does not understand.
"""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Interface, IPv6Interface
from typing import Any

from vminterface.errors import InvalidValue, InvalidValues, printable
from vminterface.regex import regex
from vminterface.values import schema
from vminterface.values.schema import Schema

#: The options of a rule in the order in which they are written.
OPTIONS = ("action", "dst4", "dst6", "dsthost", "proto", "specialtarget", "dstports", "icmptype")
#: The key of the policy, beside those of the rules.
POLICY = "policy"
#: Rules are numbered with four digits.
RULES_MAX = 10_000

_HOST = regex(r"(?=.{1,253}\Z)[a-z0-9][a-z0-9._-]*")
_PREFIXED4 = regex(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?:/(?:0|[1-9][0-9]?))?")
_PREFIXED6 = regex(r"[0-9A-Fa-f:.]{2,45}(?:/(?:0|[1-9][0-9]{0,2}))?")
_PORTS = regex(r"(0|[1-9][0-9]{0,4})(?:-(0|[1-9][0-9]{0,4}))?")
_TYPE = regex(r"0|[1-9][0-9]{0,2}")
_NUMBER = regex(r"[0-9]{4}")


class Action(enum.Enum):
    """What becomes of a packet; the reader answers what it drops with an ICMP message."""

    ACCEPT = "accept"
    DROP = "drop"

    @classmethod
    def parse(cls, text: str) -> Action:
        """Read an action or a policy. Raises InvalidValue."""
        for one in cls:
            if text == one.value:
                return one
        raise InvalidValue(f"'{printable(text, 40)}' is not a valid action (expected accept or drop)")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; None for an option that it has not. ``ports`` are the first and the last one."""

    action: Action
    network: IPv4Interface | IPv6Interface | None = None
    host: str | None = None
    protocol: str | None = None
    to_dns: bool = False
    ports: tuple[int, int] | None = None
    icmp_type: int | None = None
    #: The second since 1970 at which the rule expires; qubesd's store has it, a provider's keys have not.
    expire: int | None = None
    #: Does nothing; qubesd's store has it.
    comment: str = field(default="", compare=False)

    @classmethod
    def parse(cls, text: str) -> Rule:
        """Read the text of a rule, its options in any order. Raises InvalidValue, the option as its ``where``."""
        options: dict[str, str] = {}
        for word in text.split(" "):
            name, equals, value = word.partition("=")
            if not equals or not name:
                raise InvalidValue(
                    f"'{printable(text, 80)}' is not a valid rule (expected words option=value with one space between)"
                )
            if name in options:
                raise InvalidValue("is given twice", printable(name, 40))
            options[name] = value
        return cls.of(options)

    @classmethod
    def of(cls, options: Mapping[str, str], unreadable: Collection[str] = ()) -> Rule:
        """Return the rule of these *options*. Raises InvalidValues, the option at fault as each one's ``where``.

        *unreadable* are options that are there too, and whose errors are known already; what is raised are the others.
        """
        there = {*options, *unreadable}
        errors = []
        if "action" not in there:
            errors.append(InvalidValue("the rule has no action (expected accept or drop)", "action"))
        if len(targets := [name for name in OPTIONS[1:4] if name in there]) > 1:
            errors.append(
                InvalidValue(f"the rule has both {targets[0]} and {targets[1]} (expected one destination)", targets[1])
            )
        values: dict[str, Any] = {}
        for name, text in options.items():
            try:
                if name not in OPTIONS:
                    raise InvalidValue(f"unknown option (expected one of: {', '.join(OPTIONS)})")
                attribute, value = _READ[name](text)
                values[attribute] = value
            except InvalidValue as error:
                errors.append(InvalidValue(str(error), name if name in OPTIONS else printable(name, 40)))
        # A protocol that could not be read may be any.
        protocol = values.get("protocol", ... if "proto" in there else None)
        ports = values.get("ports")
        if ports is not None and protocol not in ("tcp", "udp", ...):
            errors.append(InvalidValue("ports are only valid with proto=tcp or proto=udp", "dstports"))
        if "icmp_type" in values and protocol not in ("icmp", ...):
            errors.append(InvalidValue("an ICMP type is only valid with proto=icmp", "icmptype"))
        if "to_dns" in values and (protocol == "icmp" or ports not in (None, (53, 53))):
            # The reader would pass over such a rule without a word.
            errors.append(
                InvalidValue("specialtarget=dns is only valid with proto=tcp or proto=udp and port 53", "specialtarget")
            )
        if errors or unreadable:
            raise errors[0] if len(errors) == 1 else InvalidValues(errors)
        return cls(**values)

    def render(self, *, with_end: bool = False) -> str:
        """Return the exact text of the rule's key; *with_end* as qubesd's store has it, but for the comment."""
        words = [f"action={self.action.value}"]
        if with_end and self.expire is not None:
            words.append(f"expire={self.expire}")
        if self.network is not None:
            words.append(f"dst{self.network.version}={self.network}")
        if self.host is not None:
            words.append(f"dsthost={self.host}")
        if self.protocol is not None:
            words.append(f"proto={self.protocol}")
        if self.to_dns:
            words.append("specialtarget=dns")
        if self.ports is not None:
            words.append(f"dstports={self.ports[0]}-{self.ports[1]}")
        if self.icmp_type is not None:
            words.append(f"icmptype={self.icmp_type}")
        return " ".join(words)


#: The two rules that take every packet.
_FOR_ALL = (Rule(Action.ACCEPT), Rule(Action.DROP))


@dataclass(frozen=True, slots=True)
class Firewall:
    """The rules of a client, first match first, and what becomes of a packet that none matches.

    Written is always the policy ``drop``, as qubesd does: that all else is accepted is a last rule ``action=accept``.
    Compare what :attr:`meaning` gives, as the same can be written in both ways.
    """

    policy: Action
    rules: tuple[Rule, ...] = ()
    #: IP version of the client's address that this is for; None: of any. Rules for the other one are passed over.
    version: int | None = None

    @classmethod
    def parse(cls, keys: Mapping[str, str]) -> Firewall:
        """Read the keys below a client's address: ``policy``, and rules under their numbers. Raises InvalidValue."""
        if POLICY not in keys:
            raise InvalidValue("is missing (expected accept or drop)", POLICY)
        rules = []
        for name in sorted(keys.keys() - {POLICY}):
            if not _NUMBER.fullmatch(name):
                raise InvalidValue("is not a valid rule number (expected four digits)", printable(name, 40))
            rules.append(Rule.parse(keys[name]))
        return cls(Action.parse(keys[POLICY]), tuple(rules))

    def __post_init__(self) -> None:
        if len(self.lines) > RULES_MAX:
            raise InvalidValue(f"{len(self.lines)} rules (expected at most {RULES_MAX})", "rules")

    @property
    def lines(self) -> tuple[Rule, ...]:
        """The rules in the form in which the policy is always ``drop``, those of both families."""
        takes_all = bool(self.rules) and self.rules[-1] in _FOR_ALL
        return self.rules if self.policy is Action.DROP or takes_all else (*self.rules, Rule(Action.ACCEPT))

    @property
    def meaning(self) -> Firewall:
        """The firewall of the fewest rules that does the same: a last rule that takes every packet is the policy."""
        policy, rules = self.policy, [rule for rule in self.rules if self._concerns(rule)]
        while rules and rules[-1] in _FOR_ALL:
            policy = rules.pop().action
        return Firewall(policy, tuple(rules))

    def at(self, now: float) -> Firewall:
        """Return what of this holds at *now*, in seconds since 1970."""
        return replace(self, rules=tuple(rule for rule in self.rules if rule.expire is None or rule.expire > now))

    def without_ends(self) -> Firewall:
        """Return this as a provider's keys have it, in which no rule expires."""
        return replace(self, rules=tuple(replace(rule, expire=None) for rule in self.rules))

    def of_family(self, version: int) -> Firewall:
        """Return what of this concerns the client's address of IP version 4 or 6."""
        return replace(self, version=version)

    def render(self) -> dict[str, str]:
        """Return the exact text of each key below the client's address, in the order in which they are written.

        A rule's number is its place among those of both families, so that numbers may be left out.
        """
        numbered = {f"{i:04}": rule.render() for i, rule in enumerate(self.lines) if self._concerns(rule)}
        return {POLICY: Action.DROP.value, **numbered}

    def _concerns(self, rule: Rule) -> bool:
        return rule.network is None or self.version in (None, rule.network.version)

    def __str__(self) -> str:
        rules = [rule.render(with_end=True) for rule in self.rules if self._concerns(rule)]
        return "; ".join([*rules, f"policy={self.policy.value}"])


def _network4(text: str) -> tuple[str, IPv4Interface]:
    try:
        if _PREFIXED4.fullmatch(text):
            return "network", IPv4Interface(text)
    except ValueError:
        pass
    raise InvalidValue(
        f"'{printable(text, 60)}' is not a valid IPv4 network (expected one such as 10.0.0.0/8, or an address)"
    )


def _network6(text: str) -> tuple[str, IPv6Interface]:
    try:
        if _PREFIXED6.fullmatch(text):
            return "network", IPv6Interface(text)
    except ValueError:
        pass
    raise InvalidValue(
        f"'{printable(text, 60)}' is not a valid IPv6 network (expected one such as fd00::/8, or an address)"
    )


def _host(text: str) -> tuple[str, str]:
    try:
        version = ipaddress.ip_interface(text).version
    except ValueError:
        pass
    else:
        shown = printable(text, 60)
        raise InvalidValue(f"'{shown}' is an address (expected a host's name; this goes into dst{version})")
    if not _HOST.fullmatch(text):
        raise InvalidValue(
            f"'{printable(text, 60)}' is not a valid host name (expected lower-case letters, digits, dots, - and _)"
        )
    return "host", text


def _one_of(field: str, *words: str) -> Callable[[str], tuple[str, Any]]:
    def read(text: str) -> tuple[str, Any]:
        if text not in words:
            raise InvalidValue(f"'{printable(text, 40)}' is not valid (expected {', '.join(words)})")
        return (field, True) if field == "to_dns" else (field, text)

    return read


def _ports(text: str) -> tuple[str, tuple[int, int]]:
    if form := _PORTS.fullmatch(text):
        first, last = int(form[1]), int(form[2] or form[1])
        if first <= last <= 65535:
            return "ports", (first, last)
    raise InvalidValue(
        f"'{printable(text, 40)}' is not a valid port or range of ports (expected one from 0 to 65535, or first-last)"
    )


def _icmp_type(text: str) -> tuple[str, int]:
    if _TYPE.fullmatch(text) and int(text) <= 255:
        return "icmp_type", int(text)
    raise InvalidValue(f"'{printable(text, 40)}' is not a valid ICMP type (expected a number from 0 to 255)")


_PROTOCOLS, _SPECIAL = ("tcp", "udp", "icmp"), ("dns",)
_READ: Mapping[str, Callable[[str], tuple[str, Any]]] = {
    "action": lambda text: ("action", Action.parse(text)),
    "dst4": _network4,
    "dst6": _network6,
    "dsthost": _host,
    "proto": _one_of("protocol", *_PROTOCOLS),
    "specialtarget": _one_of("to_dns", *_SPECIAL),
    "dstports": _ports,
    "icmptype": _icmp_type,
}
ACTION_SCHEMA = schema.one_of(*(one.value for one in Action))
#: What each option of a rule may be; where that is digits, YAML makes a number of them.
SCHEMAS: Mapping[str, Schema] = {
    "action": ACTION_SCHEMA,
    "dst4": schema.text(_PREFIXED4.pattern, not_like="/0$"),
    "dst6": schema.text(_PREFIXED6.pattern, not_like="/0$"),
    "dsthost": schema.text(_HOST.pattern),
    "proto": schema.one_of(*_PROTOCOLS),
    "specialtarget": schema.one_of(*_SPECIAL),
    "dstports": schema.any_of(schema.number(0, 65535), schema.text(_PORTS.pattern)),
    "icmptype": schema.any_of(schema.number(0, 255), schema.text(_TYPE.pattern)),
}
