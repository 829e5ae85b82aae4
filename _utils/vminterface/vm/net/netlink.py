"""Interfaces by rtnetlink, through pyroute2: no program is started. Source: rtnetlink(7), linux/rtnetlink.h."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterable, Iterator
from typing import Any

from vminterface.errors import VMInterfaceError
from vminterface.vm.net.linkstate import LINK_SCOPE, USUAL_METRIC_6, Link

_UP = 1
_MAIN_TABLE, _UNICAST = 254, 1
#: Who made a route: the kernel, an admin who names nobody, a router's advertisement.
_BY_KERNEL, _BY_ADMIN, _BY_ROUTER = 2, 3, 9
_ONLINK = 4
_NODAD = 2
_PERMANENT = 128


def links(ipr: Any) -> dict[str, str]:
    """Return the Ethernet address of each interface, by its name. Raises VMInterfaceError."""
    with _named("the list of interfaces"):
        return {link.get_attr("IFLA_IFNAME"): link.get_attr("IFLA_ADDRESS") or "" for link in ipr.get_links()}


def read(ipr: Any, interface: str) -> Link:
    """Return what *interface* has. Raises VMInterfaceError."""
    with _named(interface):
        index = _index(ipr, interface)
        [link] = ipr.get_links(index)
        return Link(
            bool(link["flags"] & _UP),
            frozenset(
                f"{a.get_attr('IFA_LOCAL') or a.get_attr('IFA_ADDRESS')}/{a['prefixlen']}"
                for a in ipr.get_addr(index=index)
                if a["scope"] != LINK_SCOPE
            ),
            frozenset(
                _route_words(route, family)
                for family in (socket.AF_INET, socket.AF_INET6)
                for route in ipr.get_routes(family=family, oif=index)
                if (route.get_attr("RTA_TABLE"), route["type"]) == (_MAIN_TABLE, _UNICAST)
                and route["proto"] not in (_BY_KERNEL, _BY_ROUTER)
            ),
            frozenset(
                f"{n.get_attr('NDA_DST')} lladdr {n.get_attr('NDA_LLADDR')}"
                for n in ipr.get_neighbours(ifindex=index)
                if n["state"] == _PERMANENT and n.get_attr("NDA_LLADDR")
            ),
            link.get_attr("IFLA_GROUP") or 0,
        )


def do(ipr: Any, steps: Iterable[str], keep_going: bool) -> None:
    """Take the *steps*, lines for ``ip -batch``. Raises VMInterfaceError with the first fault."""
    errors = []
    for step in steps:
        try:
            with _named(step):
                _take(ipr, step.split())
        except VMInterfaceError as error:
            if not keep_going:
                raise
            errors.append(error)
    if errors:
        raise errors[0]


def _take(ipr: Any, words: list[str]) -> None:
    """Take one step: object, verb, the object's own word if it has one, then pairs of words and flags."""
    thing, verb, *rest = words
    subject = "" if thing == "link" else rest.pop(0)
    flags = {word for word in ("onlink", "nodad", "up", "down") if word in rest}
    rest = [word for word in rest if word not in flags]
    given = dict(zip(rest[::2], rest[1::2], strict=True))
    index = _index(ipr, given["dev"])
    if thing == "link":
        if "group" in given:
            ipr.link("set", index=index, group=int(given["group"]))
        else:
            ipr.link("set", index=index, state="up" if "up" in flags else "down")
    elif thing == "address":
        address, _, prefix = subject.partition("/")
        more = {"flags": _NODAD} if "nodad" in flags else {}
        ipr.addr(verb, index=index, address=address, prefixlen=int(prefix), **more)
    elif thing == "neighbour":
        more = {"state": _PERMANENT} if verb == "replace" else {}
        ipr.neigh(verb, dst=subject, lladdr=given["lladdr"], ifindex=index, family=_family(subject), **more)
    else:
        _route(ipr, verb, subject, given, index, "onlink" in flags)


def _route(ipr: Any, verb: str, subject: str, given: dict[str, str], index: int, onlink: bool) -> None:
    more: dict[str, Any] = {}
    if subject == "default":
        family = _family(given.get("via", "0.0.0.0"))
        more["dst"] = "0.0.0.0/0" if family == socket.AF_INET else "::/0"
    else:
        family = _family(subject)
        more["dst"] = subject if "/" in subject else f"{subject}/{32 if family == socket.AF_INET else 128}"
    for word, name in (("via", "gateway"), ("src", "prefsrc")):
        if word in given:
            more[name] = given[word]
    if "scope" in given:
        more["scope"] = {"link": LINK_SCOPE, "host": 254}.get(given["scope"], 0)
    if "metric" in given:
        more["priority"] = int(given["metric"])
    if onlink:
        more["flags"] = _ONLINK
    more["proto"] = int(given.get("proto", _BY_ADMIN))
    ipr.route(verb, family=family, oif=index, table=_MAIN_TABLE, **more)


def _route_words(route: Any, family: int) -> str:
    # As `ip` shows it: a host's address without its length.
    full = 32 if family == socket.AF_INET else 128
    length = route["dst_len"]
    target = route.get_attr("RTA_DST")
    words = ["default" if target is None else target if length == full else f"{target}/{length}"]
    for name, word in (("RTA_GATEWAY", "via"), ("RTA_PREFSRC", "src")):
        if (value := route.get_attr(name)) is not None:
            words += [word, value]
    if route["proto"] != _BY_ADMIN:
        words += ["proto", str(route["proto"])]
    if route["scope"] == LINK_SCOPE:
        words += ["scope", "link"]
    metric = route.get_attr("RTA_PRIORITY") or 0
    if metric and not (family == socket.AF_INET6 and metric == USUAL_METRIC_6):
        words += ["metric", str(metric)]
    words += ["onlink"] if route["flags"] & _ONLINK else []
    return " ".join(words)


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _index(ipr: Any, interface: str) -> int:
    found = ipr.link_lookup(ifname=interface)
    if not found:
        raise VMInterfaceError(f"this VM has no interface {interface}")
    return int(found[0])


@contextlib.contextmanager
def _named(what: str) -> Iterator[None]:
    """Turn pyroute2's errors into ours, with what was asked for."""
    try:
        yield
    except VMInterfaceError:
        raise
    except Exception as error:
        # NetlinkError holds the kernel's number; it is no OSError, and cannot be named where pyroute2 is missing.
        number = getattr(error, "code", None)
        reason = os.strerror(number) if isinstance(number, int) else str(error) or type(error).__name__
        raise VMInterfaceError(f"{what}: {reason}") from None
