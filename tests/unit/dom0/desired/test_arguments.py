"""What people type is of the wanted type, or the fault names the argument."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from vminterface.dom0.desired.arguments import count, data, flag, seconds, text, texts, words
from vminterface.errors import InvalidValue

GOOD = [
    (text, "", ""),
    (texts, ("a", "b"), ["a", "b"]),
    (texts, [], []),
    (flag, False, False),
    (text, "\n\udcff", "\n\udcff"),
    (data, "a\0\n\udcffż", b"a\0\n\xff\xc5\xbc"),
    (count, 0, 0),
    (seconds, 1, 1.0),
    (seconds, 3600, 3600.0),
]
BAD = [
    (text, None, "text"),
    (text, b"x", "text"),
    (texts, "ab", "a list"),
    (texts, 7, "a list"),
    (texts, ["a", 7], "text"),
    (flag, 1, "True or False"),
    (flag, "yes", "True or False"),
    (text, "a\0", "text without NUL bytes"),
    (texts, ["a", "a\0"], "text without NUL bytes"),
    (text, "\ud800", "text"),
    (data, "\ud800", "text"),
    (data, b"x", "text"),
    (count, -1, "a whole number"),
    (count, 1.0, "a whole number"),
    (count, True, "a whole number"),
    (seconds, 0, "seconds, more than 0 and at most 3600"),
    (seconds, 3601, "seconds, more than 0 and at most 3600"),
    (seconds, float("nan"), "seconds, more than 0 and at most 3600"),
    (seconds, "5", "seconds, more than 0 and at most 3600"),
    (seconds, True, "seconds, more than 0 and at most 3600"),
]


@pytest.mark.parametrize(("check", "value", "taken"), GOOD)
def test_what_is_of_the_type_is_taken(check: Callable[..., Any], value: Any, taken: Any) -> None:
    assert check(value, "thing") == taken


@pytest.mark.parametrize(("check", "value", "desired"), BAD)
def test_what_is_of_another_is_told_by_the_arguments_name(check: Callable[..., Any], value: Any, desired: str) -> None:
    with pytest.raises(InvalidValue, match=rf"is not valid \(expected {desired}") as told:
        check(value, "thing")
    assert told.value.where == "thing"


def test_a_value_is_shown_as_printable_text_of_bounded_length() -> None:
    with pytest.raises(InvalidValue) as told:
        flag("\x1b[2J" * 1000, "thing")
    assert str(told.value).isprintable()
    assert len(str(told.value)) < 100


def test_a_number_among_words_that_python_does_not_write_is_refused() -> None:
    assert words(["a", 7], "thing") == ["a", "7"]
    with pytest.raises(InvalidValue, match="too many digits"):
        words([16**5000], "thing")
