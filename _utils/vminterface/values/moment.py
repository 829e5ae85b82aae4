"""A moment as programs exchange it: whole seconds in UTC, ``2026-11-30T01:05:09Z`` (RFC 3339)."""

from __future__ import annotations

import re
import time

from vminterface.errors import InvalidValue, printable_value
from vminterface.regex import regex

_FORM = regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z", re.ASCII)
_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
#: The last second of the year 9999.
_LAST = 253_402_300_799


def parse(untrusted_text: object) -> int:
    """Return the seconds since 1970-01-01 UTC that *untrusted_text* stands for. Raises InvalidValue."""
    try:
        if isinstance(untrusted_text, str) and _FORM.fullmatch(untrusted_text):
            from datetime import datetime  # here, as few programs read such a text

            if (seconds := int(datetime.fromisoformat(untrusted_text).timestamp())) >= 0:
                return seconds
    except ValueError:  # such as the 31st of June
        pass
    raise InvalidValue(
        f"'{printable_value(untrusted_text)}' is not a moment in UTC (expected the form 2026-11-30T01:05:09Z)"
    )


def render(seconds: float) -> str:
    """Return the text of *seconds* since 1970-01-01 UTC, of which whole ones count. Raises InvalidValue."""
    if not 0 <= seconds <= _LAST:
        raise InvalidValue(f"{printable_value(seconds)} s is outside the years 1970 to 9999")
    return time.strftime(_FORMAT, time.gmtime(seconds))


def age(seconds: float) -> str:
    """Return *seconds* as a person reads an age: ``45 s``, ``12 min``, ``5 h``, ``3 d``; ``0 s`` for those to come."""
    left = max(0, int(seconds))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if left >= 2 * size:
            return f"{left // size} {unit}"
    return f"{left} s"
