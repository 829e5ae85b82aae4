"""The demo does without monitors where this machine can show none, says so, and does not in CI."""

import pytest

from lab.demo.calls import Calls
from lab.demo.checks import Broken
from vminterface.errors import ProgramMissing


class WithoutServer:
    def ask(self, *words):
        raise ProgramMissing("work: no X server here")


@pytest.fixture
def calls(tmp_path):
    return Calls(WithoutServer(), None, {"vms": {"work": {"root": str(tmp_path)}}}, tmp_path)


def test_without_an_x_server_it_goes_on_and_says_so(calls, monkeypatch, capsys):
    monkeypatch.delenv("CI", raising=False)
    calls.start_screens()
    assert calls.layout is None
    assert capsys.readouterr().out == "  (without monitors: work: no X server here)\n"


def test_in_ci_that_ends_it(calls, monkeypatch):
    monkeypatch.setenv("CI", "true")
    with pytest.raises(Broken, match="there are no monitors: work: no X server here"):
        calls.start_screens()
