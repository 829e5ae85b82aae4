"""The demo's table of reports holds only if every VM has told something."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest

from lab.demo import reports
from lab.demo.checks import Broken
from vminterface.dom0.reports.devices import Report


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> dict[Any, Any]:
    """Lets VMs tell dom0 the memory that they use."""
    used: dict[Any, Any] = {}
    monkeypatch.setattr(reports, "Targets", nullcontext)
    monkeypatch.setattr(reports, "_WITHIN", 0.0)
    monkeypatch.setattr(
        "lab.demo.reports.devices.read", lambda targets: {vm: Report(vm, 1, used_kb=kb) for vm, kb in used.items()}
    )
    return used


def test_it_shows_what_every_vm_tells(told: dict[Any, Any], capsys: pytest.CaptureFixture[str]) -> None:
    told.update(work=100_000, personal=50_000)
    reports.print_table(["work", "personal"])
    assert "ok  each VM has told dom0 the memory that it uses" in capsys.readouterr().out


@pytest.mark.parametrize("other", [{}, {"personal": None}])
def test_a_vm_that_tells_nothing_ends_the_demo(told: dict[Any, Any], other: dict[str, None]) -> None:
    told.update(work=100_000, **other)
    with pytest.raises(Broken):
        reports.print_table(["work", "personal"])
