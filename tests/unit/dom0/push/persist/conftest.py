"""A qubesd in memory, on a dom0 of which no time zone is known."""

from __future__ import annotations

import os

import pytest

from tests.support.adminapi import MemoryAPI


@pytest.fixture
def no_zone_of_dom0(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "readlink", lambda path: "/somewhere")


@pytest.fixture
def api() -> MemoryAPI:
    return MemoryAPI()
