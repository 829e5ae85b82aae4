"""Arguments as people type them: each of the type that is wanted, else InvalidValue, which names the argument."""

from __future__ import annotations

from collections.abc import Iterable

from vminterface.errors import InvalidValue, printable


def text(value: object, name: str) -> str:
    """Return *value*, a text."""
    if isinstance(value, str):
        return value
    raise _other("text", value, name, " (quote it where text is meant)")


def texts(value: object, name: str) -> list[str]:
    """Return the texts of *value*, a list or the like."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise _other("a list", value, name)
    return [text(item, name) for item in value]


def flag(value: object, name: str) -> bool:
    """Return *value*, True or False."""
    if isinstance(value, bool):
        return value
    raise _other("True or False", value, name)


def number(value: object, name: str) -> float:
    """Return *value*, a number."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    raise _other("a number", value, name)


def count(value: object, name: str) -> int:
    """Return *value*, a whole number that is not negative."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise _other("a whole number", value, name)


def _other(wanted: str, value: object, name: str, hint: str = "") -> InvalidValue:
    return InvalidValue(f"expected {wanted}, found {printable(repr(value), 40)}{hint}", name)
