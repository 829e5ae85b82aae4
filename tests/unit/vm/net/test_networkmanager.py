"""The uplink's keyfile: each resolver stands in the section of its family."""

from __future__ import annotations

import configparser
from typing import Any

import pytest

from vminterface.values.network import ClientNetwork
from vminterface.vm.net.networkmanager import keyfile

HOST = {"ip": "10.137.0.12", "gateway": "10.137.0.5"}
IPV4 = {"ip": "10.137.0.12", "gateway": "10.137.0.5", "primary_dns": "10.139.1.1", "secondary_dns": "10.139.1.2"}
IPV6 = {"ip6": "fd09:24ef:4179::a89:c", "gateway6": "fd09:24ef:4179::a89:5"}
ALL = {"all_dns": "10.139.1.1 fd00::53 10.139.1.3"}


def dns(*texts: dict[str, str], off: tuple[str, ...] = ()) -> tuple[str | None, str | None]:
    network = ClientNetwork.parse({field: text for some in texts for field, text in some.items()})
    parsed = configparser.ConfigParser(interpolation=None)
    parsed.read_string(keyfile(network, "eth0", "00:16:3e:5e:6c:00", off))
    return parsed.get("ipv4", "dns", fallback=None), parsed.get("ipv6", "dns", fallback=None)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ((IPV4,), ("10.139.1.1;10.139.1.2;", None)),
        ((IPV4, IPV6), ("10.139.1.1;10.139.1.2;", None)),
        ((IPV4, IPV6, ALL), ("10.139.1.1;10.139.1.3;", "fd00::53;")),
        ((HOST, IPV6, {"all_dns": "fd00::53 fd00::54"}), (None, "fd00::53;fd00::54;")),
        # Without an address of IPv6 nobody there could be asked.
        ((IPV4, ALL), ("10.139.1.1;10.139.1.3;", None)),
    ],
)
def test_resolvers_stand_in_the_section_of_their_family(texts: tuple[Any, ...], expected: tuple[Any, ...]) -> None:
    assert dns(*texts) == expected


def test_search_domains_stand_there_unless_dom0_has_switched_that_off() -> None:
    network = ClientNetwork.parse({**IPV4, "dns_search": "corp.example.org example.org"})
    line = "dns-search=corp.example.org;example.org;"
    assert line in keyfile(network, "eth0", "00:16:3e:5e:6c:00", ()).splitlines()
    assert line not in keyfile(network, "eth0", "00:16:3e:5e:6c:00", ("disable-dns-server",)).splitlines()


def test_none_is_named_where_dom0_has_switched_that_off() -> None:
    assert dns(IPV4, IPV6, ALL, off=("disable-dns-server",)) == (None, None)
