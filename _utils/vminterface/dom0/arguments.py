"""Arguments as people type them: each of the type that is wanted, else InvalidValue, which names the argument."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from vminterface.errors import InvalidValue, printable_value


def text(value: object, name: str) -> str:
    """Return *value*, a text without NUL, which no name and no argument can have."""
    if b"\0" in data(value, name):
        raise _other("text without NUL bytes", value, name)
    return cast(str, value)


def data(value: object, name: str) -> bytes:
    """Return the bytes of *value*, any text in which :func:`os.fsdecode` may have put bytes that are none."""
    if not isinstance(value, str):
        raise _other("text", value, name, " (quote it where text is meant)")
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise _other("text", value, name) from None


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


def count(value: object, name: str) -> int:
    """Return *value*, a whole number that is not negative."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise _other("a whole number", value, name)


def _other(wanted: str, value: object, name: str, hint: str = "") -> InvalidValue:
    return InvalidValue(f"expected {wanted}, found {printable_value(value, 40, quoted=True)}{hint}", name)
