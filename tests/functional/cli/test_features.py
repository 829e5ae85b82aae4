"""The command ``vminterface features`` lists what Qubes knows, and what qubesd has of a VM."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.qubesd import qubes_r4
from vminterface.cli.main import main
from vminterface.values.featurecatalogue import KNOWN


def test_every_feature_is_listed_with_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["features"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(KNOWN)
    assert any(line.startswith("gui-trayicon-mode ") and "tint" in line for line in lines)


def test_what_a_vm_has_is_shown_with_its_own_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with qubes_r4(tmp_path, "work") as qubesd:
        qubesd.qubes["work"].features.update({"internal": "1", "x-mine": "a", "custom-persist.docs": "/srv"})
        assert main(["features", "work", "--json"]) == 0
        data = json.loads(capsys.readouterr().out)
        assert main(["features", "work"]) == 0
        lines = capsys.readouterr().out.splitlines()
    assert data["internal"] == {
        "does": KNOWN["internal"].does, "value": "on or off", "takes_effect": "now", "set_by": "admin", "text": "1",
    }  # fmt: skip
    assert data["custom-persist.docs"]["does"] == KNOWN["custom-persist.*"].does
    assert "text" not in data["gui"]
    assert [line.split()[0] for line in lines] == ["custom-persist.docs", "internal", "x-mine"]


@pytest.mark.parametrize(
    ("vm", "error"), [("dom0", "is dom0 itself"), ("nosuch", "qubesd does not know a VM 'nosuch'")]
)
def test_a_vm_that_cannot_be_asked_about_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], vm: str, error: str
) -> None:
    with qubes_r4(tmp_path, "work"):
        assert main(["features", vm]) == 1
    assert error in capsys.readouterr().err
