"""The resolvers that a VM itself asks for names: those of systemd-resolved if it is in work, else of resolv.conf."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from ipaddress import AddressValueError, IPv4Address

from vminterface.errors import VMInterfaceError
from vminterface.vm.machine import Machine

RESOLV_CONF = "/etc/resolv.conf"
#: Written anew by systemd-resolved whenever its resolvers change.
RESOLVED = "/run/systemd/resolve/resolv.conf"
_AF_INET = 2
_SECONDS = 5.0
_PROPERTY = ["org.freedesktop.resolve1", "/org/freedesktop/resolve1", "org.freedesktop.resolve1.Manager", "DNS"]
_SCOPE = re.compile(r"(Global|Link \d+(?: \([^)]*\))?):(.*)")


def current(machine: Machine) -> tuple[IPv4Address, ...]:
    """Return the IPv4 resolvers, first choice first, each once.

    Of systemd-resolved's those that hold for all links go before those of single ones. An address of this machine's
    loopback is none that requests of others could be sent on to, and is left out.
    """
    found = _by_bus(machine)
    if found is None:
        found = _by_resolvectl(machine)
    if found is None:
        found = _by_file(machine.read_text(RESOLV_CONF) or "")
    return tuple(dict.fromkeys(a for a in found if not (a.is_loopback or a.is_unspecified or a.is_multicast)))


def resolved_is_in_work(machine: Machine) -> bool:
    """Whether systemd-resolved runs here, so that it has to be told of a link's resolvers."""
    return machine.exists(RESOLVED) and machine.which("resolvectl") is not None


def of_link(machine: Machine, interface: str) -> list[str]:
    """Return the resolvers that systemd-resolved has for *interface* alone. Raises VMInterfaceError."""
    line = machine.run(["resolvectl", "--no-pager", "dns", interface], timeout=_SECONDS).decode("utf-8", "replace")
    return line.partition(":")[2].split()


def set_of_link(machine: Machine, interface: str, addresses: Iterable[str]) -> None:
    """Let systemd-resolved ask *addresses* by way of *interface*; none: nobody. Raises VMInterfaceError."""
    wanted = list(addresses)
    if of_link(machine, interface) != wanted:
        machine.run(["resolvectl", "dns", interface, *(wanted or [""])], timeout=_SECONDS)


def search_of_link(machine: Machine, interface: str) -> list[str]:
    """Return the domains that systemd-resolved looks in by way of *interface*. Raises VMInterfaceError."""
    line = machine.run(["resolvectl", "--no-pager", "domain", interface], timeout=_SECONDS).decode("utf-8", "replace")
    return line.partition(":")[2].split()


def set_search_of_link(machine: Machine, interface: str, domains: Iterable[str]) -> None:
    """Let systemd-resolved look in *domains* by way of *interface*; none: in none. Raises VMInterfaceError."""
    wanted = list(domains)
    if search_of_link(machine, interface) != wanted:
        machine.run(["resolvectl", "domain", interface, *(wanted or [""])], timeout=_SECONDS)


def stamp(machine: Machine) -> tuple[int, ...]:
    """Return numbers that change when the resolvers may have changed."""
    return machine.changed_at(RESOLV_CONF), machine.changed_at(RESOLVED)


def _by_bus(machine: Machine) -> list[IPv4Address] | None:
    """Ask systemd-resolved on the system bus; None where one or the other is not there."""
    if machine.which("busctl") is None or not machine.exists(RESOLVED):
        return None
    try:
        answer = json.loads(machine.run(["busctl", "--json=short", "get-property", *_PROPERTY], timeout=_SECONDS))
        entries = [(int(link), bytes(list(address))) for link, family, address in answer["data"] if family == _AF_INET]
        return _global_first((link == 0, IPv4Address(address)) for link, address in entries)
    except (VMInterfaceError, ValueError, KeyError, TypeError):
        return None


def _by_resolvectl(machine: Machine) -> list[IPv4Address] | None:
    if not resolved_is_in_work(machine):
        return None
    try:
        lines = machine.run(["resolvectl", "--no-pager", "dns"], timeout=_SECONDS).decode("utf-8", "replace")
    except VMInterfaceError:
        return None
    scopes = [form for line in lines.splitlines() if (form := _SCOPE.match(line))]
    return _global_first((s[1] == "Global", a) for s in scopes for a in _addresses(s[2].split()))


def _by_file(text: str) -> list[IPv4Address]:
    lines = [line.split() for line in text.splitlines()]
    return _addresses(words[1] for words in lines if len(words) > 1 and words[0] == "nameserver")


def _global_first(found: Iterable[tuple[bool, IPv4Address]]) -> list[IPv4Address]:
    every = list(found)
    of_all_links = [address for is_global, address in every if is_global]
    return of_all_links or [address for _, address in every]


def _addresses(words: Iterable[str]) -> list[IPv4Address]:
    found = []
    for word in words:
        try:
            found.append(IPv4Address(word.partition("#")[0]))
        except AddressValueError:
            continue  # one of IPv6
    return found
