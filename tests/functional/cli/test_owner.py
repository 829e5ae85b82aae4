"""``vminterface owner --check`` finds a file as every other command does."""

from __future__ import annotations

from pathlib import Path

import pytest

from vminterface.cli.main import main


def test_a_file_is_found_from_the_folder_that_its_author_is_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("agent.conf").write_text("network = refuse\n")
    assert main(["owner", "--check", "agent.conf"]) == 0
    assert capsys.readouterr() == ("agent.conf: valid\n", "")
    Path("agent.conf").write_text("network = never\n")
    assert main(["owner", "--check", "agent.conf"]) == 1
    assert capsys.readouterr().err.startswith(f"vminterface: {tmp_path}/agent.conf:1: 'network = never' is not valid")
    assert main(["owner", "--check", "nowhere.conf"]) == 1
    assert capsys.readouterr().err == "vminterface: nowhere.conf: the file does not exist\n"
