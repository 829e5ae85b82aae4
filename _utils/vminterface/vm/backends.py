"""The clients of a VM as the toolstack has told it: ``backend/vif/DOMID/DEVICE`` with ``ip`` and ``mac`` in XenStore.

``xl`` writes them (xl-network-configuration(5)); ``ip`` may hold several addresses with a space between.
"""

from __future__ import annotations

from collections.abc import Callable

from vminterface.channel.store import KeyStore, List, Read
from vminterface.channel.xenstore import XenStore
from vminterface.errors import InvalidValue, VMInterfaceError
from vminterface.values.client import Client, Vif

#: Below the VM's own path.
FOLDER = "backend/vif"
#: Interfaces that are looked at; more there cannot be before a domain has run out of grants.
MOST = 1000


def read(store: KeyStore, log: Callable[[str], None] = lambda line: None) -> frozenset[Client]:
    """Return the clients that *store* (XenStore) names; what is no address is logged and left out.

    Raises what *store* raises of a connection that is of no more use.
    """
    domids = _names(store, [FOLDER])[0]
    devices = _names(store, [f"{FOLDER}/{domid}" for domid in domids])
    vifs = [
        (f"{FOLDER}/{domid}/{device}", f"vif{domid}.{device}")
        for domid, below in zip(domids, devices, strict=True)
        for device in below
    ][:MOST]
    values = store.batch([Read(f"{path}/{key}") for path, _ in vifs for key in ("ip", "mac")])
    found = set()
    for number, (path, name) in enumerate(vifs):
        ips, mac = ("" if isinstance(v, VMInterfaceError) else v.decode("latin-1") for v in values[2 * number :][:2])
        for ip in ips.split():
            try:
                found.add(Client.of(ip, mac, str(Vif.parse(name))))
            except InvalidValue as error:
                log(f"{path}: {error.where or 'name'}: {error}")
    return frozenset(found)


def told(store: KeyStore, before: frozenset[Client], log: Callable[[str], None]) -> frozenset[Client]:
    """Return the clients that the toolstack names, whatever *store* a VM has its settings from.

    Where XenStore does not answer beside another store, those of *before*: no answer is no word of the toolstack.
    """
    if store.channel == XenStore.channel:
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


def whereabouts(named: frozenset[Client] | None, told: frozenset[Client]) -> frozenset[Client]:
    """Return the clients that dom0 has *named*, with what is left open filled in from what the toolstack has *told*.

    None for *named* means that dom0 leaves it to the toolstack.
    """
    if named is None:
        return told
    filled = set()
    for client in named:
        alike = [o for o in told if o.ip == client.ip or (client.mac is not None and o.mac == client.mac)]
        other = min(alike, key=lambda o: (o.ip != client.ip, str(o)), default=client)
        filled.add(Client(client.ip, client.mac or other.mac, client.vif or other.vif))
    return frozenset(filled)
