"""What a host has returned, read with bounds: each function takes a part of it and the place of that, for errors.

All of them raise InvalidValue. Texts come out as printable ASCII of bounded length: much of them are VMs' words, and a
host may run another version of this project.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from vminterface.errors import InvalidValue, kind_of, printable, printable_value
from vminterface.values import moment

#: VMs of one host; entries of another mapping or list, characters of a name and of a text, levels of a value.
VMS_MAX, ENTRIES_MAX, NAME_MAX, TEXT_MAX, DEPTH_MAX = 10_000, 500, 80, 400, 6

_One = TypeVar("_One")


def shown_name(name: str) -> str:
    """Return how the name of a host or a VM is shown: a Xen domain may have any."""
    return printable(name, NAME_MAX)


def optional(untrusted: object, where: str, read: Callable[[object, str], _One]) -> _One | None:
    """Return None for None, else what *read* makes of it."""
    return None if untrusted is None else read(untrusted, where)


def mapping(untrusted: object, where: str, most: int = ENTRIES_MAX) -> Mapping[Any, Any]:
    """Return a mapping of *most* entries at most."""
    if not isinstance(untrusted, Mapping):
        raise InvalidValue(f"is of type {kind_of(untrusted)} (expected a mapping)", where)
    if len(untrusted) > most:
        raise InvalidValue(f"has {len(untrusted)} entries (expected {most} at most)", where)
    return untrusted


def listed(untrusted: object, where: str, most: int = ENTRIES_MAX) -> list[Any]:
    """Return a list of *most* entries at most."""
    if not isinstance(untrusted, list):
        raise InvalidValue(f"is of type {kind_of(untrusted)} (expected a list)", where)
    if len(untrusted) > most:
        raise InvalidValue(f"has {len(untrusted)} entries (expected {most} at most)", where)
    return untrusted


def text(untrusted: object, where: str, limit: int = TEXT_MAX) -> str:
    """Return a text, cut to *limit* characters."""
    if not isinstance(untrusted, str):
        raise InvalidValue(f"is of type {kind_of(untrusted)} (expected text)", where)
    return printable(untrusted, limit)


def name(untrusted: object, where: str) -> str:
    """Return the name of a host, a VM, a field and the like."""
    return text(untrusted, where, NAME_MAX)


def truth(untrusted: object, where: str) -> bool:
    """Return True or False."""
    if not isinstance(untrusted, bool):
        raise InvalidValue(f"is of type {kind_of(untrusted)} (expected true, false or null)", where)
    return untrusted


def number(untrusted: object, where: str) -> int:
    """Return a whole number that is not negative."""
    if isinstance(untrusted, bool) or not isinstance(untrusted, int) or not 0 <= untrusted < 10**15:
        raise InvalidValue(f"'{printable_value(untrusted)}' is not a whole number from 0 to 10^15", where)
    return untrusted


def moment_of(untrusted: object, where: str) -> int:
    """Return the seconds since 1970 of a moment's text."""
    try:
        return moment.parse(untrusted)
    except InvalidValue as error:
        raise InvalidValue(str(error), where) from None


def shown(untrusted: object, depth: int = 0) -> Any:
    """Return a value of any form that JSON has, with *depth* levels above it; it raises nothing."""
    if isinstance(untrusted, Mapping | list | tuple) and depth >= DEPTH_MAX:
        return printable_value(untrusted, TEXT_MAX)
    if isinstance(untrusted, Mapping):
        return {_key(key): shown(one, depth + 1) for key, one in _first(untrusted.items())}
    if isinstance(untrusted, list | tuple):
        return [shown(one, depth + 1) for one in _first(untrusted)]
    if (
        untrusted is None
        or isinstance(untrusted, bool)
        or (isinstance(untrusted, int | float) and _is_short(untrusted))
    ):
        return untrusted
    return printable_value(untrusted, TEXT_MAX)


def _key(untrusted: object) -> str:
    return printable_value(untrusted, NAME_MAX)


def _is_short(number: float) -> bool:
    """Whether every reader of JSON takes *number* as it is: neither infinite nor without a value."""
    return abs(number) < 10**15


def _first(items: Iterable[_One]) -> list[_One]:
    return [one for _, one in zip(range(ENTRIES_MAX), items, strict=False)]


def why_unread(reply: object, error: InvalidValue) -> str:
    """Return why nothing is known of a host that replied: Salt's own words where it raised, else *error*."""
    if isinstance(reply, str) and reply.strip():
        return printable(" ".join(reply.split()), TEXT_MAX)
    return f"the reply cannot be read: {f'{error.where}: ' if error.where else ''}{error}"
