"""A change: what there was, and what there is."""

from __future__ import annotations

from vminterface.values.change import Change


def test_a_change_has_both_values_and_neither_need_be_there() -> None:
    one = Change("UTC", None)
    assert one.old == "UTC"
    assert one.new is None


def test_two_changes_are_equal_where_both_values_are() -> None:
    assert Change(1, 2) == Change(1, 2)
    assert hash(Change(1, 2)) == hash(Change(1, 2))
    assert Change(1, 2) != Change(1, 3)
    assert Change(1, 2) != Change(3, 2)


def test_a_change_shows_both_values_and_holds_nothing_else() -> None:
    assert repr(Change(1, 2)) == "Change(new=2, old=1)"
    assert not hasattr(Change(1, 2), "__dict__")
