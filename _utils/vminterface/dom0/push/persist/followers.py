"""Features that qubesd itself changes with a property: what a push of that property does to them is put right, too.

Setting ``provides_network`` sets the feature ``servicevm`` or removes it, whatever it was (Qubes core-admin, extension
``core_features``). So the pillar's value of the feature comes after the property, and where the property is taken
back the feature is as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vminterface.dom0.desired.persistent import FEATURES, PROVIDES_NETWORK
from vminterface.values.change import Change

#: Features by the property that they follow.
_OF = {PROVIDES_NETWORK: f"{FEATURES}:servicevm"}
FOLLOWERS = frozenset(_OF.values())


def of(changes: Mapping[str, Change[Any]]) -> Iterator[tuple[str, Any]]:
    """Yield the followers of what *changes*, each with what qubesd makes of it."""
    for name, follower in _OF.items():
        if name in changes:
            yield follower, True if changes[name].new else None
