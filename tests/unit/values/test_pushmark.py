"""The mark of a push: how far dom0 has come with writing it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vminterface.errors import InvalidValue
from vminterface.values.pushmark import PushMark


@pytest.mark.parametrize(("text", "mark"), [("writing 0", PushMark(0, False)), ("written 17", PushMark(17, True))])
def test_a_mark_is_a_word_and_the_number_of_the_push(text: str, mark: PushMark) -> None:
    assert PushMark.parse(text) == mark
    assert mark.render() == text


@given(st.integers(0, 10**20 - 1), st.booleans())
def test_each_mark_is_read_as_it_was_written(number: int, written: bool) -> None:
    assert PushMark.parse(PushMark(number, written).render()) == PushMark(number, written)


@pytest.mark.parametrize(
    "bad", ["", "writing", "written ", "writing 01", "written 1\n", "Writing 1", "written -1", "written 1 2",
            "pending", f"written {10**20}", "written \u0661"],
)  # fmt: skip
def test_anything_else_is_no_mark(bad: str) -> None:
    with pytest.raises(InvalidValue, match="expected 'writing NUMBER' or 'written NUMBER'"):
        PushMark.parse(bad)
