"""Pieces of a JSON Schema (2020-12): the form of each value, beside the parser that reads it.

A schema takes whatever the parser takes, and may take more: what hangs together between fields, what a host has (time
zones, VMs) and what is compared is the parser's alone. Patterns are those of ECMA-262, which Python's ``re`` reads too.

Editors read YAML 1.2, in which ``on``, ``off``, ``yes`` and ``no`` are texts; to Salt they are booleans. So wherever
the parser takes a boolean the schema takes these words too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

#: One JSON Schema.
Schema = Mapping[str, Any]

ON_WORDS = ("on", "yes", "true")
OFF_WORDS = ("off", "no", "false")
NULL: Schema = {"type": "null"}
#: A boolean of YAML 1.1.
BOOLEAN: Schema = {"anyOf": [{"type": "boolean"}, {"enum": [*ON_WORDS, *OFF_WORDS]}]}
#: The boolean true, and false.
TRUE: Schema = {"enum": [True, *ON_WORDS]}
FALSE: Schema = {"enum": [False, *OFF_WORDS]}


def text(pattern: str = "", *, least: int = 0, most: int | None = None, not_like: str = "") -> Schema:
    """Return the schema of texts that *pattern* matches whole and *not_like* nowhere, of *least* to *most* characters.

    An empty pattern is any text.
    """
    found: dict[str, Any] = {"type": "string"}
    if pattern:
        found["pattern"] = whole(pattern)
    if least:
        found["minLength"] = least
    if most is not None:
        found["maxLength"] = most
    if not_like:
        found["not"] = {"pattern": not_like}
    return found


def whole(pattern: str) -> str:
    """Return what matches *pattern* from the first to the last character of a text."""
    return f"^(?:{pattern})$".replace(r"\Z", "$")


def any_case(words: Iterable[str]) -> str:
    """Return the pattern of *words* in letters of either case."""
    return "|".join("".join(f"[{c.lower()}{c.upper()}]" if c.isalpha() else c for c in word) for word in words)


def number(least: int, most: int | None = None) -> Schema:
    """Return the schema of whole numbers from *least* to *most*."""
    return {"type": "integer", "minimum": least, **({} if most is None else {"maximum": most})}


def one_of(*words: Any) -> Schema:
    """Return the schema of these values alone."""
    return {"enum": list(words)}


def any_of(*schemas: Schema) -> dict[str, Any]:
    """Return the schema of what one of *schemas* takes, those of an ``anyOf`` among them in its place."""
    flat: list[Schema] = []
    for one in schemas:
        flat += one["anyOf"] if [*one] == ["anyOf"] else [one]
    return {"anyOf": flat}


def listed(items: Schema, *, least: int = 0, most: int | None = None) -> Schema:
    """Return the schema of lists of *items*, *least* to *most* of them."""
    found: dict[str, Any] = {"type": "array", "items": items}
    if least:
        found["minItems"] = least
    if most is not None:
        found["maxItems"] = most
    return found


def mapping(members: Mapping[str, Schema], *, needed: Iterable[str] = ()) -> Schema:
    """Return the schema of mappings with no other than these *members*; those that are *needed* are there."""
    found: dict[str, Any] = {"type": "object", "additionalProperties": False, "properties": dict(members)}
    if needed := list(needed):
        found["required"] = needed
    return found


def named(values: Schema, *, names: Schema, known: Mapping[str, Schema] | None = None) -> dict[str, Any]:
    """Return the schema of mappings of any *names* to *values*; those of *known* names have schemas of their own."""
    found: dict[str, Any] = {"type": "object", "propertyNames": names, "additionalProperties": values}
    if known:
        found["properties"] = dict(known)
    return found


def described(schema: Schema, does: str) -> Schema:
    """Return *schema* with the description that an editor displays."""
    return {"description": does, **schema}
