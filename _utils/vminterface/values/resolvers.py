"""All resolvers of a VM where the two of IPv4 that the vm-interface document has keys for are not all of them.

The text of the key names them with one space between, first choice first; they may be of IPv6.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from vminterface.errors import InvalidValue
from vminterface.value import Value
from vminterface.values import address, schema
from vminterface.values.address import parse_ipv4, parse_ipv6

#: Far more than any resolver library asks.
LIMIT = 16
#: A list of what :func:`parse_resolver` takes.
SCHEMA = schema.listed(schema.any_of(address.IPV4, address.IPV6), most=LIMIT)


def parse_resolver(text: str) -> IPv4Address | IPv6Address:
    """Read the address of one resolver. Raises InvalidValue."""
    return parse_ipv6(text) if ":" in text else parse_ipv4(text)


class Resolvers(Value):
    """The addresses in the order in which they are asked."""

    __slots__ = ("members",)

    def __init__(self, members: tuple[IPv4Address | IPv6Address, ...]) -> None:
        self.members: Final = members

    @classmethod
    def parse(cls, text: str) -> Resolvers:
        """Read the key's text. Raises InvalidValue."""
        return cls.of(text.split(" ", LIMIT))

    @classmethod
    def of(cls, texts: Iterable[str]) -> Resolvers:
        """Return the resolvers of these addresses. Raises InvalidValue."""
        members = tuple(map(parse_resolver, texts))
        if not 0 < len(members) <= LIMIT:
            raise InvalidValue(f"{len(members)} resolvers (expected 1 to {LIMIT})")
        return cls(members)

    def __str__(self) -> str:
        return " ".join(map(str, self.members))
