"""The pillar as a file of the command line: YAML, or JSON as Salt prints it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from vminterface.cli import inputs, pillaryaml
from vminterface.errors import InvalidValue, printable

#: What Salt 3008 prints in place of each value of a pillar, unless it is asked not to.
MASKED = "**********"


def load(path: str) -> Mapping[str, Any]:
    """Read the pillar in the file *path*, or on standard input for ``-``; YAML means in it what it means to Salt.

    The output of ``salt-call --local pillar.items --out json`` will do, from Salt 3008 on with
    ``unmask=True``. Raises InvalidValue, which names the file and, where it is known, the line.
    """
    text = inputs.read(path)
    data = _parsed(path, text)
    if not isinstance(data, Mapping):
        raise InvalidValue(f"{path}: is not a mapping (expected one with qubes:vms)")
    data = data["local"] if list(data) == ["local"] else data
    if not isinstance(data, Mapping):
        raise InvalidValue(f"{path}: is not a mapping (expected one with qubes:vms)")
    if _has(data.get("qubes"), MASKED):
        raise InvalidValue(
            f"{path}: its values are masked, as Salt 3008 prints a pillar (expected the output of salt-call --local"
            " pillar.items unmask=True --out json)"
        )
    return data


def _parsed(path: str, text: str) -> Any:
    """Return what is in *text*. YAML goes first, as Salt takes a file of JSON for YAML too."""
    try:
        return pillaryaml.load(path, text)
    except InvalidValue:
        # Of JSON, YAML does not know pairs of escapes for one character; and PyYAML may not be there.
        if text.lstrip().startswith("{"):
            try:
                return json.loads(text, object_pairs_hook=lambda pairs: _without_twins(path, pairs))
            except InvalidValue:
                raise
            except (ValueError, RecursionError):
                pass
        raise


def _without_twins(path: str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twin = next(name for name in names if names.count(name) > 1)
        raise InvalidValue(f"{path}: the key '{printable(twin, 60)}' is given twice")
    return found


def _has(value: Any, text: str) -> bool:
    """Return whether *text* is one of the values in *value*, which may have itself in it."""
    todo, seen = [value], set()
    while todo:
        one = todo.pop()
        if one == text:
            return True
        if isinstance(one, Mapping | list) and id(one) not in seen:
            seen.add(id(one))
            todo += one.values() if isinstance(one, Mapping) else one
    return False
