"""A VM that provides network to others: firewall, redirect of requests for names, ways to its clients, forwarding.

Forwarding is on only where the firewall is in the kernel: that is loaded first, all of it or nothing, and a fault turns
forwarding off before anything else is put back. The parts are those of Qubes core-agent: ``qubes-antispoof.nft``,
``qubes-ipv4.nft``, ``qubes-setup-dnat-to-ns``, ``network-proxy-setup.sh`` and ``vif-route-qubes``.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address

from vminterface.errors import ProgramFailed, VMInterfaceError
from vminterface.values.client import Client
from vminterface.values.network import ProviderNetwork
from vminterface.values.sha256 import hexdigest
from vminterface.vm.machine import backends
from vminterface.vm.machine.backends import Backend
from vminterface.vm.machine.files import Files
from vminterface.vm.machine.machine import Machine
from vminterface.vm.machine.programs import Programs
from vminterface.vm.net import link, nft, resolvers
from vminterface.vm.net.linkstate import Link

FORWARDING = {"ip": "/proc/sys/net/ipv4/ip_forward", "ip6": "/proc/sys/net/ipv6/conf/all/forwarding"}
#: What this program has configured, so that it can be taken away again and nothing else is.
STATE = "/run/vminterface/provider.json"
#: Metric of the way to a client of domain 0; one that was started later is preferred where two have one address.
METRIC = 32752


@dataclass(frozen=True, slots=True)
class Own:
    """What is ours: a mark of the rules asked for, the marks of what the kernel made of them, and the clients' ways."""

    rules: str
    marks: Mapping[str, str] = field(default_factory=dict)
    elements: frozenset[nft.Element] = frozenset()
    links: Mapping[str, Link] = field(default_factory=dict)
    ipv6: bool = False

    def holds(self, found: Mapping[str, nft.Found]) -> bool:
        """Whether the firewall that was loaded is still what the kernel has."""
        return bool(self.marks) and all(
            family in found and found[family].mark == mark for family, mark in self.marks.items()
        )


def apply(inputs: Mapping[str, str], machine: Machine, *, by_toolstack: Collection[Backend] = ()) -> str:
    """Provide network from ``provides_network:...``; without any of these, take away what was configured.

    *by_toolstack* are the clients from the toolstack; ``provides_network:connected`` overrides them. Returns what
    holds now. Raises InvalidValue, with nothing changed, and VMInterfaceError: then the former configuration is
    in place where it could be restored with its firewall, else forwarding is off.
    """
    old = _recall(machine)
    if not inputs:
        return "provides no network" if old is None else _withdraw(machine, old)
    if not machine.has_own_network:
        raise VMInterfaceError("this machine is only a folder of a host (it has no interfaces of its own)")
    network = ProviderNetwork.parse({field.partition(":")[2]: text for field, text in inputs.items()})
    clients = backends.clients(network.connected, by_toolstack)
    there = {name for name in link.names(machine) if name.startswith("vif")}
    links = _links(network, [c for c in clients if str(c.vif) in there])
    targets = resolvers.current(machine)
    families = [family for family in nft.FAMILIES if family == "ip" or _forwards(machine, family) is not None]
    if network.gateway6 is not None and "ip6" not in families:
        raise VMInterfaceError("gateway6 is set, but this VM's kernel has no IPv6")
    elements = frozenset((str(c.vif), c.ip) for c in clients if c.vif is not None)
    asked = _asked(network)
    rules = {family: nft.rules(family, asked, targets) for family in families}
    with _Change(machine, old, families) as change:
        marks = change.load(rules, elements)
        _forget_flows(machine, {ip for _, ip in elements - (frozenset() if old is None else old.elements)})
        change.connect(links)
        change.forward("ip", True)
        if "ip6" in families and (network.gateway6 is not None or (old is not None and old.ipv6)):
            change.forward("ip6", network.gateway6 is not None)
        _remember(machine, Own(_mark(rules), marks, elements, links, network.gateway6 is not None))
    return _note(network, targets, clients, set(links))


def _asked(network: ProviderNetwork) -> list[nft.Address]:
    """Return the addresses that clients ask for names.

    A request to an address of the link comes from one, too, and cannot be sent on.
    """
    there = network.gateway6 is not None and not network.gateway6.is_link_local
    return [*network.dns, *([network.gateway6] if there and network.gateway6 is not None else [])]


def _note(
    network: ProviderNetwork, targets: Collection[nft.Address], clients: Collection[Client], there: set[str]
) -> str:
    here = sum(str(client.vif) in there for client in clients)
    shown = f"{here} clients" if here == len(clients) else f"{here} of {len(clients)} clients are connected"
    names = {version: ", ".join(str(one) for one in targets if one.version == version) for version in (4, 6)}
    both = any(address.version == 6 for address in _asked(network))
    said = f"DNS requests go to {', '.join(names[v] for v in (4, 6) if names[v] and (v == 4 or both)) or 'nobody'}"
    if names[6] and not names[4]:
        said = f"DNS requests over IPv4 are dropped, because this VM's own resolvers only have IPv6 ({names[6]})"
        to_us = f"those to {network.gateway6} are forwarded to them"
        said += f"; {to_us if both else 'clients with IPv6 may ask them directly'}"
    return f"gateway {network.gateway}; {said}; {shown}"


def _links(network: ProviderNetwork, clients: Collection[Client]) -> dict[str, Link]:
    """Return for each interface what is ours on it: the ways to its clients, and the address that they come back to."""
    own = {str(network.gateway) + "/32"}
    if network.gateway6 is not None and not network.gateway6.is_link_local:
        own.add(f"{network.gateway6}/128")
    found: dict[str, Link] = {}
    for client in clients:
        assert client.vif is not None
        scope = " scope link" if client.ip.version == 4 else ""
        route = f"{client.ip}{scope} metric {max(METRIC - client.vif.domid, 1)}"
        neighbour = {f"{client.ip} lladdr {client.mac}"} if client.mac is not None else set()
        before = found.get(str(client.vif), Link(True))
        found[str(client.vif)] = Link(
            True, frozenset(own), before.routes | {route}, before.neighbours | neighbour, nft.VIF
        )
    return found


class _Change:
    """One change of everything; at a fault forwarding is off at once, then what was there before is put back.

    Where the former firewall is in the kernel all the time, forwarding stays as it was.
    """

    def __init__(self, machine: Machine, old: Own | None, families: Collection[str]) -> None:
        self._machine = machine
        self._old = old or Own("")
        self._families = families
        self._before: dict[str, nft.Found] = {}
        self._forwarded = {family: _forwards(machine, family) is True for family in families}
        self._links: dict[str, Link] = {}
        self._loaded = False
        self._put_back = machine.keep(STATE)

    def __enter__(self) -> _Change:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is not None:
            self._undo()

    def load(self, rules: Mapping[str, str], elements: frozenset[nft.Element]) -> dict[str, str]:
        """Let the kernel have the firewall unless it has it; return the marks of what it made of it."""
        self._before = {family: nft.read(self._machine, family) for family in self._families}
        same = self._old.rules == _mark(rules) and self._old.holds(self._before)
        text = "" if same else "".join(rules.values())
        for family, found in self._before.items():
            text += nft.elements(family, found, self._old.elements, elements)
        if text:
            self._loaded = True
            nft.load(self._machine, text)
        if same:
            return dict(self._old.marks)
        return {family: nft.read(self._machine, family).mark for family in rules}

    def connect(self, links: Mapping[str, Link]) -> None:
        """Let each client's interface have what is ours on it, and no longer what was."""
        for name in sorted({*links, *self._old.links} & link.names(self._machine)):
            before = link.read(self._machine, name)
            desired = before.with_own(self._old.links.get(name, Link(True)), links.get(name, Link(before.up)))
            if desired != before:
                self._links[name] = before
                link.change(self._machine, name, desired)

    def forward(self, family: str, on: bool) -> None:
        """Turn forwarding on or off."""
        _set_forwarding(self._machine, family, on)

    def _undo(self) -> None:
        sound = self._old.holds(self._before)
        for family, forwarded in self._forwarded.items():
            with contextlib.suppress(VMInterfaceError):
                _set_forwarding(self._machine, family, forwarded and sound)
        with contextlib.suppress(VMInterfaceError):
            self._put_back()
        for name, before in self._links.items():
            link.restore(self._machine, name, before)
        if self._loaded:
            # A firewall goes only where nothing is forwarded any more, or where the former one takes its place.
            families = [f for f in self._before if sound or _forwards(self._machine, f) is False]
            with contextlib.suppress(VMInterfaceError):
                nft.load(self._machine, "".join(nft.restoration(f, self._before[f]) for f in families))


def _forget_flows(machine: Programs, addresses: Collection[nft.Address]) -> None:
    """Let the kernel forget what it knows of *addresses*: who had them before was another client.

    Without the program conntrack they end by themselves, as nobody goes on with them.
    """
    if machine.which("conntrack") is None:
        return
    for ip in sorted(addresses, key=str):
        # It calls it a failure if there was nothing to forget.
        with contextlib.suppress(ProgramFailed):
            machine.run(["conntrack", "-D", "-f", f"ipv{ip.version}", "-s", str(ip)])


def _withdraw(machine: Machine, old: Own) -> str:
    """Take away what is ours, forwarding first; what fails is done at the next attempt."""
    _set_forwarding(machine, "ip", False)
    if old.ipv6:
        _set_forwarding(machine, "ip6", False)
    for name in sorted(set(old.links) & link.names(machine)):
        before = link.read(machine, name)
        link.change(machine, name, before.with_own(old.links[name], Link(before.up)))
    nft.load(machine, "".join(nft.withdrawal(family, nft.read(machine, family)) for family in old.marks))
    machine.remove(STATE)
    return "provides no network: forwarding is off"


def _forwards(machine: Programs, family: str) -> bool | None:
    """Whether packets of *family* are forwarded; None where the kernel does not know the family."""
    try:
        # By a program, as it is the network that programs of this machine see.
        return machine.run(["cat", FORWARDING[family]]).strip() != b"0"
    except ProgramFailed as error:
        if "No such file" in str(error):
            return None
        raise


def _set_forwarding(machine: Programs, family: str, on: bool) -> None:
    if _forwards(machine, family) is not on:
        machine.run(["tee", FORWARDING[family]], input=b"1\n" if on else b"0\n")


def _mark(rules: Mapping[str, str]) -> str:
    return hexdigest("".join(rules.values()).encode())


def _recall(machine: Files) -> Own | None:
    """Return what was configured, None where the record is gone or no longer whole."""
    try:
        record = json.loads(machine.read_text(STATE) or "null")
        return Own(
            str(record["rules"]),
            {family: str(mark) for family, mark in record["marks"].items() if family in nft.FAMILIES},
            frozenset((str(name), ip_address(address)) for name, address in record["elements"]),
            {str(name): Link.of_words(words) for name, words in record["links"].items()},
            record["ipv6"] is True,
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _remember(machine: Files, own: Own) -> None:
    record = {
        "rules": own.rules,
        "marks": own.marks,
        "elements": sorted((name, str(address)) for name, address in own.elements),
        "links": {name: one.words() for name, one in own.links.items()},
        "ipv6": own.ipv6,
    }
    text = json.dumps(record, indent=1, sort_keys=True) + "\n"
    if machine.read_text(STATE) != text:
        machine.write_file(STATE, text)
