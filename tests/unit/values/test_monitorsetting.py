"""A VM's monitors in the pillar: those of dom0, as they are or at another resolution, or a list."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from vminterface.errors import InvalidValue
from vminterface.values import monitorsetting
from vminterface.values.monitor import MonitorLayout
from vminterface.values.monitorsetting import FromDom0, in_words, parse

MONITOR = {"width": 1920, "height": 1080, "x": 0, "y": 0}
LAYOUT = MonitorLayout.from_mappings([{**MONITOR, "width_mm": 508, "height_mm": 285}])
FORMS: list[Any] = ["from_dom0", {"from_dom0": True, "dpi": 144}, [MONITOR], [MONITOR, {**MONITOR, "x": 1920}]]


@pytest.mark.parametrize("form", FORMS)
def test_each_form_comes_back_as_it_was(form: Any) -> None:
    assert in_words(parse(form)) == form


def test_dom0s_monitors_without_a_resolution_are_the_word_alone() -> None:
    assert parse({"from_dom0": True}) == parse({"from_dom0": True, "dpi": None}) == FromDom0() == parse("from_dom0")


def test_dom0s_monitors_are_given_as_they_are_or_with_a_size_that_makes_the_resolution() -> None:
    assert FromDom0().layout(LAYOUT) is LAYOUT
    (monitor,) = FromDom0(96).layout(LAYOUT)
    assert (monitor.width, monitor.height, monitor.width_mm, monitor.height_mm) == (1920, 1080, 508, 286)


def test_it_is_shown_in_few_words() -> None:
    assert str(FromDom0()) == "from_dom0"
    assert str(FromDom0(144)) == "from_dom0, 144 dpi"


@pytest.mark.parametrize(
    ("raw", "where"),
    [
        ({"dpi": 96}, {"from_dom0"}),
        ({"from_dom0": False}, {"from_dom0"}),
        ({"from_dom0": 1}, {"from_dom0"}),
        ({"from_dom0": True, "dpi": 19}, {"dpi"}),
        ({"from_dom0": True, "dpi": "96"}, {"dpi"}),
        ({"from_dom0": True, "dpi": 0, "scale": 2}, {"dpi", "scale"}),
        ({"from_dom0": "yes", "scale": 2, 3: 4}, {"from_dom0", "scale", "3"}),
        ([{**MONITOR, "width": 0}], {"0:width"}),
        ([], {""}),
        (None, {""}),
    ],
)
def test_all_errors_are_found_each_with_its_place(raw: Any, where: set[str]) -> None:
    with pytest.raises(InvalidValue) as caught:
        parse(raw)
    assert {error.where for error in caught.value.errors} == where


def test_an_unknown_field_is_named() -> None:
    with pytest.raises(InvalidValue, match="scale: unknown field \\(expected from_dom0, dpi\\)"):
        parse({"from_dom0": True, "scale": 2})


@pytest.mark.parametrize("raw", ["from dom0", "", {}, {"width": 1}])
def test_a_word_or_mapping_that_is_neither_form_is_refused_with_all_forms(raw: Any) -> None:
    with pytest.raises(InvalidValue, match=r"a list of monitors, from_dom0, or \{from_dom0: true, dpi: NUMBER\}"):
        parse(raw)


def test_the_schema_takes_these_forms_and_no_others() -> None:
    valid = Draft202012Validator(monitorsetting.SCHEMA).is_valid
    assert all(map(valid, FORMS))
    wrong: list[Any] = ["dom0", {"dpi": 96}, {"from_dom0": False}, {"from_dom0": True, "scale": 2}, [], [MONITOR] * 17]
    assert not any(map(valid, [*wrong, {"from_dom0": True, "dpi": 19}]))
