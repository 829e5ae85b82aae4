"""Where a lab keeps its state."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.paths import LabPaths


def test_the_environment_names_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_DIR", "/tmp/some-lab")
    assert LabPaths.find().folder == Path("/tmp/some-lab")
    assert LabPaths.find("/tmp/other").folder == Path("/tmp/other")


def test_without_a_word_it_is_below_the_current_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LAB_DIR", raising=False)
    monkeypatch.setattr("lab.paths._SUN_PATH", 4096)
    monkeypatch.chdir(tmp_path)
    assert LabPaths.find().folder == tmp_path / ".lab"


def test_a_path_too_long_for_sockets_has_a_short_stand_in_that_stays_the_same() -> None:
    long = "/tmp/" + "x" * 100
    chosen = LabPaths.find(long)
    assert chosen == LabPaths.find(long)
    assert chosen != LabPaths.find(long + "y")
    assert len(str(chosen.store / "dom65535" / "xenbus")) <= 107
