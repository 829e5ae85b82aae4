"""The pieces of a JSON Schema, each as a validator reads it."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from vminterface.values import schema

ANYTHING: tuple[Any, ...] = ("", "a", "on", 0, 1, -1, 1.5, True, False, None, [], ["a"], {}, {"a": 1})


def taken(form: schema.Schema, *values: Any) -> list[Any]:
    """Return those of *values* that are valid."""
    Draft202012Validator.check_schema(form)
    validator = Draft202012Validator(form)
    return [value for value in values if validator.is_valid(value)]


def only(form: schema.Schema, *values: Any) -> bool:
    """Whether all *values* are valid and nothing else of ANYTHING is."""
    shown = [repr(value) for value in taken(form, *values, *ANYTHING)]
    return shown[: len(values)] == [repr(value) for value in values] and set(shown) == {repr(value) for value in values}


def test_null_is_nothing_but_null() -> None:
    assert only(schema.NULL, None)


def test_a_boolean_may_be_a_word_that_yaml_1_1_reads_as_one() -> None:
    yes, no = (True, "on", "yes", "true"), (False, "off", "no", "false")
    assert only(schema.TRUE, *yes)
    assert only(schema.FALSE, *no)
    assert only(schema.BOOLEAN, *yes, *no)


def test_a_text_without_a_pattern_is_any() -> None:
    assert taken(schema.text(), *ANYTHING, "two\nlines") == ["", "a", "on", "two\nlines"]
    assert schema.text() == {"type": "string"}


def test_a_pattern_is_for_the_whole_text() -> None:
    assert only(schema.text("b|cd"), "b", "cd")
    assert taken(schema.text("b|cd"), "bd", "bcd", "ab", "cdx", "xcd") == []


def test_the_end_of_a_text_is_written_as_ecma_262_has_it() -> None:
    form = schema.text(r"(?=.{2,3}\Z)[a-z]*")
    assert "\\Z" not in form["pattern"]
    assert taken(form, "a", "ab", "abc", "abcd") == ["ab", "abc"]


def test_a_text_may_have_a_least_and_a_greatest_length() -> None:
    words = ("", "a", "ab", "abc", "abcd")
    assert taken(schema.text(least=2), *words) == ["ab", "abc", "abcd"]
    assert taken(schema.text(most=1), *words) == ["", "a"]
    assert taken(schema.text(most=0), *words) == [""]
    assert taken(schema.text("a.*", least=2, most=3), *words, "bcd") == ["ab", "abc"]


def test_what_a_text_must_not_be_like_may_be_anywhere_in_it() -> None:
    assert taken(schema.text("[a-z]+", not_like="x|^q"), "ab", "axb", "x", "qa", "aq", "1") == ["ab", "aq"]


def test_words_in_either_case_are_a_pattern() -> None:
    form = schema.text(schema.any_case(["on", "a-1"]))
    assert taken(form, "on", "ON", "oN", "A-1", "a-1", "off", "ona-1", "[oO]n") == ["on", "ON", "oN", "A-1", "a-1"]


def test_a_whole_number_has_a_range() -> None:
    assert taken(schema.number(2, 4), 1, 2, 3, 4, 5, 2.5, "3", True) == [2, 3, 4]
    assert taken(schema.number(-1), -2, -1, 10**20) == [-1, 10**20]
    assert taken(schema.number(0, 0), -1, 0, 1) == [0]


def test_one_of_some_values_is_exactly_that() -> None:
    assert only(schema.one_of("a", 1), "a", 1)


def test_alternatives_of_alternatives_are_alternatives() -> None:
    a, b, c = (schema.one_of(word) for word in "abc")
    assert schema.any_of(schema.any_of(a, b), c) == {"anyOf": [a, b, c]}


def test_alternatives_with_something_beside_them_stay_together() -> None:
    a, b = schema.one_of("a"), schema.one_of("b")
    both = schema.described(schema.any_of(a, b), "is one of two")
    assert schema.any_of(both, schema.NULL) == {"anyOf": [both, schema.NULL]}


def test_a_list_has_items_of_one_form_and_may_have_a_range() -> None:
    lists: list[Any] = [[], ["a"], ["a", "a"], ["a", "a", "a"], ["b"], "a", None]
    a = schema.one_of("a")
    assert taken(schema.listed(a), *lists) == lists[:4]
    assert taken(schema.listed(a, least=2), *lists) == lists[2:4]
    assert taken(schema.listed(a, most=1), *lists) == lists[:2]
    assert taken(schema.listed(a, most=0), *lists) == [[]]


def test_a_mapping_has_no_other_members_and_those_that_are_needed() -> None:
    members = {"a": schema.number(1), "b": schema.text()}
    mappings: list[Any] = [{}, {"a": 1}, {"b": "x"}, {"a": 1, "b": "x"}, {"a": 0}, {"a": 1, "c": 1}, [], "a"]
    assert taken(schema.mapping(members), *mappings) == mappings[:4]
    assert taken(schema.mapping(members, needed=("a", "b")), *mappings) == [{"a": 1, "b": "x"}]
    assert taken(schema.mapping(members, needed=iter(["a"])), *mappings) == [{"a": 1}, {"a": 1, "b": "x"}]


def test_a_mapping_of_any_names_has_values_of_one_form_but_for_those_of_known_names() -> None:
    form = schema.named(schema.number(1), names=schema.text("[a-z]+"), known={"word": schema.text()})
    good = [{}, {"a": 1}, {"a": 1, "b": 2}, {"word": "x"}]
    assert taken(form, *good, {"a": "x"}, {"A": 1}, {"word": 1}, [], "a") == good
    assert taken(schema.named(schema.number(1), names=schema.text()), {"word": 1}, {"word": "x"}) == [{"word": 1}]


@pytest.mark.parametrize("form", [schema.NULL, schema.text("a", most=3)])
def test_a_description_comes_first_and_changes_nothing(form: schema.Schema) -> None:
    described = schema.described(form, "does something")
    assert next(iter(described.items())) == ("description", "does something")
    assert described == {"description": "does something", **form}
