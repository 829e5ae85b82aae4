"""A VM's place in the network: its settings as a client, and as a provider to others.

The fields are those of the vm-interface document, named as their keys end (``qubes-primary-dns``,
``qubes-netvm-primary-dns``). All of a VM's keys are read together, and all errors among them are collected in one pass:
a VM that applied half of them would be off the network.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from typing import Any, ClassVar, Self

from vminterface.errors import InvalidValue, InvalidValues, printable
from vminterface.values.address import MAC, Netmask, parse_ipv4, parse_ipv6, parse_mac, parse_netmask, render
from vminterface.values.client import Clients
from vminterface.values.resolvers import Resolvers
from vminterface.values.searchdomains import SearchDomains

#: A host of its own: the VM reaches all others through its gateway (R4 always, R2 and R3 in effect).
HOST = Netmask(32)
#: From this prefix on a subnet is a pair or a single host: no address of it names the subnet, or all of it (RFC 3021).
_PAIR = 31

#: From the text of each field of either network to its value; they raise InvalidValue.
PARSERS: Mapping[str, Callable[[str], Any]] = {
    "ip": parse_ipv4,
    "netmask": parse_netmask,
    "gateway": parse_ipv4,
    "network": parse_ipv4,
    "primary_dns": parse_ipv4,
    "secondary_dns": parse_ipv4,
    "all_dns": Resolvers.parse,
    "dns_search": SearchDomains.parse,
    "mac": parse_mac,
    "ip6": parse_ipv6,
    "gateway6": parse_ipv6,
    "connected": Clients.parse,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Network:
    """What both networks have in common: how they are read, and what is checked between their fields."""

    #: Fields that must be there.
    NEEDED: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def parse(cls, texts: Mapping[str, str], unreadable: Collection[str] = ()) -> Self:
        """Read the keys' texts by field; those of ``NEEDED`` must be there. Raises InvalidValues.

        *unreadable* are fields that are there too, and whose errors are known already; what is raised are the others.
        """
        known = [field.name for field in fields(cls)]
        values: dict[str, Any] = {}
        errors = []
        for field, text in texts.items():
            if field not in known:
                name = printable(field, 60)
                errors.append(InvalidValue(f"unknown field '{name}' (expected {', '.join(known)})", name))
                continue
            try:
                values[field] = PARSERS[field](text)
            except InvalidValue as error:
                errors.append(InvalidValue(str(error), field))
        try:
            return cls.of(values, {*unreadable, *(field for field in texts if field not in values)})
        except InvalidValues as error:
            raise InvalidValues([*errors, *error.errors]) from None

    @classmethod
    def of(cls, values: Mapping[str, Any], unreadable: Collection[str] = ()) -> Self:
        """Return the network of *values* by field, otherwise as :meth:`parse`. Raises InvalidValues."""
        there = {*values, *unreadable}
        missing = [field for field in cls.NEEDED if field not in there]
        errors = [InvalidValue("it is missing (expected an IPv4 address)", field) for field in missing]
        errors += cls._errors(there, values)
        if errors or unreadable:
            raise InvalidValues(errors)
        return cls(**values)

    @classmethod
    def _errors(cls, there: Collection[str], values: Mapping[str, Any]) -> Iterator[InvalidValue]:
        """Find what is wrong between fields that are right by themselves."""
        raise NotImplementedError

    def values(self) -> dict[str, Any]:
        """Return what is set, by field."""
        found = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: value for name, value in found if value is not None}

    def render(self) -> dict[str, str]:
        """Return the keys' texts, by field, of what is set."""
        return {name: render(value) for name, value in self.values().items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientNetwork(_Network):
    """A VM with a netvm: its one interface, the way out, and who answers its DNS requests."""

    NEEDED: ClassVar[tuple[str, ...]] = ("ip", "gateway")

    ip: IPv4Address
    netmask: Netmask = HOST
    #: Reached by a host route over the interface, hence free to lie outside of the VM's own subnet.
    gateway: IPv4Address
    primary_dns: IPv4Address | None = None
    secondary_dns: IPv4Address | None = None
    #: All of them where the two above, which are for those who know no others, do not say it all.
    all_dns: Resolvers | None = None
    dns_search: SearchDomains | None = None
    mac: MAC | None = None
    ip6: IPv6Address | None = None
    gateway6: IPv6Address | None = None

    @classmethod
    def _errors(cls, there: Collection[str], values: Mapping[str, Any]) -> Iterator[InvalidValue]:
        return _client_errors(there, values)

    @property
    def dns(self) -> tuple[IPv4Address | IPv6Address, ...]:
        """Who answers DNS requests, first choice first: without a primary one that is the gateway (R2, R3.0)."""
        return _dns(self) if self.all_dns is None else self.all_dns.members


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderNetwork(_Network):
    """A VM that serves network to others: the addresses under which its clients see it."""

    NEEDED: ClassVar[tuple[str, ...]] = ("gateway",)

    gateway: IPv4Address
    netmask: Netmask = HOST
    #: R2 and R3 write the clients' network, R4 the gateway once more, as a sign that there are clients.
    network: IPv4Address | None = None
    primary_dns: IPv4Address | None = None
    secondary_dns: IPv4Address | None = None
    gateway6: IPv6Address | None = None
    #: Who the clients are; None: those that the toolstack has written.
    connected: Clients | None = None

    @classmethod
    def _errors(cls, there: Collection[str], values: Mapping[str, Any]) -> Iterator[InvalidValue]:
        return _provider_errors(values)

    def with_defaults(self) -> ProviderNetwork:
        """Return the same with ``network`` set: that of gateway and netmask, which for a host's mask is the gateway."""
        if self.network is not None:
            return self
        return replace(self, network=_subnet(self.gateway, self.netmask).network_address)

    @property
    def dns(self) -> tuple[IPv4Address, ...]:
        """The addresses whose port 53 is redirected to real resolvers, the gateway's own for lack of a primary one."""
        return _dns(self)


def _client_errors(there: Collection[str], values: Mapping[str, Any]) -> Iterator[InvalidValue]:
    """Find what is wrong between fields that are right by themselves."""
    ip, gateway, netmask = values.get("ip"), values.get("gateway"), values.get("netmask")
    if ip is not None and ip == gateway:
        yield InvalidValue(f"{gateway} is the VM's own ip (expected another host's)", "gateway")
    elif ip is not None and netmask is not None and netmask.prefix < _PAIR:
        for field, address in (("ip", ip), ("gateway", gateway)):
            if address is not None and _is_edge(address, _subnet(ip, netmask)):
                yield InvalidValue(
                    f"{address} is the first or last address of {_subnet(ip, netmask)} (expected a host's)", field
                )
    if "gateway6" in there and "ip6" not in there:
        yield InvalidValue("needs ip6, which is missing (expected both or neither)", "gateway6")
    elif "ip6" in values and values["ip6"] == values.get("gateway6"):
        yield InvalidValue(f"{values['ip6']} is the VM's own ip6 (expected another host's)", "gateway6")
    resolvers = values.get("all_dns")
    if resolvers is not None and "ip6" not in there and all(one.version == 6 for one in resolvers.members):
        yield InvalidValue("IPv6 alone needs ip6 (expected ip6, or one of IPv4)", "all_dns")


def _provider_errors(values: Mapping[str, Any]) -> Iterator[InvalidValue]:
    own = {values[field]: field for field in ("gateway", "gateway6") if field in values}
    for client in values.get("connected", Clients()).members:
        if client.ip in own:
            yield InvalidValue(f"{client.ip} is the provider's own {own[client.ip]} (expected a client's)", "connected")
    gateway, netmask, network = values.get("gateway"), values.get("netmask", HOST), values.get("network")
    if gateway is None or netmask == HOST:
        # Beside a host's mask the network is a mere sign, and says nothing that could be compared.
        return
    subnet = _subnet(gateway, netmask)
    if _is_edge(gateway, subnet):
        yield InvalidValue(f"{gateway} is the first or last address of {subnet} (expected a host's)", "gateway")
    if network is not None and network not in (gateway, subnet.network_address):
        yield InvalidValue(f"{network} is neither {subnet.network_address}, the network, nor the gateway", "network")


def _subnet(address: IPv4Address, netmask: Netmask) -> IPv4Network:
    return IPv4Network((address, netmask.prefix), strict=False)


def _is_edge(address: IPv4Address, subnet: IPv4Network) -> bool:
    """Whether *address* names the subnet itself or all of its hosts."""
    return subnet.prefixlen < _PAIR and address in (subnet.network_address, subnet.broadcast_address)


def _dns(network: ClientNetwork | ProviderNetwork) -> tuple[IPv4Address, ...]:
    first = network.primary_dns or network.gateway
    return (first,) if network.secondary_dns is None else (first, network.secondary_dns)
