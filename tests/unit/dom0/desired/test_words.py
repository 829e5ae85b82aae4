"""Keys are shown as the pillar's fields: one entry for each field that an admin writes, in the words of YAML."""

from __future__ import annotations

from typing import Any

import pytest

from vminterface import keys
from vminterface.dom0.desired import diff, words
from vminterface.dom0.desired.settings import VMSettings
from vminterface.values.change import Change
from vminterface.values.keyboard import KeyboardLayout

NETWORK = {"ip": "10.137.0.12", "gateway": "10.137.0.5"}
OWN_KEYMAP = "xkb_keymap { own };"


def shown(raw: dict[str, Any], **held: str) -> dict[str, tuple[Any, Any]]:
    """What a push of *raw* changes where the keys, with ``__`` for colons in their fields, hold the texts *held*."""
    desired = VMSettings.parse("work", raw).desired
    values = {name.replace("__", ":"): text for name, text in held.items()}
    values = {field: keys.read_value(field, text) for field, text in values.items()}
    changed = diff.compare(desired, values, per_vm=False)
    found = words.changes(changed, words.beside(changed, desired))
    return {field: (change.old, change.new) for field, change in found.items()}


def keymap(layout: str) -> str:
    return KeyboardLayout.parse(layout).keymap().text


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"timezone": "Europe/Warsaw"}, {"timezone": "Europe/Warsaw"}),
        ({"keyboard": "pl"}, {"keyboard": "pl"}),
        ({"keyboard": "pl+dvorak"}, {"keyboard": "pl+dvorak"}),
        ({"keyboard": "us++compose:caps"}, {"keyboard": "us++compose:caps"}),
        ({"keyboard": "pl", "keymap": OWN_KEYMAP}, {"keyboard": "pl", "keymap": OWN_KEYMAP}),
        ({"type": "AppVM"}, {"type": "AppVM"}),
        ({"updateable": False, "debug": True}, {"updateable": "off", "debug": "on"}),
        ({"persistence": "rw-only", "base_template": ""}, {"persistence": "rw-only", "base_template": ""}),
        ({"services": {"cups": True, "crond": "off"}}, {"services:cups": "on", "services:crond": "off"}),
        ({"vm_config": {"x": "1"}}, {"vm_config:x": "1"}),
    ],
)
def test_a_change_has_the_field_and_the_value_that_the_pillar_has(raw: Any, expected: Any) -> None:
    assert shown(raw) == {field: ("default", value) for field, value in expected.items()}


@pytest.mark.parametrize("dns", [["10.139.1.1"], ["10.139.1.1", "10.139.1.2"], ["10.139.1.1", "fd00::53", "10.1.1.1"]])
def test_resolvers_are_one_list_whatever_the_number_of_their_keys(dns: Any) -> None:
    network = {**NETWORK, "dns": dns}
    texts = {"network__ip": "10.137.0.12", "network__gateway": "10.137.0.5", "network__netmask": "255.255.255.255"}
    assert shown({"network": network}, **texts) == {"network:dns": ("default", dns)}
    assert shown({"network": network}, **texts, network__primary_dns="10.9.9.9") == {"network:dns": (["10.9.9.9"], dns)}
    both = {"network__primary_dns": "10.139.1.1", "network__all_dns": "10.139.1.1 fd00::1"}
    assert shown({"network": network}, **texts, **both) == {"network:dns": (["10.139.1.1", "fd00::1"], dns)}
    assert shown({"network": {**network, "dns": []}}, **texts, **both) == {
        "network:dns": (["10.139.1.1", "fd00::1"], "default")
    }


def test_a_network_that_goes_is_one_field() -> None:
    texts = {"network__ip": "10.137.0.12", "network__gateway": "10.137.0.5", "network__primary_dns": "10.139.1.1"}
    old = {"ip": "10.137.0.12", "gateway": "10.137.0.5", "dns": ["10.139.1.1"]}
    assert shown({"network": "none"}, **texts) == {"network": (old, "none")}
    assert shown({"network": "none"}, network__gateway="10.1.1.1") == {"network": ({"gateway": "10.1.1.1"}, "none")}
    assert shown({"network": "none"}) == {}
    provider = {"provides_network__gateway": "10.137.0.5"}
    assert shown({"type": "AppVM"}, type="AppVM", **provider) == {
        "provides_network": ({"gateway": "10.137.0.5"}, "none")
    }
    assert words.fields(VMSettings.parse("work", {"network": "none", "debug": True}).desired) == {
        "debug": "on",
        "network": "none",
    }


def test_one_of_two_resolvers_that_stays_is_in_both_lists() -> None:
    network = {**NETWORK, "dns": ["10.139.1.1", "10.139.1.2"]}
    found = shown({"network": network}, network__primary_dns="10.139.1.1", network__secondary_dns="10.139.1.9")
    assert found["network:dns"] == (["10.139.1.1", "10.139.1.9"], ["10.139.1.1", "10.139.1.2"])


def test_search_domains_and_clients_are_lists_too() -> None:
    found = shown({"network": {**NETWORK, "dns_search": ["corp.example.org", "example.org"]}})
    assert found["network:dns_search"] == ("default", ["corp.example.org", "example.org"])
    clients = [{"ip": "10.137.0.12", "mac": "00:16:3e:5e:6c:01", "vif": "vif5.0"}, {"ip": "10.137.0.13"}]
    found = shown({"provides_network": {"gateway": "10.137.0.5", "connected": clients}})
    assert found["provides_network:connected"] == ("default", clients)


def test_a_keymap_that_follows_from_the_layout_is_no_field_of_its_own() -> None:
    assert shown({"keyboard": "pl"}, keyboard="de++", keymap=keymap("de")) == {"keyboard": ("de", "pl")}
    assert shown({"keyboard": "default"}, keyboard="de++", keymap=keymap("de")) == {"keyboard": ("de", "default")}
    assert shown({"keyboard": "pl"}, keyboard="pl++") == {"keyboard": ("no keymap", "pl")}
    assert shown({"keyboard": "pl"}, keyboard="pl++", keymap=OWN_KEYMAP) == {"keyboard": ("another keymap", "pl")}
    assert shown({"keymap": "default"}, keymap=OWN_KEYMAP) == {"keymap": (OWN_KEYMAP, "default")}


def test_text_that_is_no_value_is_shown_as_it_is() -> None:
    assert shown({"timezone": "UTC"}, timezone="Mars") == {"timezone": ("Mars", "UTC")}
    assert shown({"debug": "on"}, debug="yes") == {"debug": ("yes", "on")}


def test_what_qubesd_keeps_is_in_the_same_words() -> None:
    layout = KeyboardLayout.parse("pl+dvorak+")
    resolvers = keys.read_value("network:all_dns", "10.139.1.1 10.139.1.2 10.139.1.3")
    changed = {
        "persistent:keyboard": Change(None, layout),
        "persistent:network:all_dns": Change(None, resolvers),
        "persistent:netvm": Change(None, ""),
    }
    assert words.changes(changed, {}) == {
        "persistent:keyboard": Change("default", "pl+dvorak"),
        "persistent:network:dns": Change("default", ["10.139.1.1", "10.139.1.2", "10.139.1.3"]),
        "persistent:netvm": Change("default", "none"),
    }


def test_the_zone_for_the_next_start_is_told_where_nothing_else_tells_it() -> None:
    zone = Change(None, "UTC")
    assert words.changes({"timezone": zone, "lasting:timezone": zone}, {}).keys() == {"timezone"}
    kept = {"persistent:timezone": zone, "lasting:timezone": zone}
    assert words.changes(kept, {}).keys() == {"persistent:timezone"}
    assert words.changes({"lasting:timezone": zone}, {}) == {"persistent:timezone": Change("default", "UTC")}


def held(**texts: str) -> dict[str, Any]:
    return {name.replace("__", ":"): keys.read_value(name.replace("__", ":"), text) for name, text in texts.items()}


def test_what_a_vm_has_is_shown_by_the_fields_of_the_pillar_alone() -> None:
    found = words.fields(
        held(
            name="work", gui_enabled="True", timezone="UTC", lasting__timezone="Europe/Warsaw", keyboard="pl++",
            keymap=keymap("pl"), network__primary_dns="10.139.1.1", network__all_dns="10.139.1.1 fd00::53",
            services__cups="1",
        )
    )  # fmt: skip
    assert found == {
        "keyboard": "pl",
        "network:dns": ["10.139.1.1", "fd00::53"],
        "services:cups": "on",
        # Which the VM takes in place of the other.
        "timezone": "Europe/Warsaw",
    }
    assert list(found) == sorted(found)


def test_a_keymap_of_its_own_is_shown_beside_the_layout_unless_the_vm_ignores_it() -> None:
    both = held(keyboard="pl++", keymap=OWN_KEYMAP)
    assert words.fields(both) == {"keyboard": "pl", "keymap": OWN_KEYMAP}
    assert words.fields(both, ignore_keymap=True) == {"keyboard": "pl"}
    assert words.fields(held(keymap=OWN_KEYMAP), ignore_keymap=True) == {"keymap": OWN_KEYMAP}


def test_names_are_those_of_the_pillar_each_once() -> None:
    names = ["keyboard", "keymap", "network:primary_dns", "network:all_dns", "lasting:timezone", "timezone"]
    assert words.names(names) == ["keyboard", "network:dns", "timezone"]
    assert words.names(["keymap"]) == ["keymap"]


def test_a_list_is_on_one_line_for_a_sentence() -> None:
    clients = keys.read_value("provides_network:connected", "10.137.0.12,00:16:3e:5e:6c:01 10.137.0.13")
    line = "[{ip: 10.137.0.12, mac: 00:16:3e:5e:6c:01}, {ip: 10.137.0.13}]"
    assert words.text("provides_network:connected", clients) == line
