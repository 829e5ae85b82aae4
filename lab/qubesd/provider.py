"""What qubesd writes of clients into the QubesDB of the VM that provides their network."""

from __future__ import annotations

from lab.qubesd import firewall
from lab.qubesd.system import System

_DNS = ("10.139.1.1", "10.139.1.2")


def reload_firewall(system: System, netvm: str, client: str) -> None:
    """Write the client's rules anew into its provider: those that others have put there go."""
    if netvm not in system.qubes or not system.qubes[netvm].running:
        return
    for family, address in ((4, system.value(client, "ip")), (6, system.value(client, "ip6"))):
        if not address:
            continue
        base = f"qubes-firewall/{address}"
        system.remove(netvm, f"{base}/")
        for key, text in firewall.entries(system.qubes[client].firewall, family).items():
            system.write(netvm, f"{base}/{key}", text)
        # The key itself, last: the provider waits for this one.
        system.write(netvm, base, "")


def write_mapped_ip(system: System, netvm: str, client: str) -> None:
    """Write as what the client sees itself and its gateway, where these are not the routed ones."""
    base = f"mapped-ip/{system.value(client, 'ip')}"
    for name in ("visible-ip", "visible-gateway"):
        text = system.value(client, name.replace("-", "_"))
        if text:
            system.write(netvm, f"{base}/{name}", text)
        else:
            system.remove(netvm, f"{base}/{name}")


def write_connected_ips(system: System, netvm: str) -> None:
    """Write the addresses of all clients, running or not."""
    if netvm not in system.qubes or not system.qubes[netvm].running:
        return
    for key, prop in (("connected-ips", "visible_ip"), ("connected-ips6", "visible_ip6")):
        found = [system.value(client, prop) for client in system.connected(netvm)]
        system.write(netvm, key, " ".join(text for text in found if text))


def fill_provider(system: System, netvm: str) -> None:
    """Write the keys of a provider that starts: of all clients, and more of those that run."""
    if system.value(netvm, "provides_network") != "True":
        return
    write_connected_ips(system, netvm)
    for client in system.connected(netvm):
        if system.qubes[client].running:
            write_mapped_ip(system, netvm, client)
            reload_firewall(system, netvm, client)


def write_legacy_rules(system: System, netvm: str) -> None:
    """Write the rules as text for iptables, unless the VM says that it needs none; also where it has no clients.

    That is one value for each running client, so a long firewall does not fit. Raises Unanswered.
    """
    if system.inherited(netvm, "qubes-firewall", "template"):
        return
    system.remove(netvm, "qubes-iptables-domainrules/")
    system.write(netvm, "qubes-iptables-header", firewall.legacy_header())
    for client in system.connected(netvm):
        qube, address = system.qubes[client], system.value(client, "ip")
        if qube.running and address:
            text = firewall.legacy_text(address, _DNS, qube.firewall)
            system.write(netvm, f"qubes-iptables-domainrules/{qube.xid}", text)
    system.write(netvm, "qubes-iptables", "reload")
