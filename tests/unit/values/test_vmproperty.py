"""Properties that qubesd keeps: what an admin writes, qubesd's text, and back."""

from __future__ import annotations

from decimal import Decimal

import pytest
from jsonschema import Draft202012Validator

from vminterface.errors import InvalidValue
from vminterface.values.effect import Effect
from vminterface.values.vmproperty import KNOWN

RIGHT: list[tuple[str, bool | int | str, str, int | str]] = [
    ("autostart", True, "True", "on"),
    ("template_for_dispvms", "off", "False", "off"),
    ("provides_network", "on", "True", "on"),
    ("guivm", "sys-gui", "sys-gui", "sys-gui"),
    ("guivm", "dom0", "dom0", "dom0"),
    ("audiovm", "none", "", "none"),
    ("audiovm", False, "", "none"),
    ("memory", "2GiB", "2048", 2048),
    ("memory", 400, "400", 400),
    ("maxmem", False, "0", 0),
    ("maxmem", "off", "0", 0),
    ("maxmem", 0, "0", 0),
    ("maxmem", "4000", "4000", 4000),
    ("vcpus", 2, "2", 2),
    ("vcpus", "16", "16", 16),
    ("vcpus", 1, "1", 1),
    ("vcpus", 512, "512", 512),
    ("label", "red", "red", "red"),
    ("label", 1, "red", "red"),
    ("label", 2, "orange", "orange"),
    ("label", 8, "black", "black"),
    ("label", "my-own", "my-own", "my-own"),
]


@pytest.mark.parametrize(("name", "value", "text", "shown"), RIGHT)
def test_what_an_admin_writes_becomes_qubesds_text_and_is_read_back(
    name: str, value: bool | int | str, text: str, shown: int | str
) -> None:
    one = KNOWN[name]
    parsed = one.from_pillar(value)
    assert one.render(parsed) == text
    assert one.parse(text) == parsed
    assert one.shown(parsed) == shown


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("autostart", "maybe"),
        ("autostart", 2),
        ("guivm", 7),
        ("guivm", "a b"),
        ("guivm", "x" * 32),
        ("audiovm", True),
        ("memory", 0),
        ("memory", False),
        ("maxmem", -1),
        ("maxmem", True),
        ("vcpus", 0),
        ("vcpus", 513),
        ("vcpus", "2.0"),
        ("vcpus", True),
        ("vcpus", 2.0),
        ("vcpus", "9" * 5000),
        ("vcpus", "0000000019999"),
        ("vcpus", "0000000001"),
        ("vcpus", "000000001" + "0" * 5000),
        ("label", "Red"),
        ("label", True),
        ("label", 9),
    ],
)
def test_what_qubesd_would_refuse_is_refused_first(name: str, value: bool | int | str) -> None:
    with pytest.raises(InvalidValue) as caught:
        KNOWN[name].from_pillar(value)
    assert str(caught.value).isascii()
    assert any(words in str(caught.value) for words in ("expected", "neither 'on' nor 'off'", "did you mean"))


@pytest.mark.parametrize(("name", "value", "text", "shown"), RIGHT)
def test_the_schema_takes_what_an_admin_may_write_and_what_is_shown_to_the_admin(
    name: str, value: bool | int | str, text: str, shown: int | str
) -> None:
    valid = Draft202012Validator(KNOWN[name].schema).is_valid
    assert valid(value)
    assert valid(shown)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("autostart", "maybe"), ("autostart", 2), ("guivm", 7), ("guivm", "a b"), ("guivm", "x" * 32),
        ("audiovm", True), ("memory", 0), ("memory", False), ("maxmem", -1), ("maxmem", True), ("vcpus", 0),
        ("vcpus", 513), ("vcpus", "2.0"), ("vcpus", "0"), ("vcpus", True), ("label", "Red"), ("label", True),
        ("label", 0), ("label", 9),
    ],
)  # fmt: skip
def test_the_schema_refuses_what_has_another_form(name: str, value: bool | int | str) -> None:
    assert not Draft202012Validator(KNOWN[name].schema).is_valid(value)


@pytest.mark.parametrize("name", KNOWN)
def test_a_text_that_is_no_value_is_refused(name: str) -> None:
    with pytest.raises(InvalidValue):
        KNOWN[name].parse("\x00?")


def test_each_property_says_what_it_does_and_what_is_expected() -> None:
    assert all(one.does and one.expected for one in KNOWN.values())


def test_what_a_running_vm_has_at_once_is_known() -> None:
    now = {name for name, one in KNOWN.items() if one.effect is Effect.NOW}
    assert now == {"audiovm", "autostart", "template_for_dispvms"}
    assert all(one.effect is Effect.START for name, one in KNOWN.items() if name not in now)


def test_a_number_is_a_whole_one_or_a_text() -> None:
    with pytest.raises(InvalidValue, match="is not a number of virtual CPUs"):
        KNOWN["vcpus"].from_pillar(Decimal(2))


def test_two_properties_name_a_vm() -> None:
    assert [name for name, one in KNOWN.items() if one.of_vm is True] == ["audiovm", "guivm"]


def test_a_label_alone_has_no_default() -> None:
    assert [name for name, one in KNOWN.items() if not one.has_default] == ["label"]


@pytest.mark.parametrize("value", ["000000001999", "9" * 5000, pytest.param(16**5000, id="huge")])
@pytest.mark.parametrize("name", ["vcpus", "memory", "label"])
def test_a_number_of_any_length_is_read_whole_or_refused(name: str, value: int | str) -> None:
    with pytest.raises(InvalidValue) as told:
        KNOWN[name].from_pillar(value)
    assert "expected" in str(told.value)
    assert len(str(told.value)) < 300
