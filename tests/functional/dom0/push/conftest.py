"""Hosts that a push writes to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.xenstored.fakexen import missing
from tests.support.dom0 import Dom0
from tests.support.qubesdb import QubesHost
from tests.support.stores import need


@pytest.fixture
def dom0(tmp_path: Path) -> Iterator[Dom0]:
    """A dom0 with the real xenstored."""
    with Dom0(tmp_path / "x") as host:
        yield host


@pytest.fixture(params=["xenstore", "qubesdb"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Dom0 | QubesHost]:
    """A host of each kind, on which ``work`` runs."""
    if request.param == "xenstore":
        need(missing())
    with (Dom0 if request.param == "xenstore" else QubesHost)(tmp_path / "h") as made:
        made.start_vm("work")
        yield made
