"""The commands that call services: what they print, and their exit status."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from tests.support import warm
from tests.support.monitors import TWO_MONITORS as PILLAR
from tests.support.rpcstandin import StandIn
from tests.support.xrandr import fake_xrandr

LIBRARY = str(Path(__file__).parents[3] / "_utils")


@pytest.fixture
def vms(tmp_path: Path) -> StandIn:
    stand_in = StandIn(tmp_path)
    stand_in.machine("work")
    return stand_in


def vminterface(vms: StandIn, *words: str, stdin: str = "", path: str | None = None) -> CompletedProcess[str]:
    path = f"{vms.folder}:{os.environ['PATH']}" if path is None else path
    env = {**os.environ, "PYTHONPATH": LIBRARY, "PATH": path}
    return warm.run(["vminterface", *words], env=env, input=stdin, text=True, timeout=30)


def test_a_call_prints_what_the_service_answers(vms: StandIn) -> None:
    done = vminterface(vms, "call", "work", "qubes.VMExec+printf+a-1B-5Bb")
    assert (done.returncode, done.stdout, done.stderr) == (0, "a\\x1b[b\n", "")
    done = vminterface(vms, "call", "work", "qubes.VMExec+cat", "--stdin", "--json", stdin="text")
    assert json.loads(done.stdout) == {"status": 0, "stdout": "text", "stderr": ""}


def test_the_environment_names_the_program(vms: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMINTERFACE_QREXEC", vms.client)
    done = vminterface(vms, "call", "work", "qubes.VMExec+echo+hi", path=os.environ["PATH"])
    assert (done.returncode, done.stdout) == (0, "hi\n")
    monkeypatch.setenv("VMINTERFACE_QREXEC_CONNECT_TIMEOUT", "soon")
    done = vminterface(vms, "call", "work", "qubes.VMExec+echo+hi")
    assert (done.returncode, done.stdout) == (1, "")
    assert "(expected a whole number" in done.stderr


def test_a_call_that_fails_says_so_and_ends_with_1(vms: StandIn) -> None:
    vms.handler("work", "example.Report", "echo why >&2; exit 7")
    done = vminterface(vms, "call", "work", "example.Report")
    assert done.returncode == 1
    assert done.stderr == "why\nvminterface: example.Report in work: exit status 7\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("call", "gone", "qubes.GetDate"), "qubes.GetDate in gone: the VM is not running"),
        (("call", "work", "no such"), "'no such' is not a valid service name"),
        (("call", "work", "example.None"), "there is no such service"),
        (("call", "work", "qubes.GetDate", "--timeout", "0"), "timeout: '0.0' is not valid (expected seconds"),
        (("monitors", "work"), "xrandr in work"),
    ],
)
def test_what_is_wrong_is_one_line_and_status_1(vms: StandIn, words: tuple[Any, ...], said: str) -> None:
    if words == ("monitors", "work"):
        vms.program("work", "xrandr", "exit 1")
    done = vminterface(vms, *words)
    assert done.returncode == 1
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("vminterface: ")
    as_json = vminterface(vms, *words, "--json")
    assert (as_json.returncode, as_json.stderr) == (1, "")
    pid = re.compile(r"\[\d+\]")  # of qrexec-client, in what it says
    line = done.stderr.removeprefix("vminterface: ").rstrip("\n")
    assert pid.sub("", json.loads(as_json.stdout)["error"]) == pid.sub("", line)


def test_without_qrexec_it_says_so(vms: StandIn, tmp_path: Path) -> None:
    done = vminterface(vms, "call", "work", "qubes.GetDate", path=str(tmp_path / "nothing"))
    assert done.returncode == 1
    assert "neither qrexec-client nor qrexec-client-vm is installed" in done.stderr


def test_monitors_of_a_pillar_are_drawn(vms: StandIn, tmp_path: Path) -> None:
    file = tmp_path / "pillar.yaml"
    file.write_text(PILLAR)
    done = vminterface(vms, "monitors", "work", "--pillar", str(file))
    assert done.returncode == 0
    assert "1*: 1920x1080" in done.stdout
    assert "2: 1280x800" in done.stdout
    assert done.stdout.endswith("1920x1080+0+0, 1280x800+1920+0\n")
    none = vminterface(vms, "monitors", "plain", "--pillar", str(file))
    assert "qubes:vms:plain:monitors is missing" in none.stderr


def test_monitors_of_a_vm_are_those_that_it_shows(vms: StandIn) -> None:
    fake_xrandr(vms, "work")
    assert vminterface(vms, "monitors", "work").stdout == "none\n"
    told = vminterface(vms, "call", "work", "qubes.SetMonitorLayout", "--stdin", stdin="800 600 0 0\n")
    assert told.returncode == 0
    shown = vminterface(vms, "monitors", "work", "--json")
    assert json.loads(shown.stdout) == [{"width": 800, "height": 600, "x": 0, "y": 0}]


def test_monitors_of_dom0_come_from_its_own_display(vms: StandIn) -> None:
    program = vms.folder / "xrandr"
    program.write_text("#!/bin/sh\necho 'eDP-1 connected primary 1920x1080+0+0 (normal) 310mm x 170mm'\n")
    program.chmod(0o755)
    assert vminterface(vms, "monitors").stdout.endswith("1920x1080+0+0 (325x182 mm)\n")
