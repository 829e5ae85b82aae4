"""Yes and no are read in one spelling from a key, and in those that admins use from pillar."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from vminterface.errors import InvalidValue
from vminterface.values import flags


@pytest.mark.parametrize("text", ["True", "False"])
def test_true_and_false_come_back_as_written(text: str) -> None:
    assert flags.render_true_false(flags.parse_true_false(text)) == text


@pytest.mark.parametrize("text", ["1", "0"])
def test_one_and_zero_come_back_as_written(text: str) -> None:
    assert flags.render_one_zero(flags.parse_one_zero(text)) == text


@pytest.mark.parametrize("text", ["", "true", "FALSE", "1", "0", "True\n", " True", "yes", "\uff34rue"])
def test_only_pythons_words_are_true_or_false(text: str) -> None:
    with pytest.raises(InvalidValue, match="neither 'True' nor 'False'"):
        flags.parse_true_false(text)


@pytest.mark.parametrize("text", ["", "True", "10", "01", "-1", "1\n", " 1", "\u0661", "\u00b9"])
def test_only_the_digits_are_one_or_zero(text: str) -> None:
    with pytest.raises(InvalidValue, match="neither '1' nor '0'"):
        flags.parse_one_zero(text)


@pytest.mark.parametrize("word", ["on", "ON", "true", "True", "1", 1, True])
def test_admins_words_for_yes(word: bool | int | str) -> None:
    assert flags.from_word(word) is True


@pytest.mark.parametrize("word", ["off", "Off", "false", "False", "0", 0, False])
def test_admins_words_for_no(word: bool | int | str) -> None:
    assert flags.from_word(word) is False


@pytest.mark.parametrize("word", ["", "enabled", "yes please", "2", 2, -1, 1.0, None, [], {"on": 1}])
def test_what_is_no_word_for_yes_or_no_is_a_fault(word: Any) -> None:
    with pytest.raises(InvalidValue, match="neither 'on' nor 'off'"):
        flags.from_word(word)


def test_a_fault_shows_a_hostile_word_as_printable_ascii() -> None:
    with pytest.raises(InvalidValue) as caught:
        flags.from_word("\x1b[2J" + "A" * 1000)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


def test_a_number_too_long_to_print_is_a_fault_too() -> None:
    with pytest.raises(InvalidValue, match="a value of type int"):
        flags.from_word(10**5000)


def test_the_schema_takes_what_the_parser_takes_and_the_words_that_yaml_1_1_reads_as_booleans() -> None:
    valid = Draft202012Validator(flags.SCHEMA).is_valid
    assert all(map(valid, [True, False, 1, 0, "1", "0", "on", "ON", "off", "true", "FALSE", "yes", "no"]))
    assert not any(map(valid, ["", "enabled", "2", 2, -1, None, [], {}, "on "]))


def test_an_error_quotes_a_text_and_names_the_type_of_anything_else() -> None:
    for word, found in (("maybe", "'maybe'"), ([], "a value of type list"), (2, "a value of type int")):
        with pytest.raises(InvalidValue) as caught:
            flags.from_word(word)  # type: ignore[arg-type]
        assert str(caught.value) == f"{found} is neither 'on' nor 'off' (nor true, false, 1, 0)"
