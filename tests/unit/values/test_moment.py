"""A moment in UTC: read and written in one form, and its age as a person reads it."""

from __future__ import annotations

import pytest

from vminterface.errors import InvalidValue
from vminterface.values import moment


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "1970-01-01T00:00:00Z"), (1796000709, "2026-11-30T01:05:09Z"), (253402300799, "9999-12-31T23:59:59Z")],
)
def test_a_moment_has_one_form(seconds: int, text: str) -> None:
    assert moment.render(seconds) == text
    assert moment.parse(text) == seconds


def test_parts_of_a_second_are_left_out() -> None:
    assert moment.render(59.999) == "1970-01-01T00:00:59Z"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1969-12-31T23:59:59Z",
        "0000-01-01T00:00:00Z",
        "2026-11-30",
        "2026-06-31T00:00:00Z",
        "2026-11-30T01:05:09+01:00",
        "2026-11-30T01:05:09Z\n",
        None,
        5,
    ],
)
def test_any_other_form_is_an_error_that_shows_the_right_one(text: object) -> None:
    with pytest.raises(InvalidValue, match=r"is not a moment in UTC .*2026-11-30T01:05:09Z"):
        moment.parse(text)


@pytest.mark.parametrize("seconds", [-1, 253402300800])
def test_what_no_form_has_is_an_error(seconds: int) -> None:
    with pytest.raises(InvalidValue, match="outside the years"):
        moment.render(seconds)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0 s"), (0, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "119 min"), (7200, "2 h"), (172800, "2 d")],
)
def test_an_age_has_the_largest_unit_of_which_there_are_two(seconds: int, text: str) -> None:
    assert moment.age(seconds) == text
