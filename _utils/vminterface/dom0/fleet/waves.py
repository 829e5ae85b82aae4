"""In which order a rollout reaches its units, VMs of a host or hosts of a fleet: a canary group, then waves."""

from __future__ import annotations

import re
from collections.abc import Sequence

from vminterface.errors import InvalidValue, kind_of, printable_value
from vminterface.regex import regex

#: Where nothing else is asked for: a quarter of what is not in the canary group, at a time.
DEFAULT = ("25%",)
_FORM = regex(r"([0-9]{1,6})(%?)", re.ASCII)


def plan(units: Sequence[str], canary: Sequence[str] = (), sizes: Sequence[object] = DEFAULT) -> list[list[str]]:
    """Return *units* as waves, none of them empty: first those of *canary*, if any, then the others in their order.

    *sizes* are those of the waves after the canary group: numbers (``10``), or parts of all others (``25%``, rounded
    up). The last one holds until nothing is left. Raises InvalidValue for a canary that is not one of the units, and
    for what is not a size.
    """
    known = set(units)
    for one in canary:
        if one not in known:
            raise InvalidValue(f"'{printable_value(one)}' is not among what is rolled out", "canary")
    first = [one for one in units if one in set(canary)]
    rest = [one for one in units if one not in set(canary)]
    counts = [_count(size, len(rest)) for size in sizes]
    if not counts:
        raise InvalidValue("expected at least one size, such as 25%", "waves")
    waves = [first] if first else []
    while rest:
        count = counts.pop(0) if len(counts) > 1 else counts[0]
        waves.append(rest[:count])
        rest = rest[count:]
    return waves


def sizes_of(value: object) -> list[object]:
    """Return the sizes that *value* names: one of them, a list, or a text with commas. Raises InvalidValue."""
    if isinstance(value, str):
        return [one.strip() for one in value.split(",")]
    if isinstance(value, int) and not isinstance(value, bool):
        return [value]
    if isinstance(value, list | tuple):
        return list(value)
    raise InvalidValue(f"is of type {kind_of(value)} (expected sizes, such as 5 or 25%)", "waves")


def _count(size: object, of: int) -> int:
    form = _FORM.fullmatch(str(size)) if isinstance(size, int | str) and not isinstance(size, bool) else None
    if form is None or int(form[1]) == 0 or (form[2] and int(form[1]) > 100):
        shown = printable_value(size, quoted=True)
        forms = "a number from 1, or a part from 1% to 100%"
        raise InvalidValue(f"{shown} is not the size of a wave (expected {forms})", "waves")
    return max(1, -(-of * int(form[1]) // 100)) if form[2] else int(form[1])
