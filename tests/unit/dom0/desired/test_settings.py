"""The pillar becomes settings, or a list of all its faults."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.support.desired import desired
from vminterface.dom0.desired.fields import FIELDS
from vminterface.dom0.desired.settings import VMSettings, mentions, parse_pillar
from vminterface.errors import InvalidValues
from vminterface.values.monitor import MonitorLayout
from vminterface.values.monitorsetting import FromDom0, in_words, parse
from vminterface.values.timezone import Timezone

NETWORK = {"ip": "10.137.0.12", "gateway": "10.137.0.5"}
NETWORKS = {"network": NETWORK, "provides_network": {"gateway": "10.137.0.5"}}
OPTIONS = ("monitors", "channel", "require_running", "timeout", "persist", "confirm", "netvm", "firewall", "optional")
OWN_KEYMAP = "xkb_keymap { own };"


def faults(pillar: object) -> dict[str, str]:
    with pytest.raises(InvalidValues) as caught:
        parse_pillar(pillar)
    return {fault.where: str(fault) for fault in caught.value.errors}


def test_every_field_becomes_the_text_of_its_key() -> None:
    assert desired(
        {
            "type": "ProxyVM",
            "updateable": False,
            "persistence": "rw-only",
            "base_template": "fedora-41",
            "default_user": "user",
            "timezone": "Europe/Warsaw",
            "keyboard": "pl+dvorak",
            "debug": True,
            "services": {"cups": True, "clocksync": "default", "crond": "off"},
            "network": {**NETWORK, "netmask": 24, "dns": ["10.139.1.1"], "mac": "00:16:3E:5E:6C:00"},
            "provides_network": {"gateway": "10.137.0.5", "netmask": "255.255.255.0", "dns": []},
        }
    ) == {
        "type": "ProxyVM",
        "updateable": "False",
        "persistence": "rw-only",
        "base_template": "fedora-41",
        "default_user": "user",
        "timezone": "Europe/Warsaw",
        "keyboard": "pl+dvorak+",
        "keymap": desired({"keyboard": "pl+dvorak"})["keymap"],
        "debug": "1",
        "services:cups": "1",
        "services:clocksync": None,
        "services:crond": "0",
        "network:ip": "10.137.0.12",
        "network:netmask": "255.255.255.0",
        "network:gateway": "10.137.0.5",
        "network:primary_dns": "10.139.1.1",
        "network:secondary_dns": None,
        "network:all_dns": None,
        "network:mac": "00:16:3e:5e:6c:00",
        "provides_network:gateway": "10.137.0.5",
        "provides_network:netmask": "255.255.255.0",
        "provides_network:network": "10.137.0.0",
        "provides_network:primary_dns": None,
        "provides_network:secondary_dns": None,
    }


def test_what_the_pillar_does_not_name_is_not_managed() -> None:
    assert desired({}) == {}


def test_default_means_that_the_key_shall_not_exist() -> None:
    assert desired({"timezone": "default", "debug": "default"}) == {"timezone": None, "debug": None}


@pytest.mark.parametrize("word", ["none", False, "default"])
def test_a_network_of_none_removes_every_key_of_a_client(word: bool | str) -> None:
    removed = desired({"network": word})
    assert removed
    assert set(removed.values()) == {None}
    assert {"network:ip", "network:gateway", "network:primary_dns"} <= set(removed)


def test_a_type_that_provides_no_network_removes_the_keys_of_a_provider() -> None:
    assert desired({"type": "AppVM"})["provides_network:gateway"] is None


def test_a_net_vm_has_no_keys_of_a_client() -> None:
    assert desired({"type": "NetVM"})["network:ip"] is None


def test_the_clients_of_a_provider_become_one_text() -> None:
    clients = [{"ip": "10.137.0.13"}, {"vif": "vif5.0", "ip": "10.137.0.12", "mac": "00:16:3E:5E:6C:01"}]
    network = {"gateway": "10.137.0.5", "connected": clients}
    assert desired({"provides_network": network})["provides_network:connected"] == (
        "10.137.0.12,00:16:3e:5e:6c:01,vif5.0 10.137.0.13"
    )
    network["connected"] = []
    assert desired({"provides_network": network})["provides_network:connected"] == ""
    network["connected"] = "default"
    assert desired({"provides_network": network})["provides_network:connected"] is None


def test_each_fault_of_a_client_has_its_path() -> None:
    clients = [{"ip": "10.137.0.300"}, {"ip": "10.137.0.12", "mac": "x"}, 7, {"ip": "10.137.0.13", "vfi": "vif5.0"}]
    found = faults({"qubes": {"vms": {"x": {"provides_network": {"gateway": "10.137.0.5", "connected": clients}}}}})
    path = "qubes:vms:x:provides_network:connected"
    assert set(found) == {f"{path}:0:ip", f"{path}:1:mac", f"{path}:2", f"{path}:3:vfi"}
    assert "did you mean 'vif'?" in found[f"{path}:3:vfi"]


def test_a_vm_overrides_the_defaults_and_its_services_are_added_to_them() -> None:
    merged = desired(
        {"timezone": "Asia/Tokyo", "services": {"cups": True}},
        timezone="Europe/Warsaw",
        debug=False,
        services={"cups": False, "crond": True},
    )
    assert merged == {"timezone": "Asia/Tokyo", "debug": "0", "services:cups": "1", "services:crond": "1"}


def test_settings_know_what_they_have_of_the_defaults_alone_and_where_each_field_is() -> None:
    defaults = {"timezone": "Europe/Warsaw", "debug": False, "services": {"cups": False, "crond": True}}
    network = {**NETWORK, "dns": ["10.139.1.1", "10.139.1.2", "10.139.1.3"]}
    own = {"timezone": "Europe/Warsaw", "services": {"cups": True}, "network": network}
    (settings,) = parse_pillar({"qubes": {"defaults": defaults, "vms": {"work": own}}})
    assert settings.from_defaults == {"debug", "services:crond"}
    assert settings.only(["debug"]).from_defaults >= {"debug"}
    assert settings.path("timezone") == "qubes:vms:work:timezone"
    assert settings.path("debug") == "qubes:defaults:debug"
    assert settings.path("services:crond") == "qubes:defaults:services:crond"
    assert settings.path("network:all_dns") == "qubes:vms:work:network:dns"
    assert VMSettings.parse("work", {"debug": True}).path("debug") == "work:debug"


def test_each_value_is_parsed_once_and_the_defaults_once_for_all_vms(monkeypatch: Any) -> None:
    parsed = []
    read = FIELDS["timezone"].read

    def note(name: str, value: Any, into: Any) -> None:
        parsed.append(value)
        read(name, value, into)

    monkeypatch.setitem(FIELDS, "timezone", replace(FIELDS["timezone"], read=note))
    vms: dict[str, dict[str, str]] = {f"vm{n}": {} for n in range(10)} | {"work": {"timezone": "Asia/Tokyo"}}
    settings = parse_pillar({"qubes": {"defaults": {"timezone": "Europe/Warsaw"}, "vms": vms}})
    assert sorted(parsed) == ["Asia/Tokyo", "Europe/Warsaw"]
    assert settings[0].desired == {"timezone": Timezone("Europe/Warsaw")}
    assert settings[-1].desired == {"timezone": Timezone("Asia/Tokyo")}


def test_null_takes_a_default_back() -> None:
    assert desired({"timezone": None, "services": None}, timezone="Europe/Warsaw", services={"cups": True}) == {}


def test_null_takes_an_option_of_the_defaults_back() -> None:
    given = {
        "persist": False,
        "timeout": 9,
        "channel": "xenstore",
        "confirm": False,
        "require_running": True,
        "netvm": "sys-net",
        "monitors": "from_dom0",
        "firewall": {"policy": "drop", "netvm": "sys-net", "ip": "10.137.0.12"},
    }
    without = [name for name in given if name not in ("persist", "netvm")]
    for defaults in ({name: given[name] for name in without}, {"persist": False}, {"netvm": "sys-net"}):
        vms = {"own": dict.fromkeys(defaults), "other": {}}
        own, other = parse_pillar({"qubes": {"defaults": defaults, "vms": vms}})
        assert own == VMSettings("own")
        assert other != VMSettings("other")


@pytest.mark.parametrize("field", [*FIELDS, *OPTIONS])
def test_null_is_accepted_everywhere(field: str) -> None:
    pillar = {"qubes": {"defaults": {field: None}, "vms": {"work": {field: None}}}}
    assert parse_pillar(pillar) == [VMSettings("work")]


def test_a_keyboard_takes_the_keymap_that_came_of_it_back_too() -> None:
    assert desired({"keyboard": None}, keyboard="de") == {}
    assert desired({"keyboard": None}, keyboard="de", keymap=OWN_KEYMAP) == {"keymap": OWN_KEYMAP}
    assert set(desired({"debug": True}, keyboard="de")) == {"keyboard", "keymap", "debug"}
    assert desired({"keyboard": "default"}, keyboard="de") == {"keyboard": None, "keymap": None}


@pytest.mark.parametrize("group", NETWORKS)
def test_a_network_of_default_resolvers_has_none_of_its_own(group: str) -> None:
    without = desired({group: {**NETWORKS[group], "dns": []}})
    assert desired({group: {**NETWORKS[group], "dns": "default"}}) == without
    assert without[f"{group}:primary_dns"] is None
    unsaid = desired({group: NETWORKS[group]})
    assert desired({group: {**NETWORKS[group], "dns": None}}) == unsaid
    assert f"{group}:primary_dns" not in unsaid


def test_a_network_of_the_vm_replaces_that_of_the_defaults_whole() -> None:
    merged = desired({"network": NETWORK}, network={**NETWORK, "ip": "10.1.1.1", "dns": ["10.139.1.1"]})
    assert "network:primary_dns" not in merged
    assert merged["network:ip"] == "10.137.0.12"


def test_a_keymap_of_its_own_goes_before_the_one_that_the_layout_gives() -> None:
    keymap = 'xkb_keymap { xkb_symbols { include "pc+us" }; };'
    assert desired({"keymap": keymap, "keyboard": "pl"})["keymap"] == keymap
    assert desired({"keyboard": "pl", "keymap": keymap})["keymap"] == keymap


@pytest.mark.parametrize("value", [16**5000, [16**5000], {16**5000: 16**5000}], ids=["number", "list", "mapping"])
def test_no_value_is_too_long_for_its_fault(value: dict[int, int] | int | list[int]) -> None:
    """Python writes no number of more than 4300 decimal digits, and YAML reads longer ones in other bases."""
    names = {*FIELDS, *OPTIONS} - {"firewall"}
    raw = {**dict.fromkeys(names, value), value if isinstance(value, int) else "x": 1}
    told = faults({"qubes": {"vms": {"work": raw}}})
    assert {path.split(":")[3] for path in told} >= names
    parts = {name: {"netmask": value, "ip": value, "dns": [value], "connected": [{"ip": value}]} for name in NETWORKS}
    monitors = {"monitors": [dict.fromkeys(("width", "height", "x", "y"), value)]}
    for below in (parts, monitors):
        told.update(faults({"qubes": {"vms": {"work": below}}}))
    assert max(len(text) for text in told.values()) < 400


def test_the_order_is_that_of_the_pillar_and_other_keys_below_qubes_are_left_alone() -> None:
    vms = parse_pillar({"qubes": {"type": "admin", "vms": {"b": {}, "a": None}}})
    assert [vm.vm for vm in vms] == ["b", "a"]


def test_options_are_read() -> None:
    settings = VMSettings.parse("work", {"require_running": True, "timeout": 3, "channel": "xenstore"})
    assert (settings.require_running, settings.timeout, settings.channel) == (True, 3.0, "xenstore")


def test_all_faults_come_at_once_each_with_its_path() -> None:
    found = faults(
        {
            "qubes": {
                "defaults": {"timezone": "Mars/Olympus", "tiemzone": "UTC"},
                "vms": {
                    "work": {
                        "services": {"getty@tty": True, "cups": "maybe"},
                        "network": {"ip": "10.137.0.300", "gatway": "10.137.0.5", "dns": ["x"]},
                        "debug": "perhaps",
                        "timeout": 0,
                    },
                    "-bad": {},
                    "other": ["timezone"],
                },
            }
        }
    )
    assert set(found) == {
        "qubes:defaults:timezone",
        "qubes:defaults:tiemzone",
        "qubes:vms:work:services:getty@tty",
        "qubes:vms:work:services:cups",
        "qubes:vms:work:network:gatway",
        "qubes:vms:work:debug",
        "qubes:vms:work:timeout",
        "qubes:vms:-bad",
        "qubes:vms:other",
    } | (set(found) & {"qubes:vms:work:network:ip", "qubes:vms:work:network:dns:0"})
    assert "did you mean 'timezone'?" in found["qubes:defaults:tiemzone"]
    assert "did you mean 'gateway'?" in found["qubes:vms:work:network:gatway"]


def test_faults_inside_a_network_name_the_address() -> None:
    found = faults(
        {"qubes": {"vms": {"work": {"network": {"ip": "10.137.0.300", "gateway": "10.1.1.1", "dns": ["x"]}}}}}
    )
    assert set(found) == {"qubes:vms:work:network:ip", "qubes:vms:work:network:dns:0"}


def test_a_network_without_a_gateway_is_refused() -> None:
    assert set(faults({"qubes": {"vms": {"work": {"network": {"ip": "10.137.0.12"}}}}})) == {
        "qubes:vms:work:network:gateway"
    }


def test_yaml_that_turned_a_word_into_a_boolean_is_named() -> None:
    found = faults({"qubes": {"vms": {"work": {"keyboard": False}}}})
    assert "the boolean False" in found["qubes:vms:work:keyboard"]


@pytest.mark.parametrize("vm_type", ["AppVM", "TemplateVM", "HVM"])
def test_a_provider_must_be_of_a_type_that_provides(vm_type: str) -> None:
    found = faults({"qubes": {"vms": {"x": {"type": vm_type, "provides_network": {"gateway": "10.137.0.5"}}}}})
    assert set(found) == {"qubes:vms:x:provides_network"}


def test_a_net_vm_with_a_network_of_its_own_is_refused() -> None:
    found = faults({"qubes": {"vms": {"x": {"type": "NetVM", "network": NETWORK}}}})
    assert set(found) == {"qubes:vms:x:network"}


@pytest.mark.parametrize("rest", [{}, {"defaults": None}, {"defaults": {"timezone": "UTC"}}])
def test_a_pillar_of_no_vms_asks_for_nothing(rest: dict[str, Any]) -> None:
    assert parse_pillar({"qubes": {"vms": {}, **rest}}) == []


@pytest.mark.parametrize("pillar", [[], "qubes", {"qubes": []}, {"qubes": {"vms": []}}, {"qubes": {"vms": "work"}}])
def test_a_pillar_of_another_shape_is_one_fault(pillar: dict[str, dict[str, str]] | list[Any] | str) -> None:
    assert len(faults(pillar)) == 1


MONITOR = {"width": 1920, "height": 1080, "x": 0, "y": 0}


def monitors_of(vm: object, **defaults: object) -> object:
    (settings,) = parse_pillar({"qubes": {"defaults": defaults, "vms": {"work": vm}}})
    return settings.monitors


def test_two_vms_with_one_firewall_are_refused() -> None:
    rules = {"policy": "drop", "netvm": "sys-net"}
    vms = {
        "work": {"firewall": {**rules, "ip": "10.137.0.12", "ip6": "fd09::c"}},
        "personal": {"firewall": rules, "network": NETWORK},
        "untrusted": {"firewall": {**rules, "ip": "10.137.0.13", "ip6": "fd09:0::c"}},
    }
    already = "from qubes:vms:work:firewall"
    assert faults({"qubes": {"vms": vms}}) == {
        "qubes:vms:personal:firewall": f"sys-net already has the firewall of 10.137.0.12 {already}",
        "qubes:vms:untrusted:firewall": f"sys-net already has the firewall of fd09::c {already}",
    }
    # Of one VM alone it can be said, whatever the others have.
    assert len(parse_pillar({"qubes": {"vms": vms}}, vm="personal")) == 1


def test_one_address_behind_two_providers_has_two_firewalls() -> None:
    vms = {
        vm: {"firewall": {"policy": "drop", "netvm": netvm, "ip": "10.137.0.12"}}
        for vm, netvm in [("a", "x"), ("b", "y")]
    }
    assert len(parse_pillar({"qubes": {"vms": vms}})) == 2


def test_monitors_are_a_layout_or_those_of_dom0_and_no_key() -> None:
    assert monitors_of({"monitors": [MONITOR]}) == MonitorLayout.from_mappings([MONITOR])
    assert monitors_of({"monitors": "from_dom0"}) == FromDom0()
    assert monitors_of({"monitors": {"from_dom0": True, "dpi": 144}}) == FromDom0(144)
    assert monitors_of({"timezone": "UTC"}) is None
    (settings,) = parse_pillar({"qubes": {"vms": {"work": {"monitors": [MONITOR]}}}})
    assert settings.desired == {}


def test_monitors_of_the_defaults_are_replaced_or_taken_back() -> None:
    assert monitors_of({}, monitors="from_dom0") == FromDom0()
    assert monitors_of({"monitors": [MONITOR]}, monitors="from_dom0") == MonitorLayout.from_mappings([MONITOR])
    assert monitors_of({"monitors": None}, monitors="from_dom0") is None


@pytest.mark.parametrize(
    ("raw", "places"),
    [
        ([{**MONITOR, "width": 0}], ["monitors:0:width"]),
        ([MONITOR, {**MONITOR, "x": -1, "hight": 1}], ["monitors:1:hight", "monitors:1:x"]),
        ([{"width": 800}], ["monitors:0:height", "monitors:0:x", "monitors:0:y"]),
        ([], ["monitors"]),
        ("from_dom1", ["monitors"]),
        (True, ["monitors"]),
        ({"width": 1}, ["monitors"]),
        ({"dpi": 96}, ["monitors:from_dom0"]),
        ({"from_dom0": True, "dpi": "96", "scale": 2}, ["monitors:dpi", "monitors:scale"]),
        ([{**MONITOR, "dpi": 0}], ["monitors:0:dpi"]),
    ],
)
def test_each_fault_of_a_monitor_has_its_place(raw: Any, places: list[str]) -> None:
    found = faults({"qubes": {"vms": {"work": {"monitors": raw}}}})
    assert sorted(found) == [f"qubes:vms:work:{place}" for place in places]


def test_monitors_are_a_field_without_a_pillar_too_and_a_topic() -> None:
    layout = MonitorLayout.from_mappings([MONITOR])
    settings = VMSettings.parse("work", {"monitors": [MONITOR], "timezone": "UTC"})
    assert settings.monitors == layout
    alone = settings.only(["monitors"])
    assert (alone.monitors, dict(alone.desired)) == (layout, {})
    assert settings.only(["timezone"]).monitors is None


@pytest.mark.parametrize(
    ("raw", "alone"),
    [
        ({"monitors": [MONITOR]}, True),
        ({"monitors": "from_dom0", "timeout": 9}, True),
        ({"monitors": [MONITOR], "timezone": "UTC"}, False),
        ({"monitors": [MONITOR], "netvm": "sys-net"}, False),
        ({"timezone": "UTC"}, False),
        ({}, False),
    ],
)
def test_settings_know_whether_a_call_tells_all_of_them(raw: Any, alone: Any) -> None:
    assert VMSettings.parse("work", raw).by_call_alone is alone


@pytest.mark.parametrize("raw", [[MONITOR], "from_dom0", {"from_dom0": True, "dpi": 144}])
def test_monitors_are_shown_as_the_pillar_has_them(raw: Any) -> None:
    assert in_words(parse(raw)) == raw


@pytest.mark.parametrize(
    "pillar",
    [
        {"qubes": {"vms": {"work": {}, "personal": {"monitors": "from_dom0"}}}},
        {"qubes": {"defaults": {"monitors": "from_dom0"}, "vms": {"work": None}}},
    ],
)
def test_a_pillar_mentions_what_it_gives_to_a_vm_or_to_all(pillar: dict[str, Any]) -> None:
    assert mentions(pillar, "monitors")
    assert not mentions(pillar, "timezone")


@pytest.mark.parametrize("pillar", [None, [], {}, {"qubes": []}, {"qubes": {"vms": ["monitors"], "defaults": 1}}])
def test_what_a_malformed_pillar_mentions_is_not_guessed(
    pillar: dict[str, dict[str, int | list[str]]] | list[Any] | None,
) -> None:
    with pytest.raises(InvalidValues):
        mentions(pillar, "monitors")


def test_what_is_optional_is_known_by_the_settings_that_an_agent_applies() -> None:
    parsed = VMSettings.parse("work", {"optional": ["network", "provides_network", "keymap"]})
    assert parsed.optional == {"network", "provider", "keyboard"}
    assert VMSettings.parse("work", {}).optional == frozenset()
    vms: dict[str, Any] = {"own": {"optional": []}, "other": {}}
    own, other = parse_pillar({"qubes": {"defaults": {"optional": ["debug"]}, "vms": vms}})
    assert own.optional == frozenset()
    assert other.optional == {"debug"}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("network", "'network' is not valid (expected a list of fields, such as [network, keyboard])"),
        (
            {"network": True},
            "'{'network': True}' is not valid (expected a list of fields, ",
        ),
        (["netwrok"], "'netwrok' is not a field that an agent applies (did you mean 'network'?)"),
        (["lasting"], "'lasting' is not a field that an agent applies (expected one of: "),
        ([["network"]], "'['network']' is not a field that an agent applies"),
        ([None], "'None' is not a field that an agent applies"),
    ],
)
def test_what_cannot_be_optional_is_a_fault(value: dict[str, bool] | list[Any] | str, message: str) -> None:
    found = faults({"qubes": {"vms": {"work": {"optional": value}}}})
    assert list(found) == ["qubes:vms:work:optional"]
    assert found["qubes:vms:work:optional"].startswith(message)
