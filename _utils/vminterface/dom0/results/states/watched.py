"""What a state does when one that it watches has changed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any


def once_more(state: Callable[..., dict[str, Any]], name: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Run *state* again with those of *given* that are its arguments; the others are Salt's own words."""
    known = inspect.signature(state).parameters
    return state(name, **{word: value for word, value in given.items() if word in known})
