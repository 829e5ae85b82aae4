"""Time for tests of what waits."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.virtualtime import Clock
from vminterface import runtime


@pytest.fixture
def clock() -> Iterator[Clock]:
    """Time that passes where the library waits."""
    clock = Clock()
    runtime.use(clock)
    yield clock
    runtime.use(runtime.Runtime())
