"""A pillar's errors come all at once, none of them follows from another, and each says what to do."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.desired import desired
from vminterface.dom0.desired.settings import parse_pillar
from vminterface.errors import InvalidValues

NETWORK = {"ip": "10.137.0.12", "gateway": "10.137.0.5"}
MONITOR = {"width": 1920, "height": 1080, "x": 0, "y": 0}
FIREWALL = {"policy": "drop", "netvm": "sys-net", "ip": "10.137.0.12"}


def errors(vms: object, defaults: object = None) -> dict[str, str]:
    with pytest.raises(InvalidValues) as caught:
        parse_pillar({"qubes": {"defaults": defaults, "vms": vms}})
    return {fault.where.removeprefix("qubes:"): str(fault) for fault in caught.value.errors}


def of_work(raw: object, defaults: object = None) -> dict[str, str]:
    return {where.removeprefix("vms:work:"): text for where, text in errors({"work": raw}, defaults).items()}


@pytest.mark.parametrize("group", ["services", "vm_config"])
def test_null_takes_the_default_of_that_one_name_back(group: str) -> None:
    defaults = {group: {"a": "on", "b": "on"}}
    text = desired({}, **defaults)[f"{group}:a"]
    assert desired({group: {"a": None}}, **defaults) == {f"{group}:b": text}
    assert desired({group: {"a": None, "c": "on"}}, **defaults) == {f"{group}:b": text, f"{group}:c": text}
    assert desired({group: {"a": None}}) == {}
    assert desired({group: {"a": "default"}}, **defaults)[f"{group}:a"] is None


@pytest.mark.parametrize(
    ("raw", "paths"),
    [
        ({"network": {"ip": 5, "gateway": "x", "mac": "zz"}}, ["network:ip", "network:gateway", "network:mac"]),
        ({"network": {"ip": 5, "dns": ["x", 1, "y"]}},
         ["network:ip", "network:dns:0", "network:dns:1", "network:dns:2", "network:gateway"]),
        ({"network": {**NETWORK, "ip6": 1, "gateway6": "fd00::1"}}, ["network:ip6"]),
        ({"network": {"ip": "10.137.0.12", "gatewy": "10.137.0.5"}}, ["network:gatewy"]),
        ({"provides_network": {"gateway": 5, "netmask": "x", "connected": [{"ip": "x"}, 5]}},
         ["provides_network:gateway", "provides_network:netmask", "provides_network:connected:0:ip",
          "provides_network:connected:1"]),
        ({"type": "AppVM", "provides_network": {"gateway": "10.1.1.1"}, "debug": "x"}, ["debug", "provides_network"]),
        ({"type": "AppVM", "provides_network": {"gateway": "x"}}, ["provides_network:gateway", "provides_network"]),
        ({"type": "NetVM", "network": {**NETWORK, "mac": 1}}, ["network:mac", "network"]),
        ({"netvm": "sys-net", "persist": False, "debug": "x"}, ["debug", "netvm"]),
        ({"firewall": {"policy": "x", "netvm": 5, "ip": "y", "rules": 7}},
         ["firewall:netvm", "firewall:policy", "firewall:ip", "firewall:rules"]),
        ({"firewall": {"policy": "drop"}}, ["firewall:netvm", "firewall:ip"]),
        ({"firewall": {**FIREWALL,
           "rules": [{"action": 1, "dst4": "x", "proto": "y", "dstports": "z"}, "action=x a=b"]}},
         ["firewall:rules:0:action", "firewall:rules:0:dst4", "firewall:rules:0:proto", "firewall:rules:0:dstports",
          "firewall:rules:1:action", "firewall:rules:1:a"]),
        ({"firewall": {**FIREWALL, "rules": [{"action": "drop", "proto": 1, "dstports": 53}]}},
         ["firewall:rules:0:proto"]),
    ],
)  # fmt: skip
def test_each_error_is_there_and_no_other(raw: dict[str, Any], paths: list[str]) -> None:
    assert sorted(of_work(raw)) == sorted(paths)


@pytest.mark.parametrize(
    "defaults",
    [
        {"netvm": "sys-net", "timezone": 7},
        {"netvm": 7},
        {"netvm": "sys-net", "network": {"ip": "10.137.0.1", "gateway": 1}},
    ],
)
def test_what_the_defaults_have_wrong_is_not_missing_in_a_vm(defaults: dict[str, Any]) -> None:
    network = {} if "network" in defaults else {"network": NETWORK}
    found = errors({"work": {**network, "firewall": {"policy": "drop"}}}, defaults)
    assert [where.split(":")[0] for where in found] == ["defaults"]


@pytest.mark.parametrize(
    ("raw", "path", "text"),
    [
        ({"monitors": [{**MONITOR, "width": "1920"}]}, "monitors:0:width", "(unquote it)"),
        ({"monitors": {"from_dom0": True, "dpi": "144"}}, "monitors:dpi", "(unquote it)"),
        ({"timeout": "10"}, "timeout", "(unquote it)"),
        ({"timeout": "1.5"}, "timeout", "(unquote it)"),
        ({"persist": "yes"}, "persist", "(unquote it)"),
        ({"network": {"ip": "default", "gateway": "10.1.1.1"}}, "network:ip", "network: none"),
        ({"network": {**NETWORK, "netmask": 0}}, "network:netmask", "from 1 to 32"),
        ({"network": {**NETWORK, "netmask": "024"}}, "network:netmask", "from 1 to 32"),
        ({"provides_network": {"gateway": "10.1.1.1", "netmask": "0.0.0.0"}}, "provides_network:netmask", "1 to 32"),
        ({"netvm": "work"}, "netvm", "is the VM itself"),
        ({"firewall": {**FIREWALL, "netvm": "work"}}, "firewall:netvm", "is the VM itself"),
        ({"netvm": "work", "network": NETWORK, "firewall": {"policy": "drop"}}, "netvm", "is the VM itself"),
        ({"timezone": 7}, "timezone", "is the number 7 (expected text: quote it)"),
        ({"timezone": ["UTC"]}, "timezone", "is of type list (expected text)"),
        ({"network": {**NETWORK, "dns": [None]}}, "network:dns:0", "is of type NoneType (expected text)"),
        ({"firewall": {**FIREWALL, "rules": [{"action": "drop", "dst4": "0.0.0.0/0"}]}},
         "firewall:rules:0:dst4", "specialtarget: dns"),
        ({"firewall": {**FIREWALL, "rules": ["action=drop dst6=::/0"]}}, "firewall:rules:0:dst6", "omit it"),
        ({"firewall": {**FIREWALL, "rules": [{"action": "drop", "dsthost": "192.168.1.0/24"}]}},
         "firewall:rules:0:dsthost", "goes into dst4"),
        ({"firewall": {**FIREWALL, "rules": [{"action": "drop", "dsthost": "FD00::/8"}]}},
         "firewall:rules:0:dsthost", "goes into dst6"),
    ],
)  # fmt: skip
def test_an_error_says_what_to_write_instead(raw: dict[str, Any], path: str, text: str) -> None:
    assert text in of_work(raw)[path]


@pytest.mark.parametrize("name", [None, 7, True])
def test_a_vm_whose_name_is_not_text_has_this_error_alone(name: object) -> None:
    assert list(errors({name: {"debug": True}})) == [f"vms:{name}"]


@pytest.mark.parametrize(("field", "address"), [("ip", "10.137.0.12"), ("ip6", "fd00::c")])
def test_two_vms_with_one_address_are_refused_unless_it_is_meant(field: str, address: str) -> None:
    def vms(*shared: Any) -> Any:
        own = {vm: {"ip": f"10.137.0.{20 + i}", "gateway": "10.137.0.5", field: address} for i, vm in enumerate("abc")}
        return {
            vm: {"network": {**network, **({"shared_ip": True} if vm in shared else {})}} for vm, network in own.items()
        }

    assert sorted(errors(vms())) == [f"vms:b:network:{field}", f"vms:c:network:{field}"]
    assert "qubes:vms:a already has" in errors(vms())[f"vms:b:network:{field}"]
    assert sorted(errors(vms("b"))) == [f"vms:c:network:{field}"]
    assert sorted(errors(vms("a"))) == [f"vms:c:network:{field}"]
    assert len(parse_pillar({"qubes": {"vms": vms("a", "c")}})) == 3


def test_an_address_of_the_defaults_is_one_too() -> None:
    assert list(errors({"a": {}, "b": {}}, {"network": NETWORK})) == ["defaults:network:ip"]


def test_vms_that_are_each_others_netvm_are_refused_once() -> None:
    vms = {"a": {"netvm": "b"}, "b": {"netvm": "c"}, "c": {"netvm": "b"}, "d": {"netvm": "sys-net"}}
    assert errors(vms) == {"vms:b:netvm": "the VMs provide network to each other in a circle: b -> c -> b"}
