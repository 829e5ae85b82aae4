"""A VM's network keys, read together: all of them right, or all of their faults."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from vminterface.errors import InvalidValue, InvalidValues
from vminterface.values.address import Netmask
from vminterface.values.network import ClientNetwork, ProviderNetwork

R4 = {
    "ip": "10.137.0.12",
    "netmask": "255.255.255.255",
    "gateway": "10.137.0.5",
    "primary_dns": "10.139.1.1",
    "secondary_dns": "10.139.1.2",
    "mac": "00:16:3e:5e:6c:00",
    "ip6": "fd09:24ef:4179::a89:c",
    "gateway6": "fd09:24ef:4179::a89:5",
}
R2 = {"ip": "10.137.2.9", "netmask": "255.255.255.0", "gateway": "10.137.2.1", "secondary_dns": "10.137.2.254"}

HOSTS = st.integers(0x0A000001, 0x0AFFFFFE).map(lambda n: str(IPv4Address(n)))


def faults(kind: type[Any], texts: dict[str, str]) -> dict[str, str]:
    with pytest.raises(InvalidValues) as caught:
        kind.parse(texts)
    return {fault.where: str(fault) for fault in caught.value.errors}


@pytest.mark.parametrize("texts", [R4, R2])
def test_the_keys_of_a_client_come_back_as_written(texts: dict[str, str]) -> None:
    assert ClientNetwork.parse(texts).render() == texts


@given(
    st.fixed_dictionaries(
        {"ip": HOSTS, "gateway": HOSTS, "netmask": st.just("255.255.255.255")},
        optional={"primary_dns": HOSTS, "secondary_dns": HOSTS, "mac": st.just("00:16:3e:5e:6c:00")},
    )
)
def test_every_legal_client_comes_back_as_written(texts: Any) -> None:
    assume(texts["ip"] != texts["gateway"])
    assert ClientNetwork.parse(texts).render() == texts


def test_ip_and_gateway_are_enough_and_the_netmask_is_a_hosts() -> None:
    network = ClientNetwork.parse({"ip": "10.137.0.12", "gateway": "10.137.0.5"})
    assert network.netmask == Netmask(32)
    assert network.render() == {"ip": "10.137.0.12", "netmask": "255.255.255.255", "gateway": "10.137.0.5"}


def test_a_gateway_outside_of_the_subnet_is_right_because_a_host_route_leads_there() -> None:
    texts = {"ip": "10.137.0.12", "netmask": "255.255.255.0", "gateway": "192.168.1.1"}
    assert ClientNetwork.parse(texts).gateway == IPv4Address("192.168.1.1")


def test_a_gateway_that_is_the_vm_itself_is_refused() -> None:
    assert faults(ClientNetwork, {"ip": "10.137.0.5", "gateway": "10.137.0.5"}) == {
        "gateway": "10.137.0.5 is the VM's own ip (expected another host's)"
    }


def test_a_gateway6_that_is_the_vm_itself_is_refused() -> None:
    assert list(faults(ClientNetwork, R4 | {"gateway6": R4["ip6"]})) == ["gateway6"]


@pytest.mark.parametrize("gateway", ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "10.137.0.5/24", ""])
def test_a_gateway_must_be_a_usable_host(gateway: str) -> None:
    assert list(faults(ClientNetwork, R4 | {"gateway": gateway})) == ["gateway"]


@pytest.mark.parametrize("end", ["0", "255"])
def test_the_first_and_last_address_of_the_subnet_are_no_hosts(end: str) -> None:
    assert list(faults(ClientNetwork, R2 | {"ip": f"10.137.2.{end}"})) == ["ip"]
    assert list(faults(ClientNetwork, R2 | {"gateway": f"10.137.2.{end}"})) == ["gateway"]


@pytest.mark.parametrize("netmask", ["255.255.255.254", "255.255.255.255"])
def test_pairs_and_single_hosts_have_no_first_and_last_address(netmask: str) -> None:
    texts = {"ip": "10.0.0.0", "netmask": netmask, "gateway": "10.0.0.1"}
    assert ClientNetwork.parse(texts).render() == texts


def test_gateway6_without_ip6_is_refused() -> None:
    texts = {field: text for field, text in R4.items() if field != "ip6"}
    assert "needs ip6" in faults(ClientNetwork, texts)["gateway6"]


def test_ip6_without_gateway6_is_accepted() -> None:
    texts = {field: text for field, text in R4.items() if field != "gateway6"}
    assert ClientNetwork.parse(texts).ip6 == IPv6Address(R4["ip6"])


def test_all_faults_are_found_in_one_pass_each_with_its_field() -> None:
    found = faults(
        ClientNetwork,
        {"netmask": "255.0.255.0", "gateway": "10.0.0.256", "mac": "x", "gateway6": "fe80::1", "dns": "10.139.1.1"},
    )
    assert set(found) == {"ip", "netmask", "gateway", "mac", "gateway6", "dns"}
    assert "missing" in found["ip"]
    assert "unknown field 'dns'" in found["dns"]


def test_an_unknown_field_of_hostile_text_is_shown_as_printable_ascii() -> None:
    assert all(key.isprintable() and key.isascii() for key in faults(ClientNetwork, R4 | {"\x1b[2J\n": "x"}))


def test_faults_are_an_invalid_value_whose_text_names_each_field() -> None:
    with pytest.raises(InvalidValue, match=r"^gateway: it is missing"):
        ClientNetwork.parse({"ip": "10.137.0.12"})


def test_dns_is_primary_then_secondary() -> None:
    assert [str(a) for a in ClientNetwork.parse(R4).dns] == ["10.139.1.1", "10.139.1.2"]


def test_all_resolvers_go_before_the_two_that_older_readers_know() -> None:
    network = ClientNetwork.parse(R4 | {"all_dns": "10.139.1.7 fd09::53"})
    assert [str(a) for a in network.dns] == ["10.139.1.7", "fd09::53"]


def test_resolvers_of_ipv6_alone_need_an_address_to_ask_from() -> None:
    texts = {"ip": "10.137.0.12", "gateway": "10.137.0.5", "all_dns": "fd09::53 fd09::54"}
    assert list(faults(ClientNetwork, texts)) == ["all_dns"]
    assert "needs ip6" in faults(ClientNetwork, texts)["all_dns"]
    for more in ({"ip6": "fd09::c"}, {"all_dns": "fd09::53 10.139.1.1"}, {"all_dns": "10.139.1.1"}):
        assert ClientNetwork.parse(texts | more).render().items() >= more.items()


@pytest.mark.parametrize(("client", "field"), [("10.137.0.5", "gateway"), ("fd09::5", "gateway6")])
def test_a_provider_is_no_client_of_its_own(client: str, field: str) -> None:
    texts = {"gateway": "10.137.0.5", "gateway6": "fd09::5", "connected": f"10.137.0.9 {client}"}
    assert faults(ProviderNetwork, texts) == {
        "connected": f"{client} is the provider's own {field} (expected a client's)"
    }
    assert ProviderNetwork.parse(texts | {"connected": "10.137.0.9"}).connected is not None


def test_search_domains_come_back_and_a_providers_netmask_is_a_hosts() -> None:
    assert ClientNetwork.parse(R4 | {"dns_search": "example.org"}).render() == R4 | {"dns_search": "example.org"}
    assert ProviderNetwork.parse({"gateway": "10.137.0.5"}).netmask == Netmask(32)


def test_a_fault_of_a_field_says_what_is_wrong_with_it() -> None:
    assert "'x' is not a valid MAC address" in faults(ClientNetwork, R4 | {"mac": "x"})["mac"]


def test_without_a_primary_dns_the_gateway_answers() -> None:
    assert [str(a) for a in ClientNetwork.parse(R2).dns] == ["10.137.2.1", "10.137.2.254"]
    assert [str(a) for a in ProviderNetwork.parse({"gateway": "10.137.2.1"}).dns] == ["10.137.2.1"]


@pytest.mark.parametrize("network", ["10.137.2.0", "10.137.2.1"])
def test_a_providers_network_may_be_the_network_or_the_gateway(network: str) -> None:
    texts = {"gateway": "10.137.2.1", "netmask": "255.255.255.0", "network": network}
    assert ProviderNetwork.parse(texts).render() == texts


def test_another_network_is_refused() -> None:
    found = faults(ProviderNetwork, {"gateway": "10.137.2.1", "netmask": "255.255.255.0", "network": "10.137.3.0"})
    assert list(found) == ["network"]


def test_beside_a_hosts_mask_the_network_is_a_sign_and_may_be_any() -> None:
    texts = {"gateway": "10.137.0.5", "netmask": "255.255.255.255", "network": "10.137.0.0"}
    assert ProviderNetwork.parse(texts).render() == texts


def test_a_provider_whose_gateway_is_the_networks_own_address_is_refused() -> None:
    assert list(faults(ProviderNetwork, {"gateway": "10.137.2.0", "netmask": "255.255.255.0"})) == ["gateway"]


def test_a_provider_needs_a_gateway_and_knows_no_client_fields() -> None:
    assert set(faults(ProviderNetwork, {"ip": "10.137.0.5", "mac": "00:16:3e:5e:6c:00"})) == {"gateway", "ip", "mac"}


@given(HOSTS, st.integers(8, 32))
def test_the_default_network_follows_from_gateway_and_netmask(gateway: Any, prefix: Any) -> None:
    subnet = IPv4Network((gateway, prefix), strict=False)
    assume(prefix > 30 or IPv4Address(gateway) not in (subnet.network_address, subnet.broadcast_address))
    network = ProviderNetwork.parse({"gateway": gateway, "netmask": str(prefix)}).with_defaults()
    assert network.network == subnet.network_address
    assert ProviderNetwork.parse(network.render()) == network


def test_a_network_that_is_set_is_kept_by_the_defaults() -> None:
    network = ProviderNetwork.parse({"gateway": "10.137.2.1", "netmask": "24", "network": "10.137.2.1"})
    assert network.with_defaults() is network


def test_a_provider_with_everything_comes_back_as_written() -> None:
    texts = {
        "gateway": "10.137.0.5",
        "netmask": "255.255.255.255",
        "network": "10.137.0.5",
        "primary_dns": "10.139.1.1",
        "secondary_dns": "10.139.1.2",
        "gateway6": "fe80::fcff:ffff:feff:ffff",
    }
    assert ProviderNetwork.parse(texts).render() == texts
