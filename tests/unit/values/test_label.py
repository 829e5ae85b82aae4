"""The label of a VM: a stock one by name or number, or one of the admin's own."""

from __future__ import annotations

import pytest
from jsonschema import Draft202012Validator

from vminterface.errors import InvalidValue
from vminterface.values.label import SCHEMA, STOCK, Label


@pytest.mark.parametrize("name", [*STOCK, "work-2", "My_label", "v1.0"])
def test_a_name_comes_back_as_written(name: str) -> None:
    assert Label.parse(name).render() == name


def test_the_numbers_stand_for_the_stock_labels_in_qubesds_order() -> None:
    names = [Label.parse(str(number)).render() for number in range(1, 9)]
    assert " ".join(names) == "red orange yellow green gray blue purple black"


@pytest.mark.parametrize("text", ["", "0", "9", "10", "007", "#ff0000", "dark red", "r\u00f6t", "a" * 65, "\u0661"])
def test_what_qubesd_has_no_label_for_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="not a valid label"):
        Label.parse(text)


@pytest.mark.parametrize("text", ["Red", "BLACK"])
def test_the_case_of_a_stock_label_counts(text: str) -> None:
    with pytest.raises(InvalidValue, match=f"did you mean '{text.lower()}'"):
        Label.parse(text)


def test_the_schema_takes_what_the_parser_takes() -> None:
    valid = Draft202012Validator(SCHEMA).is_valid
    assert all(map(valid, [*STOCK, "work-2", "v1.0", "a" * 64, "1", "8"]))
    assert not any(map(valid, ["", "0", "9", "10", "007", "#ff0000", "dark red", "a" * 65, "Red", "BLACK"]))
    assert Label.parse("a" * 64).render() == "a" * 64
