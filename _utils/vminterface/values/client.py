"""A client of a VM that provides network: its address, and where known its MAC address and its interface there.

The text of the key names clients with a space between, each as ``IP``, ``IP,MAC``, ``IP,MAC,VIF`` or ``IP,,VIF``:
``10.137.0.12,00:16:3e:5e:6c:01,vif5.0 10.137.0.13``. That is the list of ``connected-ips`` (Qubes R4) with what a
provider otherwise learns from the toolstack's ``backend/vif/DOMID/DEVICE/{ip,mac}``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from vminterface.errors import InvalidValue, InvalidValues, printable
from vminterface.regex import regex
from vminterface.value import Value
from vminterface.values import address, schema
from vminterface.values.address import MAC, parse_ipv4, parse_ipv6, parse_mac

#: Characters: what a QubesDB value holds; XenStore holds more.
LIMIT = 3071
#: What the toolstack calls a backend's interface; the name of no other interface can pass for one.
_VIF = regex(r"vif(0|[1-9][0-9]{0,4})\.(0|[1-9][0-9]{0,2})", re.ASCII)

#: What the pillar says of one client; empty text for what is not known.
SCHEMA = schema.mapping(
    {
        "ip": schema.any_of(address.IPV4, address.IPV6),
        "mac": schema.any_of(schema.one_of(""), address.MAC_SCHEMA),
        "vif": schema.any_of(schema.one_of(""), schema.text(_VIF.pattern)),
    },
    needed=["ip"],
)


class Vif(Value):
    """The interface of a provider that leads to device *device* of domain *domid*."""

    __slots__ = ("device", "domid")

    def __init__(self, domid: int, device: int) -> None:
        self.domid: Final = domid
        self.device: Final = device

    @classmethod
    def parse(cls, text: str) -> Vif:
        """Read an interface's name such as ``vif5.0``. Raises InvalidValue."""
        if (form := _VIF.fullmatch(text)) is None:
            raise InvalidValue(
                f"'{printable(text, 40)}' is not a valid interface of a client (expected vif, domain, dot, device:"
                f" vif5.0)"
            )
        return cls(int(form[1]), int(form[2]))

    def __str__(self) -> str:
        return f"vif{self.domid}.{self.device}"


class Client(Value):
    """One address of a client; None for what is not known."""

    __slots__ = ("ip", "mac", "vif")

    def __init__(self, ip: IPv4Address | IPv6Address, mac: MAC | None = None, vif: Vif | None = None) -> None:
        self.ip: Final = ip
        self.mac: Final = mac
        self.vif: Final = vif

    @classmethod
    def parse(cls, text: str) -> Client:
        """Read one client. Raises InvalidValue, with the part at fault as its ``where``."""
        ip, *rest = text.split(",")
        if len(rest) > 2:
            raise InvalidValue(f"'{printable(text, 60)}' has more than three parts (expected IP,MAC,VIF)")
        mac, vif = (*rest, "", "")[:2]
        return cls.of(ip, mac, vif)

    @classmethod
    def of(cls, ip: str, mac: str = "", vif: str = "") -> Client:
        """Return the client of these texts, empty for what is not known. Raises InvalidValue, ``where`` set."""
        values: dict[str, IPv4Address | IPv6Address | MAC | Vif | None] = {}
        for name, text, parse in (
            ("ip", ip, parse_ipv6 if ":" in ip else parse_ipv4),
            ("mac", mac, parse_mac),
            ("vif", vif, Vif.parse),
        ):
            try:
                values[name] = parse(text) if text or name == "ip" else None
            except InvalidValue as error:
                raise InvalidValue(str(error), name) from None
        return cls(**values)  # type: ignore[arg-type]

    def __str__(self) -> str:
        parts = [str(self.ip), str(self.mac or ""), str(self.vif or "")]
        return ",".join(parts).rstrip(",")


class Clients(Value):
    """All clients of a provider; the order is not of importance, and none is there twice."""

    __slots__ = ("members",)

    def __init__(self, members: frozenset[Client] = frozenset()) -> None:
        self.members: Final = members

    @classmethod
    def parse(cls, text: str) -> Clients:
        """Read the key's text; the empty one means no clients. Raises InvalidValue."""
        if len(text) > LIMIT:
            raise InvalidValue(f"a list of clients with {len(text)} characters (expected at most {LIMIT})")
        return cls.of(Client.parse(word) for word in text.split(" ")) if text else cls()

    @classmethod
    def of(cls, clients: Iterable[Client]) -> Clients:
        """Return *clients*, each on one interface once. Raises InvalidValues."""
        found: list[Client] = []
        errors = []
        for number, client in enumerate(clients):
            if any((client.ip, client.vif) == (other.ip, other.vif) for other in found):
                errors.append(InvalidValue(f"{client.ip} is given twice (expected each address once)", str(number)))
            found.append(client)
        if not errors and len(str(cls(frozenset(found)))) > LIMIT:
            errors.append(InvalidValue(f"too many clients (expected at most {LIMIT} characters of addresses)"))
        if errors:
            raise InvalidValues(errors)
        return cls(frozenset(found))

    def __iter__(self) -> Iterator[Client]:
        """Yield the clients in the order of the text."""
        return iter(sorted(self.members, key=_order))

    def __str__(self) -> str:
        return " ".join(map(str, self))


def _order(client: Client) -> tuple[int, int, str]:
    return client.ip.version, int(client.ip), str(client)
