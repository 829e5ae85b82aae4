"""A VM for the handlers that need no more than one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.handlers import VM


@pytest.fixture
def vm(tmp_path: Path) -> VM:
    """A VM with the shipped handlers and its user's home, in a folder of its own."""
    one = VM(tmp_path / "vm")
    (one.root / "home/user").mkdir(parents=True)
    return one
