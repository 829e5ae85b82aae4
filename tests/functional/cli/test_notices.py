"""The command ``vminterface notices``: what it says it does, would do, and was told."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest

from vminterface.cli.main import main
from vminterface.dom0.notices import install, record
from vminterface.dom0.notices.services import SERVICES


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of qrexec's programs; records are beside it, and nothing is on the PATH."""
    place = tmp_path / "rpc"
    monkeypatch.setattr(install, "install", functools.partial(install.install, folder=str(place)))
    monkeypatch.setattr("vminterface.channel.adminapi.expected", lambda: False)
    monkeypatch.setenv("VMINTERFACE_NOTICES", str(tmp_path / "notices"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["/nonexistent/__main__.py"])
    return place


def command(folder: Path) -> None:
    (folder / "vminterface").touch(0o755)


def test_a_check_says_what_would_be_done(place: Any, tmp_path: Any, capsys: Any) -> None:
    command(tmp_path)
    assert main(["notices", "check"]) == 3
    assert capsys.readouterr().out.splitlines() == [f"{name}: would be installed" for name in SERVICES]
    assert not place.exists()
    assert main(["notices", "install", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == dict.fromkeys(SERVICES, "installed")
    own = place / "qubes.NotifyUpdates"
    own.write_text("#!/bin/sh\n")
    assert main(["notices", "check"]) == 0
    assert capsys.readouterr().out == "qubes.NotifyUpdates: left unchanged\n"


def test_without_the_command_that_qrexec_is_to_run_nothing_is_installed(place: Any, capsys: Any) -> None:
    assert main(["notices", "install"]) == 1
    assert "the command vminterface, which qrexec runs, is not on the PATH" in capsys.readouterr().err
    assert not place.exists()


def test_what_vms_have_told_is_shown_and_that_they_told_nothing(capsys: Any) -> None:
    assert main(["notices", "show"]) == 0
    assert capsys.readouterr().out == "no VM has sent notices\n"
    record.write(
        "work", record.Notices({"os": "Linux"}, True, "2026-11-29T12:00:00+00:00", "2026-11-29T12:00:00+00:00")
    )
    assert main(["notices", "show"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "work: updates: yes (2026-11-29T12:00:00+00:00)",
        "work: os: Linux",
    ]
    assert main(["notices", "show", "other"]) == 0
    assert capsys.readouterr().out == "other has sent no notices\n"
