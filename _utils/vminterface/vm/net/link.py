"""The state of one network interface as the kernel has it, and how to bring it to another.

Addresses, routes and neighbours are held as the words that ``ip`` of iproute2 takes, so that what was read can be put
back. Routes that the kernel or a router made (protocols ``kernel``, ``ra``) are not ours to compare. The kernel is
spoken to by pyroute2 where that is installed, which starts no programs, else by ``ip``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from vminterface.errors import VMInterfaceError
from vminterface.vm.machine.machine import Machine
from vminterface.vm.net import iproute2, netlink
from vminterface.vm.net.linkstate import Link


def names(machine: Machine) -> set[str]:
    """Return the names of all interfaces. Raises VMInterfaceError."""
    return set(_links(machine))


def find(machine: Machine, mac: str = "", name: str = "eth0") -> tuple[str, str] | None:
    """Return name and Ethernet address of the interface with *mac*, else of the one called *name*; None: no such."""
    found = _links(machine)
    by_mac = [n for n, address in found.items() if mac and address == mac]
    chosen = by_mac[0] if by_mac else name
    return (chosen, found[chosen]) if chosen in found else None


def read(machine: Machine, interface: str) -> Link:
    """Return what the kernel has of *interface*. Raises VMInterfaceError."""
    with machine.netlink() as socket:
        return iproute2.read(machine, interface) if socket is None else netlink.read(socket, interface)


def change(machine: Machine, interface: str, desired: Link) -> bool:
    """Bring *interface* to *desired*; False where it was so already.

    A step that fails is reported after what was there before has been put back. Raises VMInterfaceError.
    """
    before = read(machine, interface)
    steps = _steps(interface, before, desired)
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
            _do(machine, steps, keep_going=True)


def _steps(interface: str, now: Link, desired: Link) -> list[str]:
    """Lines for ``ip -batch`` that lead from *now* to *desired*."""
    steps = []
    dev = f"dev {interface}"
    gone = now.addresses - desired.addresses
    routes = now.routes
    if gone or (now.up and not desired.up):
        # The kernel drops an interface's routes with its last address, and all when it goes down: know what is left.
        steps += [f"route del {route} {dev}" for route in sorted(routes, key=_gateways_last, reverse=True)]
        routes = frozenset()
    steps += [f"route del {route} {dev}" for route in sorted(routes - desired.routes, key=_gateways_last, reverse=True)]
    steps += [f"neighbour del {n} {dev}" for n in sorted(now.neighbours - desired.neighbours)]
    steps += [f"address del {address} {dev}" for address in sorted(gone)]
    # An IPv6 address can be used at once: dom0 gives each VM its own, there is nobody to detect.
    steps += [
        f"address add {address} {dev}{' nodad' if ':' in address else ''}"
        for address in sorted(desired.addresses - now.addresses)
    ]
    if now.group != desired.group:
        # Before it is up: a firewall goes by it.
        steps.append(f"link set {dev} group {desired.group}")
    if now.up != desired.up:
        steps.append(f"link set {dev} {'up' if desired.up else 'down'}")
    steps += [f"neighbour replace {n} nud permanent {dev}" for n in sorted(desired.neighbours - now.neighbours)]
    if desired.up:
        steps += [f"route add {route} {dev}" for route in sorted(desired.routes - routes, key=_gateways_last)]
    return steps


def _gateways_last(route: str) -> tuple[bool, str]:
    # A gateway can be used only once there is a route to it.
    return " via " in route, route


def _links(machine: Machine) -> dict[str, str]:
    with machine.netlink() as socket:
        return iproute2.links(machine) if socket is None else netlink.links(socket)


def _do(machine: Machine, steps: Sequence[str], *, keep_going: bool = False) -> None:
    """Take the *steps*, up to the first that fails or, with *keep_going*, all. Raises VMInterfaceError."""
    with machine.netlink() as socket:
        if socket is None:
            iproute2.do(machine, steps, keep_going)
        else:
            netlink.do(socket, steps, keep_going)
