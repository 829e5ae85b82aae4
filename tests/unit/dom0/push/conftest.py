"""A push in memory: its stores, its locks, and virtual time."""

from __future__ import annotations

import pytest

from tests.support.pushworld import World
from tests.support.virtualtime import Clock


@pytest.fixture
def world(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(clock, monkeypatch)
