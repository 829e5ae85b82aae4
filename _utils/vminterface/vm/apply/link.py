"""The state of one network interface as the kernel has it, and how to bring it to another: by ``ip`` of iproute2.

Addresses, routes and neighbours are held as the words that ``ip`` itself takes, so that what was read can be put
back. Routes that the kernel or a router made (protocols ``kernel``, ``ra``) are not ours to compare.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from vminterface.errors import VMInterfaceError, printable
from vminterface.vm.machine import Machine

#: Of addresses that only the link knows (linux/rtnetlink.h).
_LINK_SCOPE = "253"


@dataclass(frozen=True, slots=True)
class Link:
    """Addresses such as ``10.137.0.12/32``, routes ``default via 10.137.0.5 onlink``, neighbours ``IP lladdr MAC``."""

    up: bool
    addresses: frozenset[str] = frozenset()
    routes: frozenset[str] = frozenset()
    neighbours: frozenset[str] = frozenset()
    #: Number of the group of interfaces; 0 is every interface's first.
    group: int = 0

    def with_own(self, old: Link, new: Link) -> Link:
        """Return this state with what is *old* taken out and what is *new* put in, up as *new* says.

        A group is taken over from *new*, but never given back: what a firewall says of it should go on to hold.
        """
        return replace(
            self,
            up=new.up,
            group=new.group or self.group,
            addresses=self.addresses - old.addresses | new.addresses,
            routes=self.routes - old.routes | new.routes,
            neighbours=self.neighbours - old.neighbours | new.neighbours,
        )

    def words(self) -> dict[str, list[str]]:
        """Return what a record holds of this: everything but whether the interface is up, and its group."""
        return {part: sorted(getattr(self, part)) for part in _PARTS}

    @classmethod
    def of_words(cls, record: Any) -> Link:
        """Return the link of a record, up. Raises TypeError or KeyError for one that is not whole."""
        addresses, routes, neighbours = (frozenset(map(str, record[part])) for part in _PARTS)
        return cls(True, addresses, routes, neighbours)


_PARTS = ("addresses", "routes", "neighbours")


def names(machine: Machine) -> set[str]:
    """Return the names of all interfaces. Raises VMInterfaceError."""
    return {str(link["ifname"]) for link in _ask(machine, ["link", "show"])}


def find(machine: Machine, mac: str = "", name: str = "eth0") -> tuple[str, str] | None:
    """Return name and Ethernet address of the interface with *mac*, else of the one called *name*; None: no such."""
    found = {str(link["ifname"]): str(link.get("address", "")) for link in _ask(machine, ["link", "show"])}
    by_mac = [n for n, address in found.items() if mac and address == mac]
    chosen = by_mac[0] if by_mac else name
    return (chosen, found[chosen]) if chosen in found else None


def read(machine: Machine, interface: str) -> Link:
    """Return what the kernel has of *interface*. Raises VMInterfaceError."""
    shown = _ask(machine, ["-N", "address", "show", "dev", interface])
    [described] = [entry for entry in shown if entry.get("ifname") == interface]
    return Link(
        up="UP" in described["flags"],
        addresses=frozenset(
            f"{a['local']}/{a['prefixlen']}" for a in described["addr_info"] if a.get("scope") != _LINK_SCOPE
        ),
        routes=frozenset(
            _route_words(route, family)
            for family in ("-4", "-6")
            for route in _ask(machine, [family, "route", "show", "dev", interface])
            if route.get("protocol") not in ("kernel", "ra")
        ),
        neighbours=frozenset(
            f"{n['dst']} lladdr {n['lladdr']}"
            for n in _ask(machine, ["neighbour", "show", "dev", interface, "nud", "permanent"])
            if "lladdr" in n
        ),
        group=int(described["group"]),
    )


def change(machine: Machine, interface: str, wanted: Link) -> bool:
    """Bring *interface* to *wanted*; False where it was so already.

    A step that fails is reported after what was there before has been put back. Raises VMInterfaceError.
    """
    before = read(machine, interface)
    steps = _steps(interface, before, wanted)
    if not steps:
        return False
    try:
        _do(machine, steps)
    except VMInterfaceError:
        restore(machine, interface, before)
        raise
    return True


def restore(machine: Machine, interface: str, before: Link) -> None:
    """Bring *interface* back to *before* as far as it goes: the fault that made this necessary is the one to report."""
    with contextlib.suppress(VMInterfaceError):
        steps = _steps(interface, read(machine, interface), before)
        if steps:
            _do(machine, steps, "-force")


def _steps(interface: str, now: Link, wanted: Link) -> list[str]:
    """Lines for ``ip -batch`` that lead from *now* to *wanted*."""
    steps = []
    dev = f"dev {interface}"
    gone = now.addresses - wanted.addresses
    routes = now.routes
    if gone or (now.up and not wanted.up):
        # The kernel drops an interface's routes with its last address, and all when it goes down: know what is left.
        steps += [f"route del {route} {dev}" for route in sorted(routes, key=_gateways_last, reverse=True)]
        routes = frozenset()
    steps += [f"route del {route} {dev}" for route in sorted(routes - wanted.routes, key=_gateways_last, reverse=True)]
    steps += [f"neighbour del {n} {dev}" for n in sorted(now.neighbours - wanted.neighbours)]
    steps += [f"address del {address} {dev}" for address in sorted(gone)]
    # An IPv6 address can be used at once: dom0 gives each VM its own, there is nobody to detect.
    steps += [
        f"address add {address} {dev}{' nodad' if ':' in address else ''}"
        for address in sorted(wanted.addresses - now.addresses)
    ]
    if now.group != wanted.group:
        # Before it is up: a firewall goes by it.
        steps.append(f"link set {dev} group {wanted.group}")
    if now.up != wanted.up:
        steps.append(f"link set {dev} {'up' if wanted.up else 'down'}")
    steps += [f"neighbour replace {n} nud permanent {dev}" for n in sorted(wanted.neighbours - now.neighbours)]
    if wanted.up:
        steps += [f"route add {route} {dev}" for route in sorted(wanted.routes - routes, key=_gateways_last)]
    return steps


def _gateways_last(route: str) -> tuple[bool, str]:
    # A gateway can be used only once there is a route to it.
    return " via " in route, route


def _route_words(route: dict[str, Any], family: str) -> str:
    words = [str(route["dst"])]
    for key, word in (("gateway", "via"), ("protocol", "proto"), ("scope", "scope"), ("prefsrc", "src")):
        if key in route:
            words += [word, str(route[key])]
    # 1024 is what the kernel gives every IPv6 route that is added without a metric.
    if (metric := route.get("metric", 0)) and not (family == "-6" and metric == 1024):
        words += ["metric", str(metric)]
    words += ["onlink"] if "onlink" in route.get("flags", ()) else []
    return " ".join(words)


def _ask(machine: Machine, words: list[str]) -> list[dict[str, Any]]:
    output = machine.run(["ip", "-j", *words])
    try:
        return [entry for entry in json.loads(output or b"[]") if entry]
    except ValueError:
        raise VMInterfaceError(f"ip -j {' '.join(words)}: not JSON: {printable(output, 80)}") from None


def _do(machine: Machine, steps: Iterable[str], *options: str) -> None:
    machine.run(["ip", *options, "-batch", "-"], input="".join(f"{step}\n" for step in steps).encode())
