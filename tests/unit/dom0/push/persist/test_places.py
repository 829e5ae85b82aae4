"""Where qubesd keeps each field, with which texts, and what it holds where nobody has set it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.adminapi import MemoryAPI
from vminterface.dom0.push.persist.places import Feature, Held, Place, Property, place_of
from vminterface.errors import InvalidValue
from vminterface.keys import read_value
from vminterface.values.memorysize import MemorySize
from vminterface.values.service import ServiceState
from vminterface.values.unreadable import Unreadable

CLOCK = {"timezone": "Europe/Warsaw", "keyboard": "pl+dvorak+", "default_user": "alice", "network:ip": "10.137.0.77"}


def place(field: str) -> Place:
    found = place_of(field)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("timezone", "feature vm-config.vminterface-timezone"),
        ("keyboard", "property keyboard_layout"),
        ("debug", "property debug"),
        ("default_user", "property default_user"),
        ("network:ip", "property ip"),
        ("network:ip6", "property ip6"),
        ("network:mac", "property mac"),
        ("network:all_dns", "feature vm-config.vminterface-dns"),
        ("network:dns_search", "feature vm-config.vminterface-dns-search"),
        ("netvm", "property netvm"),
        ("memory", "property memory"),
        ("guivm", "property guivm"),
        ("services:cups", "feature service.cups"),
        ("services:qubes-update-check", "feature check-updates"),
        ("vm_config:note", "feature vm-config.note"),
        ("features:net.fake-ip", "feature net.fake-ip"),
    ],
)
def test_a_field_is_a_feature_or_a_property(field: str, words: str) -> None:
    assert place(field).words == words


@pytest.mark.parametrize("field", ["services:meminfo-writer", "network:gateway", "keymap", "nosuch"])
def test_of_other_fields_qubesd_keeps_nothing(field: str) -> None:
    assert place_of(field) is None


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        *((field, read_value(field, text), text) for field, text in CLOCK.items()),
        ("debug", True, "True"),
        ("debug", False, "False"),
        ("netvm", "sys-net", "sys-net"),
        ("netvm", "", ""),
        ("services:cups", ServiceState.ON, "1"),
        ("services:cups", ServiceState.OFF, ""),
        ("services:qubes-update-check", ServiceState.ON, "1"),
        ("network:ip6", read_value("network:ip6", "fd09::12"), "fd09::12"),
        ("network:mac", read_value("network:mac", "00:16:3e:5e:6c:01"), "00:16:3e:5e:6c:01"),
        ("network:all_dns", read_value("network:all_dns", "10.139.1.1 fd09::1"), "10.139.1.1 fd09::1"),
        ("network:dns_search", read_value("network:dns_search", "lan example.org"), "lan example.org"),
        ("memory", MemorySize.parse(800), "800"),
        ("provides_network", True, "True"),
        ("vm_config:note", "two words", "two words"),
        ("features:net.fake-ip", "192.168.1.2", "192.168.1.2"),
        ("features:servicevm", True, "1"),
        ("features:servicevm", False, ""),
    ],
)
def test_a_value_and_the_text_that_qubesd_has_for_it(field: str, value: Any, text: str) -> None:
    one = place(field)
    assert one.render(value) == text
    assert one.parse(text) == value


@pytest.mark.parametrize("field", ["memory", "features:net.fake-ip", "vcpus"])
def test_a_text_that_is_not_valid_is_written_back_as_it_was(field: str) -> None:
    one = place(field)
    assert one.parse("a few") == Unreadable("a few")
    assert one.render(Unreadable("a few")) == "a few"


def test_a_value_without_a_text_is_written_as_the_empty_one() -> None:
    assert place("timezone").render(None) == ""


def test_a_feature_is_read_set_and_forgotten() -> None:
    api, one = MemoryAPI(), place("services:cups")
    assert one.read(api, "work") == Held(None, None)
    one.write(api, "work", ServiceState.OFF)
    assert api.features == {"service.cups": ""}
    assert one.read(api, "work") == Held(ServiceState.OFF, ServiceState.OFF)
    one.write(api, "work", ServiceState.ON)
    assert api.features == {"service.cups": "1"}
    assert one.read(api, "work") == Held(ServiceState.ON, ServiceState.ON)
    one.write(api, "work", None)
    assert api.features == {}
    assert set(api.asked) == {("work", "service.cups")}


def test_a_property_that_nobody_has_set_is_in_effect_with_its_default() -> None:
    api, one = MemoryAPI(), place("keyboard")
    default, layout = read_value("keyboard", "us++"), read_value("keyboard", "pl++")
    assert one.read(api, "work") == Held(None, default)
    one.write(api, "work", layout)
    assert api.properties == {"keyboard_layout": "pl++"}
    assert one.read(api, "work") == Held(layout, layout)
    one.write(api, "work", None)
    assert api.calls == [("keyboard_layout", "pl++"), ("keyboard_layout", None)]
    assert set(api.asked) == {("work", "keyboard_layout")}


def test_a_start_writes_the_default_where_the_push_keeps_settings_and_what_is_set_now_elsewhere() -> None:
    api, one = MemoryAPI(keyboard_layout="pl++"), place("keyboard")
    assert isinstance(one, Property)
    assert one.at_start(api, "work", persistent=True) == read_value("keyboard", "us++")
    assert one.at_start(api, "work", persistent=False) == read_value("keyboard", "pl++")
    address = place("network:ip6")
    assert isinstance(address, Property)
    assert address.at_start(api, "work", persistent=True) is None
    assert set(api.asked) == {("work", "keyboard_layout"), ("work", "ip6")}


@pytest.mark.parametrize(
    ("field", "written"),
    [
        ("keyboard", True),
        ("debug", True),
        ("default_user", True),
        ("network:ip6", True),
        ("network:mac", True),
        ("network:ip", False),
        ("netvm", False),
        ("memory", False),
    ],
)
def test_which_keys_qubesd_writes_at_each_start(field: str, written: bool) -> None:
    one = place(field)
    assert isinstance(one, Property)
    assert one.written_at_start is written


def test_one_keyboard_layout_is_stored_and_several_are_not() -> None:
    place("keyboard").check(read_value("keyboard", "pl+dvorak+"))
    with pytest.raises(InvalidValue, match=r"^qubesd stores one layout, not 'pl,us' \(expected letters"):
        place("keyboard").check(read_value("keyboard", "pl,us++"))


def test_a_feature_that_no_vm_starts_with_is_refused_before_it_is_sent() -> None:
    place("vm_config:note").check("two words")
    with pytest.raises(InvalidValue, match=r"not a valid text of the feature vm-config\.note"):
        place("vm_config:note").check("żółw")
    assert isinstance(place("vm_config:note"), Feature)
    # A property without a rule of its own takes any value.
    place("debug").check(True)
