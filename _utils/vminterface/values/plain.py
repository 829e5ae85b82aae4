"""Values as plain Python has them, whatever classes a caller's mappings and lists are of.

Salt 3008 hands out a pillar in classes of its own, which show ``**********`` in place of what they hold; other releases
have ordered and immutable ones. Nothing of that is the reader's business, nor is it to get into a result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: How deep a value is followed; no field takes anything that deep.
DEEPEST = 100
_LEAVES = frozenset({str, bool, int, float, type(None)})


def plain(value: Any) -> Any:
    """Return *value* with a ``dict`` for each mapping in it, a ``list`` for each list, and ``str`` for text.

    What holds itself still does, and what is there twice is one object still.
    """
    return _plain(value, {}, 0)


def _plain(value: Any, done: dict[int, Any], depth: int) -> Any:
    # Most of a pillar: to ask for the kind of each leaf, as below, takes longer than all the rest.
    if type(value) in _LEAVES:
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bytes | bytearray | memoryview) or depth > DEEPEST:
        return value
    if id(value) in done:
        return done[id(value)]
    if type(value) is dict or isinstance(value, Mapping):
        mapping = done[id(value)] = {}
        mapping.update((_plain(key, done, depth + 1), _plain(held, done, depth + 1)) for key, held in value.items())
        return mapping
    if isinstance(value, tuple):
        return tuple(_plain(held, done, depth + 1) for held in value)
    if isinstance(value, Sequence):
        listed = done[id(value)] = []
        listed.extend(_plain(held, done, depth + 1) for held in value)
        return listed
    return value
