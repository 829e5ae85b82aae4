"""A dom0 in memory for the watcher."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.watcherworld import World
from vminterface import runtime


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A dom0 in which nothing runs yet, and whose time passes where the watcher waits."""
    world = World(monkeypatch)
    runtime.use(world)
    yield world
    runtime.use(runtime.Runtime())
