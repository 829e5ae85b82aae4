"""Machines of Qubes R4 that a push writes to, and whose qubesd keeps what it writes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.qubeshost import R4
from tests.support.qubeshost import r4 as network_of_r4
from tests.support.qubesr4 import QubesR4, whole_r4


@pytest.fixture
def r4(tmp_path: Path) -> Iterator[QubesR4]:
    """The machine with a policy, templates and a list of VMs of its own; ``work`` runs, and no call is counted yet."""
    with whole_r4(tmp_path) as machine:
        machine.start("work")
        machine.qubesd.calls.clear()
        yield machine


@pytest.fixture
def qubes(tmp_path: Path) -> Iterator[R4]:
    """The machine whose ``work``, which runs, and ``personal`` are behind ``sys-net``; no call is counted yet."""
    with network_of_r4(tmp_path, "work", "personal") as machine:
        machine.qubesd.start_vm("work")
        machine.asked()
        yield machine
