"""Addresses and networks: what keys, the toolstack and programs say of them."""

from __future__ import annotations

from typing import Any

from tests.fuzz.pieces import in_pairs, text_pairs
from tests.fuzz.target import Target, bytes_target, check_text, text_target
from vminterface.values import address
from vminterface.values.client import Client, Clients
from vminterface.values.network import ClientNetwork, ProviderNetwork
from vminterface.values.port import parse_port
from vminterface.values.resolvers import Resolvers
from vminterface.values.searchdomains import SearchDomains
from vminterface.vm.machine.backends import Backend, clients
from vminterface.vm.net import networkmanager, nft, resolvers

CLIENT = {
    "ip": "10.137.0.12", "netmask": "255.255.255.0", "gateway": "10.137.0.5", "primary_dns": "10.139.1.1",
    "secondary_dns": "10.139.1.2", "all_dns": "10.139.1.1 fd00::53", "dns_search": "corp.example.org example.org",
    "mac": "00:16:3e:5e:6c:00", "ip6": "fd09:24ef:4179::a89:3", "gateway6": "fe80::1",
}  # fmt: skip
PROVIDER = {
    "gateway": "10.137.0.5", "netmask": "24", "network": "10.137.0.0", "primary_dns": "10.137.0.5",
    "secondary_dns": "10.137.255.254", "gateway6": "fe80::1",
    "connected": "10.137.0.12,00:16:3e:5e:6c:01,vif5.0 fd09::c 10.137.0.13,,vif6.0",
}  # fmt: skip
ADDRESSES = (
    "10.137.0.12",
    "0.0.0.0",
    "255.255.255.255",
    "224.0.0.1",
    "127.0.0.1",
    "256.1.1.1",
    "01.2.3.4",
    "240.0.0.1",
)
ADDRESSES6 = (
    "fd09:24ef:4179::a89:3",
    "::",
    "::1",
    "::ffff:10.0.0.1",
    "ff02::1",
    "fe80::1",
    "1:2:3:4:5:6:7:8",
    "::1:2:3",
)
_BACKEND = Backend.parse("vif5.0", "00:16:3e:5e:6c:01", "10.137.0.12 fd09::c")


def _client_holds(value: ClientNetwork) -> None:
    assert ClientNetwork.parse(value.render()) == value
    assert value.dns
    for off in ((), ("disable-default-route", "disable-dns-server")):
        text = networkmanager.keyfile(value, "eth0", "00:16:3e:5e:6c:00", off)
        assert text.isascii()
        assert all(line.isprintable() for line in text.splitlines())


def _provider_holds(value: ProviderNetwork) -> None:
    assert ProviderNetwork.parse(value.render()) == value
    assert value.with_defaults().network is not None
    assert value.dns
    found = clients(value.connected, [_BACKEND])
    for family in nft.FAMILIES:
        allowed = frozenset((str(one.vif), one.ip) for one in found if one.vif is not None)
        for text in (
            nft.rules(family, [*value.dns], [*value.dns]),
            nft.elements(family, nft.Found(), frozenset(), allowed),
        ):
            assert text.isascii()
            assert all(line.isprintable() for line in text.splitlines())


def _without_one(values: dict[str, str], *names: str) -> bytes:
    return in_pairs({name: text for name, text in values.items() if name not in names})


def _of_resolv_conf(text: str) -> list[Any]:
    return resolvers._by_file(text)  # what a resolv.conf says, without the file


def _backend(data: bytes) -> Backend:
    values = text_pairs(data)
    return Backend.parse(values.get("vif", ""), values.get("mac", ""), values.get("ip", ""))


def _backend_holds(value: Backend) -> None:
    for client in clients(None, [value]):
        assert Client.parse(str(client)) == client


def _clients_holds(value: Clients) -> None:
    assert [*value] == [*Clients.parse(str(value))]
    for client in value:
        check_text(str(client))


_FIELDS = (
    "ip= netmask= gateway= network= primary_dns= secondary_dns= all_dns= dns_search= mac= ip6= gateway6= connected="
)

TARGETS: tuple[Target, ...] = (
    text_target("values.ipv4", address.parse_ipv4, address.render, *ADDRESSES, words=". 255 0 10.0.0.0"),
    text_target("values.ipv6", address.parse_ipv6, address.render, *ADDRESSES6, words=": :: ffff fe80 %eth0 0000"),
    text_target(
        "values.netmask", address.parse_netmask, address.render, "255.255.255.0", "1", "32", "33", "0.0.0.0",
        "255.0.255.0", "255.255.255.255", words="255 . 128 254 192",
    ),
    text_target(
        "values.mac", address.parse_mac, address.render, "00:16:3E:5e:6c:00", "01:00:00:00:00:00", "00:00:00:00:00:00",
        words=": ff",
    ),
    text_target(
        "values.clients", Clients.parse, str, PROVIDER["connected"], "10.137.0.12,,vif5.0", "", "10.137.0.1 10.137.0.1",
        "10.137.0.1,1,2,3", "10.137.0.1,x", "10.137.0.1,,vif70000.1", " ".join(f"10.137.{i}.1" for i in range(250)),
        " ".join(f"fd00::{i:x}" for i in range(400)), holds=_clients_holds, words=", vif . : vif5.0 00:16:3e:5e:6c:01",
    ),
    text_target(
        "values.resolvers", Resolvers.parse, str, CLIENT["all_dns"], "", " ".join(["9.9.9.9"] * 17), words=". ::",
    ),
    text_target(
        "values.searchdomains", SearchDomains.parse, str, CLIENT["dns_search"], "A.b", "-x", "x.", "a" * 64,
        " ".join(["a.example.org"] * 17), " ".join(["a" * 63 + ".example.org"] * 15), words=". - _ example org",
    ),
    text_target("values.port", parse_port, str, "1", "65535", "65536", "0", "08", words="65 535"),
    bytes_target(
        "values.clientnetwork", lambda data: ClientNetwork.parse(text_pairs(data)), in_pairs(CLIENT),
        _without_one(CLIENT, "gateway"), _without_one(CLIENT, "ip6"), _without_one(CLIENT, "netmask", "all_dns"),
        _without_one(CLIENT, "secondary_dns"), in_pairs({**CLIENT, "gateway": CLIENT["ip"]}),
        in_pairs({**CLIENT, "ip": "10.137.0.0"}), in_pairs({**CLIENT, "gateway": "10.137.0.255"}),
        in_pairs({**CLIENT, "gateway6": CLIENT["ip6"]}),
        in_pairs({"ip": "1.2.3.4", "gateway": "1.2.3.5", "all_dns": "fd::1"}),
        in_pairs({**CLIENT, "gateway6": "fd09::5"}), in_pairs({**CLIENT, "x": "y", "mac": "z"}), b"",
        holds=_client_holds, words=_FIELDS,
    ),
    bytes_target(
        "values.providernetwork", lambda data: ProviderNetwork.parse(text_pairs(data)), in_pairs(PROVIDER),
        _without_one(PROVIDER, "gateway"), _without_one(PROVIDER, "network", "netmask"),
        _without_one(PROVIDER, "network"),
        in_pairs({**PROVIDER, "network": "10.138.0.0"}), in_pairs({**PROVIDER, "gateway": "10.137.0.255"}),
        in_pairs({**PROVIDER, "connected": "10.137.0.5"}), in_pairs({**PROVIDER, "netmask": "31"}), b"ip=10.0.0.1",
        holds=_provider_holds, words=_FIELDS,
    ),
    bytes_target(
        "vm.backend", _backend, b"vif=vif5.0\nmac=00:16:3e:5e:6c:01\nip=10.137.0.12 fd09::c", b"vif=vif5.0",
        b"vif=eth0",
        b"vif=vif1.1\nip=1.2.3", holds=_backend_holds, words="vif= mac= ip= vif1.0",
    ),
    text_target(
        "vm.resolvconf", _of_resolv_conf, None, "nameserver 10.139.1.1\nsearch x\nnameserver fe80::1%eth0\n",
        "nameserver",
        "nameserver\t9.9.9.9#53 x", words="nameserver options # %eth0",
    ),
)  # fmt: skip
