"""The hint for a number or a truth value that is quoted, so that YAML reads it as text."""

from __future__ import annotations

import re

from vminterface.regex import regex

_UNQUOTED = regex(r"[-+]?[0-9]+(?:\.[0-9]+)?|true|false|on|off|yes|no", re.IGNORECASE)


def hint(value: object) -> str:
    """Return `` (unquote it)`` for such a text, else nothing."""
    return " (unquote it)" if isinstance(value, str) and _UNQUOTED.fullmatch(value) else ""
