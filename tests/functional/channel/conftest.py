"""A qubesd for what speaks to one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.qubesd import Qubesd
from tests.support.qubesd import qubes_r4


@pytest.fixture
def qubesd(tmp_path: Path) -> Iterator[Qubesd]:
    """A qubesd of R4 that has ``work``."""
    with qubes_r4(tmp_path, "work") as daemon:
        yield daemon
