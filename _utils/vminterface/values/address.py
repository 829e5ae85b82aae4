"""Addresses, one at a time: IPv4 and IPv6 hosts, IPv4 netmasks, and Ethernet addresses.

Every ``parse_...`` gives a value that compares by what it means and whose ``str`` (or :func:`render`) is the exact
text of the key. One spelling of IPv4 is accepted, the dotted one without leading zeros; IPv6 in the forms of RFC 4291
apart from an IPv4 tail and a scope. Addresses that no single host can have are refused.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from vminterface.errors import InvalidValue, printable

_IPV4 = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")
_IPV6 = re.compile(r"[0-9A-Fa-f:]{2,39}")
_PREFIX = re.compile(r"[1-9]|[12][0-9]|3[0-2]")
_MAC = re.compile(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5}")

_THIS_NETWORK = ipaddress.IPv4Network("0.0.0.0/8")
#: IPv4 addresses in IPv6 dress (RFC 4291, 2.5.5): they would pass for hosts that they are not.
_DRESSED = (ipaddress.IPv6Network("::/96"), ipaddress.IPv6Network("::ffff:0:0/96"))


@dataclass(frozen=True, slots=True)
class Netmask:
    """An IPv4 netmask with *prefix* leading ones (1 to 32)."""

    prefix: int

    def __str__(self) -> str:
        return str(IPv4Address((0xFFFFFFFF << (32 - self.prefix)) & 0xFFFFFFFF))


@dataclass(frozen=True, slots=True)
class MAC:
    """An Ethernet address of one interface, as six pairs of lower-case hexadecimal digits."""

    text: str

    def __str__(self) -> str:
        return self.text


def parse_ipv4(text: str) -> IPv4Address:
    """Read the IPv4 address of a host, ``10.137.0.12``. Raises InvalidValue."""
    address = None
    if _IPV4.fullmatch(text):
        with contextlib.suppress(ValueError):
            address = IPv4Address(text)
    if address is None:
        raise InvalidValue(
            f"'{printable(text, 60)}' is no IPv4 address (expected four numbers from 0 to 255 with dots between)"
        )
    # Reserved is everything from 240.0.0.0 on, the broadcast address included.
    if address.is_multicast or address.is_loopback or address.is_reserved or address in _THIS_NETWORK:
        raise InvalidValue(f"'{text}' is no host's address (expected neither loopback, multicast, broadcast nor 0.x)")
    return address


def parse_ipv6(text: str) -> IPv6Address:
    """Read the IPv6 address of a host, ``fd09:24ef:4179::a89:3``; rendered in the short form. Raises InvalidValue."""
    address = None
    if _IPV6.fullmatch(text):
        with contextlib.suppress(ValueError):
            address = IPv6Address(text)
    if address is None:
        raise InvalidValue(
            f"'{printable(text, 60)}' is no IPv6 address (expected groups of hexadecimal digits with colons between,"
            " without a scope or an IPv4 tail)"
        )
    if address.is_multicast or any(address in network for network in _DRESSED):
        raise InvalidValue(f"'{text}' is no host's address (expected neither loopback, multicast nor IPv4 in disguise)")
    return address


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
        f"'{printable(text, 60)}' is no netmask (expected one such as 255.255.255.0, or a number from 1 to 32)"
    )


def parse_mac(text: str) -> MAC:
    """Read the Ethernet address of an interface; rendered in lower case. Raises InvalidValue."""
    if not _MAC.fullmatch(text):
        raise InvalidValue(f"'{printable(text, 60)}' is no MAC address (expected one such as 00:16:3e:5e:6c:00)")
    octets = bytes.fromhex(text.replace(":", ""))
    if octets[0] & 1 or not any(octets):
        raise InvalidValue(f"'{text}' is no interface's MAC address (expected neither multicast, broadcast nor zero)")
    return MAC(text.lower())


def render(value: IPv4Address | IPv6Address | Netmask | MAC) -> str:
    """Return the key's text."""
    return str(value)
