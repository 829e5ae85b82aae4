"""The VM's uplink: address, gateway, default route and resolvers, all or nothing.

The steps are those of Qubes core-agent's ``setup-ip``. The gateway answers no ARP, so its neighbour entry is
permanent, and it may lie outside of the VM's subnet, so a host route leads to it. Where NetworkManager is in charge it
gets a keyfile and does the rest itself.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from vminterface.errors import VMInterfaceError
from vminterface.values.network import ClientNetwork
from vminterface.vm.apply import services
from vminterface.vm.machine.files import Files
from vminterface.vm.machine.machine import Machine
from vminterface.vm.machine.protection import is_protected
from vminterface.vm.net import link, networkmanager, nft, resolvers
from vminterface.vm.net.linkstate import Link

#: The address under which every backend answers on a Qubes network interface.
GATEWAY_MAC = "fe:ff:ff:ff:ff:ff"
#: What this program has configured, so that it can be taken away again and nothing else is.
STATE = "/run/vminterface/network.json"


@dataclass(frozen=True, slots=True)
class Own:
    """What is ours on *interface*: its *link*, the text of resolv.conf (None: not written), whether by a keyfile.

    ``resolved`` are the resolvers that systemd-resolved was given, ``search`` the domains; None: it was given none.
    """

    interface: str
    link: Link
    resolv_conf: str | None = None
    keyfile: bool = False
    resolved: tuple[str, ...] | None = None
    search: tuple[str, ...] | None = None


def apply(inputs: Mapping[str, str], machine: Machine) -> str:
    """Configure the interface from ``network:...``; without any of these, take away what was configured.

    The interface is the one with the MAC address that dom0 names, else ``eth0``. Returns what holds now. Raises
    InvalidValue and VMInterfaceError; the former configuration is then in place.
    """
    old = _recall(machine)
    if not inputs:
        return "no network from dom0" if old is None else _withdraw(machine, old)
    if not machine.has_own_network:
        raise VMInterfaceError("this machine is only a folder of a host (it has no interfaces of its own)")
    network = ClientNetwork.parse({field.partition(":")[2]: text for field, text in inputs.items()})
    found = link.find(machine, str(network.mac or ""))
    if found is None:
        desired = f"with MAC address {network.mac}, nor one named eth0" if network.mac else "eth0"
        raise VMInterfaceError(f"this VM has no interface {desired}")
    interface, mac = found
    own = _desired(machine, network, interface)
    if own.search is None and own.resolved is not None and old is not None and old.search:
        own = replace(own, search=())
    mine_before = old.link if old is not None and old.interface == interface else Link(up=False)
    before = link.read(machine, interface)
    # A default route that is there already on this interface is an older word of dom0.
    stale = frozenset(r for r in before.routes if r.startswith("default ") and " metric " not in r)
    mine_before = Link(True, mine_before.addresses, mine_before.routes | stale, mine_before.neighbours)
    put_back = [machine.keep(path) for path in (resolvers.RESOLV_CONF, networkmanager.path(interface), STATE)]
    changed = {interface: before}
    resolved_before: list[str] | None = None
    search_before: list[str] | None = None
    try:
        if old is not None and old.interface != interface and link.find(machine, name=old.interface):
            # First, as two interfaces cannot have the same default route.
            changed[old.interface] = link.read(machine, old.interface)
            link.change(machine, old.interface, changed[old.interface].with_own(old.link, Link(up=False)))
        link.change(machine, interface, before.with_own(mine_before, own.link))
        if own.resolv_conf is not None and _resolv_conf(machine) != own.resolv_conf:
            machine.write_file(resolvers.RESOLV_CONF, own.resolv_conf)
        if own.resolved is not None:
            resolved_before = resolvers.of_link(machine, interface)
            resolvers.set_of_link(machine, interface, own.resolved)
        if own.search is not None:
            search_before = resolvers.search_of_link(machine, interface)
            resolvers.set_search_of_link(machine, interface, own.search)
        if old is not None and old.keyfile and not (own.keyfile and old.interface == interface):
            networkmanager.unload(machine, old.interface)
        if own.keyfile:
            networkmanager.load(machine, interface, networkmanager.keyfile(network, interface, mac, _off(machine)))
        _remember(machine, own)
    except VMInterfaceError:
        for name, state in changed.items():
            link.restore(machine, name, state)
        for one in put_back:
            one()
        if resolved_before is not None:
            with contextlib.suppress(VMInterfaceError):
                resolvers.set_of_link(machine, interface, resolved_before)
        if search_before is not None:
            with contextlib.suppress(VMInterfaceError):
                resolvers.set_search_of_link(machine, interface, search_before)
        raise
    by = " through NetworkManager" if own.keyfile else ""
    return f"{interface}: {network.ip}/{network.netmask.prefix} via {network.gateway}{by}"


def _off(machine: Files) -> set[str]:
    """What dom0 or the VM's admin has switched off of the usual configuration, by a service."""
    return {
        name for name in ("disable-default-route", "disable-dns-server") if machine.exists(f"{services.FOLDER}/{name}")
    }


def _desired(machine: Machine, network: ClientNetwork, interface: str) -> Own:
    off = _off(machine)
    gateways = [str(g) for g in (network.gateway, network.gateway6) if g is not None]
    neighbours = frozenset(f"{gateway} lladdr {GATEWAY_MAC}" for gateway in gateways)
    if machine.exists(f"{services.FOLDER}/network-manager") and machine.which("nmcli"):
        return Own(interface, Link(True, neighbours=neighbours, group=nft.UPLINK), keyfile=True)
    addresses = {f"{network.ip}/{network.netmask.prefix}"}
    if network.ip6 is not None:
        addresses.add(f"{network.ip6}/128")
    routes = {f"{network.gateway} scope link"}
    if network.gateway6 is not None and not network.gateway6.is_link_local:
        routes.add(str(network.gateway6))
    if "disable-default-route" not in off:
        routes |= {f"default via {gateway} onlink" for gateway in gateways}
    servers = () if "disable-dns-server" in off else network.dns
    domains = () if network.dns_search is None or "disable-dns-server" in off else network.dns_search.members
    in_work = resolvers.resolved_is_in_work(machine)
    resolved = tuple(map(str, servers)) if in_work else None
    resolv_conf = None
    if not is_protected(machine, resolvers.RESOLV_CONF):
        search = f"search {' '.join(domains)}\n" if domains else ""
        resolv_conf = search + "".join(f"nameserver {server}\n" for server in servers)
    desired_link = Link(True, frozenset(addresses), frozenset(routes), neighbours, nft.UPLINK)
    return Own(interface, desired_link, resolv_conf, resolved=resolved, search=domains if in_work and domains else None)


def _withdraw(machine: Machine, old: Own) -> str:
    if link.find(machine, name=old.interface):
        if old.resolved and resolvers.resolved_is_in_work(machine):
            resolvers.set_of_link(machine, old.interface, ())
        if old.search and resolvers.resolved_is_in_work(machine):
            resolvers.set_search_of_link(machine, old.interface, ())
        link.change(machine, old.interface, link.read(machine, old.interface).with_own(old.link, Link(up=False)))
    if (
        old.resolv_conf
        and _resolv_conf(machine) == old.resolv_conf
        and not is_protected(machine, resolvers.RESOLV_CONF)
    ):
        machine.write_file(resolvers.RESOLV_CONF, "")
    if old.keyfile:
        networkmanager.unload(machine, old.interface)
    machine.remove(STATE)
    return f"no network: {old.interface} is down"


def _resolv_conf(machine: Files) -> str | None:
    """Return the text of resolv.conf, None where it is a link to somebody else's file."""
    return None if machine.link_target(resolvers.RESOLV_CONF) is not None else machine.read_text(resolvers.RESOLV_CONF)


def _recall(machine: Files) -> Own | None:
    """Return what was configured, None where the record is gone or no longer whole."""
    try:
        record = json.loads(machine.read_text(STATE) or "null")
        resolv_conf = record["resolv_conf"]
        return Own(
            str(record["interface"]),
            Link.of_words(record),
            None if resolv_conf is None else str(resolv_conf),
            record["keyfile"] is True,
            tuple(map(str, record.get("resolved") or ())),
            tuple(map(str, record.get("search") or ())),
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _remember(machine: Files, own: Own) -> None:
    record = {
        "interface": own.interface,
        **own.link.words(),
        "resolv_conf": own.resolv_conf,
        "keyfile": own.keyfile,
        "resolved": own.resolved,
        "search": own.search,
    }
    text = json.dumps(record, indent=1) + "\n"
    if machine.read_text(STATE) != text:
        machine.write_file(STATE, text)
