"""The clients of a VM from the toolstack: ``backend/vif/DOMID/DEVICE`` with ``ip`` and ``mac`` in XenStore.

``xl`` writes them (xl-network-configuration(5)); ``ip`` may hold several addresses with a space between.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from vminterface.channel.store import KeyStore, List, Read
from vminterface.channel.xenstore.store import XenStore
from vminterface.errors import InvalidValue, VMInterfaceError
from vminterface.values.address import MAC, parse_mac
from vminterface.values.client import Client, Clients, Vif

#: Below the VM's own path.
FOLDER = "backend/vif"
#: Interfaces that are read; there cannot be more before a domain has run out of grants.
MOST = 1000


@dataclass(frozen=True, slots=True)
class Backend:
    """The provider's end of one client's device."""

    vif: Vif
    mac: MAC | None = None
    ips: frozenset[IPv4Address | IPv6Address] = frozenset()

    @classmethod
    def parse(cls, vif: str, mac: str, ips: str) -> Backend:
        """Read what the toolstack wrote; empty is what it did not. Raises InvalidValue."""
        clients = [Client.of(ip, mac, vif) for ip in ips.split()]
        return cls(Vif.parse(vif), parse_mac(mac) if mac else None, frozenset(client.ip for client in clients))


def read(store: KeyStore, log: Callable[[str], None] = lambda line: None) -> frozenset[Backend]:
    """Return the backends that *store* (XenStore) names; an invalid address is logged and left out.

    Raises what *store* raises of a connection that is of no more use.
    """
    domids = _names(store, [FOLDER])[0]
    devices = _names(store, [f"{FOLDER}/{domid}" for domid in domids])
    vifs = [
        (f"{FOLDER}/{domid}/{device}", f"vif{domid}.{device}")
        for domid, below in zip(domids, devices, strict=True)
        for device in below
    ][:MOST]
    values = store.batch([Read(f"{path}/{key}") for path, _ in vifs for key in ("mac", "ip")])
    texts = ["" if isinstance(value, VMInterfaceError) else value.decode("latin-1") for value in values]
    found = set()
    for (path, vif), mac, ips in zip(vifs, texts[::2], texts[1::2], strict=True):
        try:
            found.add(Backend.parse(vif, mac, ips))
        except InvalidValue as error:
            log(f"{path}: {error}")
    return frozenset(found)


def by_toolstack(store: KeyStore, before: frozenset[Backend], log: Callable[[str], None]) -> frozenset[Backend]:
    """Return the backends that the toolstack names, whatever *store* a VM has its settings from.

    Where XenStore does not answer beside another store, those of *before*: a missing reply does not count as a change.
    """
    if not store.per_vm:
        return read(store, log)
    try:
        with XenStore.open() as xenstore:
            return read(xenstore, log)
    except VMInterfaceError:
        return before


def _names(store: KeyStore, folders: list[str]) -> list[list[str]]:
    """Return the names below each folder; none where there is none or it is hidden from this VM."""
    found: list[list[str]] = []
    for outcome in store.batch([List(folder) for folder in folders]):
        found.append([] if isinstance(outcome, VMInterfaceError) else outcome[:MOST])
    return found


def clients(named: Clients | None, by_toolstack: Collection[Backend]) -> frozenset[Client]:
    """Return the clients that dom0 has *named*, with what is left open filled in *by_toolstack*.

    None for *named* means that dom0 leaves it to the toolstack.
    """
    if named is None:
        return frozenset(Client(ip, one.mac, one.vif) for one in by_toolstack for ip in one.ips)
    return frozenset(_completed(client, by_toolstack) for client in named.members)


def _completed(client: Client, by_toolstack: Collection[Backend]) -> Client:
    """Return *client* with its interface found by that itself, else by its address, else by its MAC address."""
    matches = (
        lambda one: client.vif == one.vif,
        lambda one: client.vif is None and client.ip in one.ips,
        lambda one: client.vif is None and client.mac is not None and client.mac == one.mac,
    )
    for match in matches:
        for one in sorted(filter(match, by_toolstack), key=lambda one: one.vif.domid, reverse=True):
            return Client(client.ip, client.mac or one.mac, one.vif)
    return client
