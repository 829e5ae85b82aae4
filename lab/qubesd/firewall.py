"""A VM's firewall in qubesd: how a rule is read, and how it is printed and written into a provider's QubesDB."""

from __future__ import annotations

import socket
import string
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_VALUE_CHARACTERS = frozenset(string.ascii_letters + string.digits + ":;,./-_[]")
_HOST_CHARACTERS = frozenset(string.ascii_lowercase + string.digits + "-._")
_HOSTS = ("dsthost", "dst4", "dst6", "dstname")
#: The order in which a rule is printed; a host under the name of what it is.
_ORDER = ("action", "expire", "host", "proto", "specialtarget", "dstports", "icmptype", "comment")
_CHOICES = {"action": ("accept", "drop"), "proto": ("tcp", "udp", "icmp"), "specialtarget": ("dns",)}


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: its options as they are printed."""

    options: Mapping[str, str]

    @classmethod
    def parse(cls, line: str) -> Rule:
        """Read ``action=accept dsthost=…``. Raises ValueError, for which qubesd gives no reply."""
        words, _, comment = line.partition("comment=")
        found: dict[str, str] = {}
        for word in words.strip().split(" "):
            key, equals, value = word.partition("=")
            name = "host" if key in _HOSTS else key
            if not equals or name in found or name not in _ORDER or name == "comment":
                raise ValueError(f"{word!r}: no option, or one that was given before")
            if name != "dstports" and not _VALUE_CHARACTERS.issuperset(value):
                raise ValueError(f"{word!r}: strange characters")
            found[name] = _printed(name, value)
        if comment:
            if not (_VALUE_CHARACTERS | {" "}).issuperset(comment):
                raise ValueError("strange characters in a comment")
            found["comment"] = f"comment={comment}"
        if "action" not in found:
            raise ValueError("a rule needs an action")
        if "dstports" in found and found.get("proto") not in ("proto=tcp", "proto=udp"):
            raise ValueError("ports belong to tcp and udp")
        if "icmptype" in found and found.get("proto") != "proto=icmp":
            raise ValueError("an icmptype belongs to icmp")
        return cls(found)

    @property
    def expired(self) -> bool:
        """Whether its time is over: it is neither printed nor written any more."""
        expire = self.options.get("expire")
        return expire is not None and int(expire.removeprefix("expire=")) < time.time()

    def render(self) -> str:
        """Return the line that ``admin.vm.firewall.Get`` has."""
        return " ".join(self.options[name] for name in _ORDER if name in self.options)

    def key(self) -> str:
        """Return the value of its key in a QubesDB."""
        shown = {name: text for name, text in self.options.items() if name not in ("expire", "comment")}
        return " ".join(shown[name] for name in _ORDER if name in shown)

    def is_for(self, family: int) -> bool:
        """Whether addresses of this family, 4 or 6, can match it."""
        return not self.options.get("host", "").startswith("dst4=" if family == 6 else "dst6=")


def parse_rules(payload: bytes) -> list[Rule]:
    """Read what ``admin.vm.firewall.Set`` gets. Raises ValueError."""
    return [Rule.parse(line) for line in payload.decode("ascii").splitlines()]


def entries(rules: Sequence[Rule], family: int) -> dict[str, str]:
    """Return the keys below ``/qubes-firewall/ADDRESS/``: what no rule takes is dropped."""
    found = {"policy": "drop"}
    for number, rule in enumerate(rules):
        if not rule.expired and rule.is_for(family):
            found[f"{number:04}"] = rule.key()
    return found


def legacy_text(address: str, dns: Sequence[str], rules: Sequence[Rule]) -> str:
    """Return about what qubesd writes for a provider of old, which has iptables: one line for each rule."""
    lines = ["*filter"]
    for rule in rules:
        words = {name: text.partition("=")[2] for name, text in rule.options.items()}
        head, tail = f"-A FORWARD -s {address}", f" -j {words['action'].upper()}"
        host = f" -d {words['host']}" if "host" in words else ""
        if "specialtarget" in words:
            lines += [f"{head} -d {one} -p {proto} --dport 53{tail}" for proto in ("tcp", "udp") for one in dns]
            continue
        proto = f" -p {words['proto']}" if "proto" in words else ""
        first, _, last = words.get("dstports", "").partition("-")
        ports = "" if not first else f" --dport {first}" if first == last else f" --dport {first}:{last}"
        lines.append(head + host + proto + ports + tail)
    return "\n".join([*lines, f"-A FORWARD -s {address} -j DROP", "COMMIT", ""])


def _printed(name: str, value: str) -> str:
    if name == "host":
        return _host(value)
    if name == "dstports":
        return f"dstports={_ports(value)}"
    if name == "icmptype":
        if len(value) > 3 or not value.isdigit() or int(value) > 255:
            raise ValueError("bad ICMP type")
        return f"icmptype={int(value)}"
    if name == "expire":
        if not value.isdigit():
            raise ValueError("bad expiration time")
        try:
            time.localtime(int(value))
        except (OverflowError, OSError):
            raise ValueError("no clock can show this time") from None
    elif value not in _CHOICES[name]:
        raise ValueError(value)
    return f"{name}={value}"


def _host(value: str) -> str:
    address, slash, length = value.partition("/")
    if slash and not length.isdigit():
        raise ValueError("bad prefix length")
    for family, kind, bits in ((socket.AF_INET6, "dst6", 128), (socket.AF_INET, "dst4", 32)):
        try:
            socket.inet_pton(family, address)
        except OSError:
            continue
        if slash and int(length) > bits:
            raise ValueError("bad prefix length")
        return f"{kind}={value}" if slash else f"{kind}={value}/{bits}"
    if slash or not _HOST_CHARACTERS.issuperset(value):
        raise ValueError("neither an address nor a host's name")
    return f"dsthost={value}"


def _ports(value: str) -> str:
    numbers = [int(part) for part in value.split("-")]
    if len(numbers) > 2 or not 0 <= numbers[0] <= numbers[-1] < 65536:
        raise ValueError(f"{value}: no ports")
    return f"{numbers[0]}-{numbers[-1]}"
