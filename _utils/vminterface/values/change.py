"""The old and new value of a field of the pillar, a key of a store, or an ensured object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T", covariant=True)


@dataclass(frozen=True, slots=True)
class Change(Generic[T]):
    """The value before and after; None where there is none, such as a key that does not exist."""

    old: T | None
    new: T | None
