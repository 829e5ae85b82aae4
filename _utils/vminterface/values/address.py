"""Addresses, one at a time: IPv4 and IPv6 hosts, IPv4 netmasks, and Ethernet addresses.

Every ``parse_...`` gives a value that compares by what it means and whose ``str`` (or :func:`render`) is the exact
text of the key. One spelling of IPv4 is accepted, the dotted one without leading zeros; IPv6 in the forms of RFC 4291
apart from an IPv4 tail and a scope. Addresses that no single host can have are refused.
"""

from __future__ import annotations

import contextlib
import functools
import ipaddress
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from vminterface.errors import InvalidValue, printable
from vminterface.regex import regex
from vminterface.value import Value
from vminterface.values import schema

_IPV4 = regex(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")
_IPV6 = regex(r"[0-9A-Fa-f:]{2,39}")
_PREFIX = regex(r"[1-9]|[12][0-9]|3[0-2]")
_MAC = regex(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5}")

_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
#: What :func:`parse_ipv4`, :func:`parse_ipv6` and :func:`parse_mac` take.
IPV4 = schema.text(rf"(?!0\.|127\.|22[4-9]\.|2[3-5][0-9]\.){_OCTET}(?:\.{_OCTET}){{3}}")
IPV6 = schema.text(f"(?=[^:]*:[^:]*:){_IPV6.pattern}")
MAC_SCHEMA = schema.text(_MAC.pattern, not_like="^[0-9A-Fa-f][13579BDFbdf]")

#: IPv4 addresses in IPv6 dress (RFC 4291, 2.5.5): they would pass for hosts that they are not.
_DRESSED = (ipaddress.IPv6Network("::/96"), ipaddress.IPv6Network("::ffff:0:0/96"))


class Netmask(Value):
    """An IPv4 netmask with *prefix* leading ones (1 to 32)."""

    __slots__ = ("prefix",)

    def __init__(self, prefix: int) -> None:
        self.prefix: Final = prefix

    def __str__(self) -> str:
        return str(IPv4Address((0xFFFFFFFF << (32 - self.prefix)) & 0xFFFFFFFF))


#: What :func:`parse_netmask` takes.
NETMASK = schema.any_of(
    schema.one_of(*(str(Netmask(prefix)) for prefix in range(32, 0, -1))), schema.text(_PREFIX.pattern)
)


class MAC(Value):
    """An Ethernet address of one interface, as six pairs of lower-case hexadecimal digits."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text: Final = text

    def __str__(self) -> str:
        return self.text


@functools.lru_cache(maxsize=1024)  # many VMs have the same gateway and resolvers
def parse_ipv4(text: str) -> IPv4Address:
    """Read the IPv4 address of a host, ``10.137.0.12``. Raises InvalidValue."""
    address = None
    if _IPV4.fullmatch(text):
        with contextlib.suppress(ValueError):
            address = IPv4Address(text)
    if address is None:
        raise InvalidValue(
            f"'{printable(text, 60)}' is not a valid IPv4 address (expected four numbers from 0 to 255 with dots"
            f" between)"
        )
    # Reserved is everything from 240.0.0.0 on, the broadcast address included; multicast is what lies before that.
    if (first := int(address) >> 24) in (0, 127) or first >= 224:
        raise InvalidValue(f"'{text}' is not a host address (expected neither loopback, multicast, broadcast nor 0.x)")
    return address


def parse_ipv6(text: str) -> IPv6Address:
    """Read the IPv6 address of a host, ``fd09:24ef:4179::a89:3``; rendered in the short form. Raises InvalidValue."""
    address = None
    if _IPV6.fullmatch(text):
        with contextlib.suppress(ValueError):
            address = IPv6Address(text)
    if address is None:
        raise InvalidValue(
            f"'{printable(text, 60)}' is not a valid IPv6 address (expected groups of hexadecimal digits with colons"
            f" between,"
            " without a scope or an IPv4 tail)"
        )
    if address.is_multicast or any(address in network for network in _DRESSED):
        raise InvalidValue(
            f"'{text}' is not a host address (expected neither loopback, multicast nor IPv4 in disguise)"
        )
    return address


@functools.lru_cache(maxsize=1024)
def parse_netmask(text: str) -> Netmask:
    """Read a netmask, dotted or as the number of its leading ones; rendered dotted. Raises InvalidValue.

    A mask without ones would make every host a neighbour. dom0 allows a number in the feature ``net.fake-netmask``;
    readers in VMs understand the dotted form alone.
    """
    if _PREFIX.fullmatch(text):
        return Netmask(int(text))
    if _IPV4.fullmatch(text):
        try:
            ones = bin(int(IPv4Address(text)))[2:].zfill(32)
        except ValueError:
            pass
        else:
            if "01" not in ones and "1" in ones:
                return Netmask(ones.count("1"))
    raise InvalidValue(
        f"'{printable(text, 60)}' is not a valid netmask (expected one such as 255.255.255.0, or a number from 1 to 32)"
    )


def parse_mac(text: str) -> MAC:
    """Read the Ethernet address of an interface; rendered in lower case. Raises InvalidValue."""
    if not _MAC.fullmatch(text):
        raise InvalidValue(
            f"'{printable(text, 60)}' is not a valid MAC address (expected one such as 00:16:3e:5e:6c:00)"
        )
    octets = bytes.fromhex(text.replace(":", ""))
    if octets[0] & 1 or not any(octets):
        raise InvalidValue(
            f"'{text}' is not the MAC address of an interface (expected neither multicast, broadcast nor zero)"
        )
    return MAC(text.lower())


def render(value: IPv4Address | IPv6Address | Netmask | MAC) -> str:
    """Return the key's text."""
    return str(value)
