"""Interfaces by ``ip`` of iproute2: its JSON to read, one batch to change."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from typing import Any

from vminterface.errors import VMInterfaceError, printable
from vminterface.vm.machine.programs import Programs
from vminterface.vm.net.linkstate import LINK_SCOPE, USUAL_METRIC_6, Link


def links(machine: Programs) -> dict[str, str]:
    """Return the Ethernet address of each interface, by its name. Raises VMInterfaceError."""
    with _in_known_form("link show"):
        return {str(link["ifname"]): str(link.get("address", "")) for link in _ask(machine, ["link", "show"])}


def read(machine: Programs, interface: str) -> Link:
    """Return what *interface* has. Raises VMInterfaceError."""
    with _in_known_form(f"show dev {interface}"):
        return _read(machine, interface)


def _read(machine: Programs, interface: str) -> Link:
    shown = _ask(machine, ["-N", "address", "show", "dev", interface])
    [described] = [entry for entry in shown if entry.get("ifname") == interface]
    return Link(
        up="UP" in described["flags"],
        addresses=frozenset(
            f"{a['local']}/{a['prefixlen']}" for a in described["addr_info"] if a.get("scope") != str(LINK_SCOPE)
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


def do(machine: Programs, steps: Iterable[str], keep_going: bool) -> None:
    """Take the *steps*, lines for ``ip -batch``. Raises VMInterfaceError."""
    options = ["-force"] if keep_going else []
    machine.run(["ip", *options, "-batch", "-"], input="".join(f"{step}\n" for step in steps).encode())


def _route_words(route: dict[str, Any], family: str) -> str:
    words = [str(route["dst"])]
    for key, word in (("gateway", "via"), ("protocol", "proto"), ("scope", "scope"), ("prefsrc", "src")):
        if key in route:
            words += [word, str(route[key])]
    if (metric := route.get("metric", 0)) and not (family == "-6" and metric == USUAL_METRIC_6):
        words += ["metric", str(metric)]
    words += ["onlink"] if "onlink" in route.get("flags", ()) else []
    return " ".join(words)


def _ask(machine: Programs, words: list[str]) -> list[dict[str, Any]]:
    output = machine.run(["ip", "-j", *words])
    try:
        return [entry for entry in json.loads(output or b"[]") if entry]
    except (ValueError, RecursionError):
        raise VMInterfaceError(f"ip -j {' '.join(words)}: not JSON: {printable(output, 80)}") from None


@contextlib.contextmanager
def _in_known_form(words: str) -> Iterator[None]:
    """Turn the errors of JSON in another form than that of ``ip`` into our error, with what was asked for."""
    try:
        yield
    except VMInterfaceError:
        raise
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        shown = printable(repr(error), 80)
        raise VMInterfaceError(f"ip -j {words}: unknown output format ({shown})") from None
