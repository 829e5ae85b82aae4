"""Arguments as people type them: each of the expected type, else InvalidValue, which names the argument."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

from vminterface.errors import InvalidValue, digits, printable_value

#: Seconds that a caller may give anything at most.
SECONDS_MAX = 3600


def text(value: object, name: str) -> str:
    """Return *value*, a text without NUL, which no name and no argument can have."""
    if b"\0" in data(value, name):
        raise _other("text without NUL bytes", value, name)
    return cast(str, value)


def data(value: object, name: str) -> bytes:
    """Return the bytes of *value*, any text in which :func:`os.fsdecode` may have put bytes that are none."""
    if not isinstance(value, str):
        raise _other("text", value, name, ": quote it where text is meant")
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise _other("text", value, name) from None


def texts(value: object, name: str) -> list[str]:
    """Return the texts of *value*, a list or the like."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise _other("a list", value, name)
    return [text(item, name) for item in value]


def words(value: Iterable[object], name: str) -> list[str]:
    """Return the words of a command line; a number among them, which YAML makes of digits, is taken for these."""
    return [digits(word) if type(word) is int else text(word, name) for word in value]


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


def seconds(value: object, name: str) -> float:
    """Return *value*, a number of seconds: more than 0, an hour at most."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= SECONDS_MAX:
        return float(value)
    raise _other(f"seconds, more than 0 and at most {SECONDS_MAX}", value, name)


def given(convert: Callable[[Any, str], Any] | None = None, /, **values: object) -> dict[str, Any]:
    """Return those of *values* that are not None, each as *convert*, a function of this file, returns it.

    What is left out has the default of the function that takes the others.
    """
    found = {name: value for name, value in values.items() if value is not None}
    return found if convert is None else {name: convert(value, name) for name, value in found.items()}


def _other(desired: str, value: object, name: str, hint: str = "") -> InvalidValue:
    return InvalidValue(f"{printable_value(value, 40, quoted=True)} is not valid (expected {desired}{hint})", name)
