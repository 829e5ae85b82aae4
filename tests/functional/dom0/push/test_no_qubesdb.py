"""A pillar with ``channel: qubesdb`` on a host that has no QubesDB at all, as R2's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.dom0 import Dom0
from vminterface.dom0.inventory.targets import Targets
from vminterface.errors import VMStarting


def test_a_vm_that_runs_is_not_reported_as_starting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "qubes").mkdir()
    monkeypatch.setenv("VMINTERFACE_QUBESDB_DIR", str(tmp_path / "qubes"))
    with Dom0(tmp_path / "dom0") as host:
        host.start_vm("work")
        monkeypatch.setenv("XENSTORED_PATH", host.path)
        with Targets() as targets:
            assert list(targets.running()) == ["work"]
            with pytest.raises(VMStarting) as caught:
                targets.one("work", "qubesdb")
    assert str(caught.value) == "work does not have a QubesDB, nor has this host any (expected channel: auto)"
