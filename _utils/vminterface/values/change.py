"""The old and new value of a field of the pillar, a key of a store, or an ensured object."""

from __future__ import annotations

from typing import Final, Generic, TypeVar

from vminterface.value import Value

T = TypeVar("T", covariant=True)


class Change(Value, Generic[T]):
    """The value before and after; None where there is none, such as a key that does not exist."""

    __slots__ = ("new", "old")

    def __init__(self, old: T | None, new: T | None) -> None:
        self.old: Final = old
        self.new: Final = new
