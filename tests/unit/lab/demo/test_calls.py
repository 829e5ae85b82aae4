"""The demo does without monitors where this machine can show none, says so, and does not in CI."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from lab.control import Lab
from lab.demo.calls import Calls
from lab.demo.checks import Broken
from lab.dom0.saltdir import SaltDir
from vminterface.errors import ProgramMissing


class WithoutServer:
    def ask(self, *words: str) -> None:
        raise ProgramMissing("work: no X server here")


@pytest.fixture
def calls(tmp_path: Path) -> Calls:
    return Calls(
        cast("Lab", WithoutServer()), cast("SaltDir", None), {"vms": {"work": {"root": str(tmp_path)}}}, tmp_path
    )


def test_without_an_x_server_it_goes_on_and_says_so(
    calls: Calls, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CI", raising=False)
    calls.start_screens()
    assert calls.layout is None
    assert capsys.readouterr().out == "  (without monitors: work: no X server here)\n"


def test_in_ci_that_ends_it(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(Broken, match="there are no monitors: work: no X server here"):
        calls.start_screens()
