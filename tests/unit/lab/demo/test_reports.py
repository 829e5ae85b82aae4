"""The demo's table of reports holds only if every VM has told something."""

from contextlib import nullcontext

import pytest

from lab.demo import reports
from lab.demo.checks import Broken
from vminterface.dom0.reports import Report


@pytest.fixture
def told(monkeypatch):
    """Lets VMs tell dom0 the memory that they use."""
    used = {}
    monkeypatch.setattr(reports, "Targets", nullcontext)
    monkeypatch.setattr(reports, "_WITHIN", 0.0)
    monkeypatch.setattr(
        reports.reports, "read", lambda targets: {vm: Report(vm, 1, used_kb=kb) for vm, kb in used.items()}
    )
    return used


def test_it_shows_what_every_vm_tells(told, capsys):
    told.update(work=100_000, personal=50_000)
    reports.show(["work", "personal"])
    assert "ok  each VM has told dom0 the memory that it uses" in capsys.readouterr().out


@pytest.mark.parametrize("other", [{}, {"personal": None}])
def test_a_vm_that_tells_nothing_ends_the_demo(told, other):
    told.update(work=100_000, **other)
    with pytest.raises(Broken):
        reports.show(["work", "personal"])
