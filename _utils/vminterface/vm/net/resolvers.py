"""The resolvers that a VM itself asks for names: those of systemd-resolved if it is in work, else of resolv.conf."""

from __future__ import annotations

import json
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address

from vminterface.errors import VMInterfaceError
from vminterface.regex import regex
from vminterface.vm.machine.files import Files
from vminterface.vm.machine.machine import Machine
from vminterface.vm.machine.programs import Programs

RESOLV_CONF = "/etc/resolv.conf"
#: Written anew by systemd-resolved whenever its resolvers change.
RESOLVED = "/run/systemd/resolve/resolv.conf"
#: What :func:`stamp` goes by.
FILES = (RESOLV_CONF, RESOLVED)
#: ``AF_INET`` and ``AF_INET6`` of Linux.
_FAMILIES = (2, 10)
_SECONDS = 5.0
_PROPERTY = ["org.freedesktop.resolve1", "/org/freedesktop/resolve1", "org.freedesktop.resolve1.Manager", "DNS"]
_SCOPE = regex(r"(Global|Link \d+(?: \([^)]*\))?):(.*)")


Address = IPv4Address | IPv6Address


def current(machine: Machine) -> tuple[Address, ...]:
    """Return the resolvers of IPv4 and IPv6, first choice first, each once.

    Of systemd-resolved's those of a family that hold for all links go before those of single ones. An address of this
    machine's loopback is none that requests of others could be sent on to, nor is one of a link, and both are left out.
    """
    found = _by_bus(machine)
    if found is None:
        found = _by_resolvectl(machine)
    if found is None:
        found = _by_file(machine.read_text(RESOLV_CONF) or "")
    return tuple(dict.fromkeys(filter(_takes_others, found)))


def _takes_others(address: Address) -> bool:
    of_link = address.version == 6 and address.is_link_local
    return not (address.is_loopback or address.is_unspecified or address.is_multicast or of_link)


def resolved_is_in_work(machine: Machine) -> bool:
    """Whether systemd-resolved runs here, so that it needs a link's resolvers."""
    return machine.exists(RESOLVED) and machine.which("resolvectl") is not None


def of_link(machine: Programs, interface: str) -> list[str]:
    """Return the resolvers that systemd-resolved has for *interface* alone. Raises VMInterfaceError."""
    line = machine.run(["resolvectl", "--no-pager", "dns", interface], timeout=_SECONDS).decode("utf-8", "replace")
    return line.partition(":")[2].split()


def set_of_link(machine: Programs, interface: str, addresses: Iterable[str]) -> None:
    """Let systemd-resolved ask *addresses* by way of *interface*; none: nobody. Raises VMInterfaceError."""
    desired = list(addresses)
    if of_link(machine, interface) != desired:
        machine.run(["resolvectl", "dns", interface, *(desired or [""])], timeout=_SECONDS)


def search_of_link(machine: Programs, interface: str) -> list[str]:
    """Return the search domains of systemd-resolved for *interface*. Raises VMInterfaceError."""
    line = machine.run(["resolvectl", "--no-pager", "domain", interface], timeout=_SECONDS).decode("utf-8", "replace")
    return line.partition(":")[2].split()


def set_search_of_link(machine: Programs, interface: str, domains: Iterable[str]) -> None:
    """Set the search domains of systemd-resolved for *interface*; none: remove them. Raises VMInterfaceError."""
    desired = list(domains)
    if search_of_link(machine, interface) != desired:
        machine.run(["resolvectl", "domain", interface, *(desired or [""])], timeout=_SECONDS)


def stamp(machine: Files) -> tuple[int, ...]:
    """Return numbers that change when the resolvers may have changed."""
    return tuple(map(machine.changed_at, FILES))


def _by_bus(machine: Machine) -> list[Address] | None:
    """Ask systemd-resolved on the system bus; None where one or the other is not there."""
    if machine.which("busctl") is None or not machine.exists(RESOLVED):
        return None
    try:
        reply = json.loads(machine.run(["busctl", "--json=short", "get-property", *_PROPERTY], timeout=_SECONDS))
        entries = [(int(link), bytes(list(address))) for link, family, address in reply["data"] if family in _FAMILIES]
        return _global_first((link == 0, ip_address(address)) for link, address in entries)
    except (VMInterfaceError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def _by_resolvectl(machine: Machine) -> list[Address] | None:
    if not resolved_is_in_work(machine):
        return None
    try:
        lines = machine.run(["resolvectl", "--no-pager", "dns"], timeout=_SECONDS).decode("utf-8", "replace")
    except VMInterfaceError:
        return None
    scopes = [form for line in lines.splitlines() if (form := _SCOPE.match(line))]
    return _global_first((s[1] == "Global", a) for s in scopes for a in _addresses(s[2].split()))


def _by_file(text: str) -> list[Address]:
    lines = [line.split() for line in text.splitlines()]
    return _addresses(words[1] for words in lines if len(words) > 1 and words[0] == "nameserver")


def _global_first(found: Iterable[tuple[bool, Address]]) -> list[Address]:
    every = list(found)
    of_all_links = {address.version for is_global, address in every if is_global}
    return [address for is_global, address in every if is_global or address.version not in of_all_links]


def _addresses(words: Iterable[str]) -> list[Address]:
    found = []
    for word in words:
        try:
            found.append(ip_address(word.partition("#")[0]))
        except ValueError:
            continue
    return found
