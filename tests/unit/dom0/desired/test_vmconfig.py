"""Free keys and long lists of resolvers in the pillar."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.desired import desired
from vminterface.dom0.desired.settings import VMSettings
from vminterface.errors import InvalidValues

NETWORK = {"ip": "10.137.0.12", "gateway": "10.137.0.5"}


def faults(raw: object) -> list[str]:
    with pytest.raises(InvalidValues) as caught:
        VMSettings.parse("work", raw, where="vms:work")
    return [fault.where for fault in caught.value.errors]


def test_free_keys_have_texts_and_can_be_taken_away() -> None:
    assert desired({"vm_config": {"mode": "quiet", "empty": "", "old": "default", "left": None}}) == {
        "vm_config:mode": "quiet",
        "vm_config:empty": "",
        "vm_config:old": None,
    }


def test_free_keys_are_added_to_those_of_the_defaults_name_by_name() -> None:
    defaults = {"vm_config": {"mode": "quiet", "site": "1"}}
    assert desired({"vm_config": {"mode": "loud"}}, **defaults) == {"vm_config:mode": "loud", "vm_config:site": "1"}
    assert desired({"vm_config": None}, **defaults) == {}


@pytest.mark.parametrize(
    ("raw", "where"),
    [
        (["mode"], "vm_config"),
        ({"1st": "x"}, "vm_config:1st"),
        ({"a/b": "x"}, "vm_config:a/b"),
        ({"vminterface-dns": "10.0.0.1"}, "vm_config:vminterface-dns"),
        ({"mode": 1}, "vm_config:mode"),
        ({"mode": True}, "vm_config:mode"),
        ({"mode": "a\nb"}, "vm_config:mode"),
        ({"mode": "x" * 3072}, "vm_config:mode"),
        ({7: "x"}, "vm_config:7"),
    ],
)
def test_a_fault_of_a_free_key_has_its_path(raw: dict[str, Any] | list[str], where: str) -> None:
    assert faults({"vm_config": raw}) == [f"vms:work:{where}"]


def test_the_longest_text_is_what_qubesdb_holds() -> None:
    assert desired({"vm_config": {"mode": "x" * 3071}}) == {"vm_config:mode": "x" * 3071}


def test_more_than_two_resolvers_are_told_all_together_as_well() -> None:
    got = desired({"network": {**NETWORK, "dns": ["10.139.1.1", "10.139.1.2", "10.139.1.3", "fd00::53"]}})
    assert {field: text for field, text in got.items() if field.endswith("_dns")} == {
        "network:primary_dns": "10.139.1.1",
        "network:secondary_dns": "10.139.1.2",
        "network:all_dns": "10.139.1.1 10.139.1.2 10.139.1.3 fd00::53",
    }


def test_a_shorter_list_takes_the_long_one_away() -> None:
    got = desired({"network": {**NETWORK, "dns": ["10.139.1.1"]}})
    assert (got["network:secondary_dns"], got["network:all_dns"]) == (None, None)
    assert desired({"network": "none"})["network:all_dns"] is None


@pytest.mark.parametrize(
    ("dns", "where"),
    [
        (["10.139.1.1", "10.139.1.2", "x"], ["vms:work:network:dns:2"]),
        (["10.139.1.1", "10.139", "9.9.9.9"], ["vms:work:network:dns:1"]),
        ([None, "10.139.1.1", "9.9.9.9"], ["vms:work:network:dns:0"]),
        (["x", None, "9.9.9"], ["vms:work:network:dns:0", "vms:work:network:dns:1", "vms:work:network:dns:2"]),
        (["fd00::53"], ["vms:work:network:dns"]),
        (["x", "10.139.1.2", "10.139.1.3"], ["vms:work:network:dns:0"]),
        (["10.139.1.1", "10.139.1.2", 3], ["vms:work:network:dns:2"]),
        (["10.139.1.1"] * 17, ["vms:work:network:dns"]),
    ],
)
def test_a_fault_of_a_resolver_has_its_number(dns: list[Any], where: list[str]) -> None:
    assert faults({"network": {**NETWORK, "dns": dns}}) == where


@pytest.mark.parametrize(
    ("dns", "primary", "secondary"),
    [
        (["fd00::53"], None, None),
        (["fd00::53", "fd00::54"], None, None),
        (["fd00::53", "10.139.1.2"], "10.139.1.2", None),
        (["10.139.1.1", "fd00::53", "10.139.1.2"], "10.139.1.1", "10.139.1.2"),
    ],
)
def test_resolvers_of_ipv6_are_in_the_key_of_all_in_their_order(
    dns: list[str], primary: str | None, secondary: str | None
) -> None:
    got = desired({"network": {**NETWORK, "ip6": "fd00::c", "dns": dns}})
    assert (got["network:primary_dns"], got["network:secondary_dns"]) == (primary, secondary)
    assert got["network:all_dns"] == " ".join(dns)


def test_search_domains_become_one_text_and_an_empty_list_takes_them_away() -> None:
    domains = ["corp.example.org", "Example.ORG"]
    got = desired({"network": {**NETWORK, "dns_search": domains}})
    assert got["network:dns_search"] == "corp.example.org example.org"
    assert "network:primary_dns" not in got
    nothing: list[object] = [[], "default"]
    for none in nothing:
        assert desired({"network": {**NETWORK, "dns_search": none}})["network:dns_search"] is None
    assert "network:dns_search" not in desired({"network": NETWORK})


@pytest.mark.parametrize("domain", ["", ".", "a..b", "a.", ".a", "-a", "a b", "a\n", "é.example", "a" * 64, 7, "a/b"])
def test_what_is_no_domain_is_refused_with_its_number(domain: int | str) -> None:
    assert faults({"network": {**NETWORK, "dns_search": ["a", domain]}}) == ["vms:work:network:dns_search:1"]
    assert faults({"network": {**NETWORK, "dns_search": ["a"] * 17}}) == ["vms:work:network:dns_search"]


def test_a_provider_has_two_addresses_for_names() -> None:
    raw = {"gateway": "10.137.0.5", "dns": ["10.139.1.1", "10.139.1.2", "10.139.1.3"]}
    assert faults({"provides_network": raw}) == ["vms:work:provides_network:dns"]
