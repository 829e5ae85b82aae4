"""SIGTERM ends the agent within seconds, in the middle of a program that hangs and of a file that the kernel holds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.agentcall import ends
from vminterface.stop import Stop
from vminterface.vm.agent import ending
from vminterface.vm.agent.ending import until_stopped

LIBRARY = Path(ending.__file__).parents[3]
#: An agent whose only work is *step*; what it notes is in the file of its argument.
PROGRAM = """
import signal, sys
from vminterface.vm.agent.ending import until_stopped
from vminterface.vm.machine.machine import Machine
from vminterface.stop import Stop

def note(text):
    with open(sys.argv[1], "a") as file:
        file.write(text + "\\n")

def step():
    {step}

stop = Stop()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
print(until_stopped(step, stop))
"""


def started(folder: Path, step: str) -> subprocess.Popen[str]:
    program = folder / "program.py"
    program.write_text(PROGRAM.format(step=step.replace("\n", "\n    ")))
    environment = {**os.environ, "PYTHONPATH": str(LIBRARY)}
    return subprocess.Popen(
        [sys.executable, str(program), str(folder / "notes")], env=environment, stdout=subprocess.PIPE, text=True
    )


def lines(path: Path, count: int) -> list[str]:
    """Wait for *count* lines of the file *path*."""
    end = time.monotonic() + 20
    while not path.exists() or path.read_text().count("\n") < count:
        assert time.monotonic() < end, "not noted in time"
        time.sleep(0.02)
    return path.read_text().splitlines()


def test_a_read_that_the_kernel_holds(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with started(tmp_path, f"note('begun')\nopen({str(tmp_path / 'pipe')!r})") as process:
        lines(tmp_path / "notes", 1)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=20)[0] == "False\n"
    assert process.returncode == 0
    assert time.monotonic() - began < ending.GRACE + ending.CUT + 5


def test_a_program_that_ignores_sigterm_is_killed_and_what_follows_it_is_done(tmp_path: Path) -> None:
    script = tmp_path / "hangs"
    script.write_text(f"#!/bin/sh\ntrap '' TERM\necho $$ >>'{tmp_path}/notes'\nwhile :; do sleep 1; done\n")
    script.chmod(0o755)
    step = f"try:\n    Machine().run([{str(script)!r}], timeout=60)\nfinally:\n    note('put back')"
    with started(tmp_path, step) as process:
        (pid,) = lines(tmp_path / "notes", 1)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    # It is killed as the last thing, and not waited for.
    assert ends(int(pid))


def test_a_program_that_ends_at_sigterm_lets_the_step_put_things_back(tmp_path: Path) -> None:
    sleeps = "Machine().run(['sleep', '60'], timeout=60)"
    step = f"try:\n    note('begun')\n    {sleeps}\nexcept Exception:\n    note('put back')"
    with started(tmp_path, step) as process:
        lines(tmp_path / "notes", 1)
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=20)[0] == "True\n"
    assert lines(tmp_path / "notes", 2) == ["begun", "put back"]


def test_work_that_ends_is_waited_for_and_its_faults_are_raised() -> None:
    assert until_stopped(lambda: None, Stop())

    def fail() -> None:
        raise ValueError("of the work")

    with pytest.raises(ValueError, match="of the work"):
        until_stopped(fail, Stop())
