"""The uplink as a keyfile of NetworkManager (format: nm-settings-keyfile(5)), for VMs where it is in charge."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from ipaddress import IPv4Address, IPv6Address

from vminterface.values.network import ClientNetwork
from vminterface.vm.machine.machine import Machine

FOLDER = "/etc/NetworkManager/system-connections"
#: That NetworkManager has to bring an interface up with addresses that it need not ask for.
_SECONDS = 8.0
#: Of the names of connections.
_NAMESPACE = "6f1d7c5e-3d0b-5a0e-9b5e-2f6a4c1f8d77"


def path(interface: str) -> str:
    """Return where the keyfile of *interface* is (the name that Qubes core-agent uses)."""
    return f"{FOLDER}/qubes-uplink-{interface}"


def keyfile(network: ClientNetwork, interface: str, mac: str, off: Collection[str]) -> str:
    """Return the keyfile's text; *off* may name ``disable-default-route`` and ``disable-dns-server``."""
    # Half a MiB, which an agent without NetworkManager can do without.
    from uuid import UUID, uuid5

    routed = "disable-default-route" not in off
    lines = [
        "[connection]",
        f"id=VM uplink {interface}",
        # The same interface gets the same connection each time, so that NetworkManager replaces its own.
        f"uuid={uuid5(UUID(_NAMESPACE), f'{interface} {mac}')}",
        "type=ethernet",
        f"interface-name={interface}",
        "",
        "[ethernet]",
        f"mac-address={mac.upper()}",
        "",
        "[ipv4]",
        "method=manual",
        f"address1={network.ip}/{network.netmask.prefix}{f',{network.gateway}' if routed else ''}",
        "may-fail=false",
    ]
    # A gateway outside of the subnet needs a way to it.
    lines.append(f"route1={network.gateway}/32")
    resolvers = () if "disable-dns-server" in off else network.dns
    if any(server.version == 4 for server in resolvers):
        lines.append(_dns(resolvers, 4))
    if network.dns_search is not None and "disable-dns-server" not in off:
        lines.append(f"dns-search={''.join(f'{domain};' for domain in network.dns_search.members)}")
    lines += ["", "[ipv6]"]
    if network.ip6 is None:
        lines.append("method=ignore")
    else:
        gateway = f",{network.gateway6}" if routed and network.gateway6 is not None else ""
        lines += ["method=manual", f"address1={network.ip6}/128{gateway}"]
        if network.gateway6 is not None and not network.gateway6.is_link_local:
            lines.append(f"route1={network.gateway6}/128")
        if any(server.version == 6 for server in resolvers):
            lines.append(_dns(resolvers, 6))
    return "\n".join([*lines, ""])


def _dns(resolvers: Iterable[IPv4Address | IPv6Address], version: int) -> str:
    return f"dns={''.join(f'{server};' for server in resolvers if server.version == version)}"


def load(machine: Machine, interface: str, text: str) -> None:
    """Let NetworkManager have *text* and act on it. Raises VMInterfaceError."""
    changed = machine.read_text(path(interface)) != text
    if changed:
        machine.write_file(path(interface), text, 0o600)
        machine.run(["nmcli", "connection", "load", machine.path(path(interface))])
    [identity] = [line.partition("=")[2] for line in text.splitlines() if line.startswith("uuid=")]
    active = machine.run(["nmcli", "--terse", "--fields", "UUID", "connection", "show", "--active"])
    # A connection that is active keeps what it was activated with, and another one of its own making might be.
    if changed or identity not in active.decode().split():
        machine.run(["nmcli", "--wait", f"{_SECONDS:g}", "connection", "up", "uuid", identity], timeout=_SECONDS + 2)


def unload(machine: Machine, interface: str) -> None:
    """Take the keyfile away from NetworkManager. Raises VMInterfaceError."""
    machine.remove(path(interface))
    if machine.which("nmcli"):
        machine.run(["nmcli", "connection", "reload"])
