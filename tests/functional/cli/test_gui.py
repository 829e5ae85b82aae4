"""The command that greets a VM's GUI agent: what it prints, and its exit status."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.xenstored.fakexen import missing
from tests.support import warm
from tests.support.dom0 import Dom0
from tests.support.guiagent import Agent
from tests.support.monitors import TWO_MONITORS as PILLAR
from tests.support.stores import need
from vminterface.wire.gui import CURRENT, Version, XConf

LIBRARY = str(Path(__file__).parents[3] / "_utils")


@pytest.fixture
def dom0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Dom0]:
    need(missing())
    with Dom0(tmp_path / "xen") as host:
        host.start_vm("work")
        monkeypatch.setenv("XENSTORED_PATH", host.path)
        monkeypatch.setenv("VCHAN_SOCKET_DIR", str(tmp_path))
        yield host


@pytest.fixture
def agent(dom0: Dom0, tmp_path: Path) -> Agent:
    return Agent(tmp_path / f"vchan.{dom0.domids['work']}.0.6000.sock")


def greet(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": LIBRARY}
    return warm.run(["vminterface", "gui", "greet", *words], env=env, input=stdin, text=True, timeout=30)


def test_a_greeting_says_what_was_told(agent: Agent) -> None:
    done = greet("work", "--screen", "1366x768")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "work: GUI protocol 1.8, a screen of 1368 x 768 pixels, 24 bits\n"
    assert agent.told() == CURRENT.render() + XConf.of_screen(1366, 768).render()


def test_an_older_agent_is_spoken_to_as_it_speaks(agent: Agent) -> None:
    agent.version = Version(1, 3)
    done = greet("work", "--screen", "800x600", "--json")
    assert json.loads(done.stdout) == {"version": "1.3", "width": 800, "height": 600, "depth": 24}
    assert agent.told() == XConf.of_screen(800, 600).render()


def test_the_screen_holds_the_monitors_of_the_pillar(agent: Agent, tmp_path: Path) -> None:
    done = greet("work", "--pillar", "-", stdin=PILLAR)
    assert done.stdout == "work: GUI protocol 1.8, a screen of 3200 x 1080 pixels, 24 bits\n"


def test_an_agent_of_another_version_is_named_and_told_nothing(agent: Agent) -> None:
    agent.version = Version(2, 0)
    done = greet("work", "--screen", "800x600")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "vminterface: work: GUI protocol 2.0 (expected 1.x, up to 1.8)\n"
    assert agent.told() == b""


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["work", "--screen", "1920"], 1, "screen: '1920' is not a valid screen: expected WIDTHxHEIGHT"),
        (["work", "--screen", "8x8", "--pillar", "-"], 2, "--screen and --pillar cannot be used together"),
        (["plain", "--pillar", "-"], 1, "-: qubes:vms:plain:monitors is missing"),
        (["wrok", "--screen", "8x8"], 1, "wrok: there is no running VM with this name"),
        (["dom0", "--screen", "8x8"], 1, "dom0"),
        (["work", "--screen", "8x8", "--timeout", "0"], 1, "expected seconds, more than 0"),
        (["work", "--screen", "8x8", "--keyboard", "p l"], 1, "p l"),
        (["work", "--screen", "8x8", "--socket", "/no/agent"], 1, "work: no GUI agent listens at /no/agent: No such"),
    ],
)
def test_what_is_wrong_is_one_sentence(dom0: Dom0, words: list[str], status: int, said: str) -> None:
    done = greet(*words, stdin=PILLAR)
    assert (done.returncode, done.stdout) == (status, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
