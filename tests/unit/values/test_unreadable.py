"""A key's text that cannot be read: kept as it is."""

from __future__ import annotations

from vminterface.values.unreadable import Unreadable


def test_it_is_written_back_as_it_was() -> None:
    assert Unreadable("no\tzone").render() == "no\tzone"


def test_it_equals_its_own_text_alone() -> None:
    assert Unreadable("a") == Unreadable("a")
    assert Unreadable("a") != Unreadable("b")
    assert Unreadable("a") != "a"
    assert repr(Unreadable("a")) == "Unreadable(text='a')"
