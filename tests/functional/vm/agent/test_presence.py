"""``vminterface agent --check`` asks the running agent itself, and says what is wrong where that is not well."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import vminterface
from lab.paths import PROJECT
from lab.xenstored.fakexen import missing
from tests.support.dom0 import Dom0
from tests.support.realagent import RealAgent
from tests.support.stores import need
from vminterface.deadline import Deadline
from vminterface.errors import DeadlineExceeded
from vminterface.vm.agent.presence import SOCKET, version
from vminterface.vm.machine.machine import Machine


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[RealAgent]:
    need(missing())
    with Dom0(tmp_path / "xen") as host:
        host.start_vm("work")
        with RealAgent(host, "work", tmp_path / "vm") as made:
            yield made


def check(root: Path, *options: str) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "vminterface", "agent", "--check", "--root", str(root), *options]
    done = subprocess.run(
        command, env={"PYTHONPATH": str(PROJECT / "_utils")}, capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stdout, done.stderr


def asked(root: Path, seconds: float) -> str:
    try:
        return version(Machine(str(root)), Deadline.after(seconds))
    except DeadlineExceeded as error:
        return str(error)


def test_an_agent_that_works_replies_and_one_that_hangs_or_is_gone_does_not(agent: RealAgent) -> None:
    root = agent.root
    assert check(root) == (0, f"agent {vminterface.__version__} replies, and has its store\n", "")
    assert (root / SOCKET.lstrip("/")).stat().st_mode & 0o777 == 0o600

    agent.process.send_signal(signal.SIGSTOP)
    # All its threads have stopped once its parent hears of it.
    os.waitpid(agent.process.pid, os.WUNTRACED)
    assert asked(root, 0.5) == "the agent of this VM does not reply"
    # Those who have gone away meanwhile, and many of them, are no matter.
    agent.process.send_signal(signal.SIGCONT)
    assert asked(root, 20) == vminterface.__version__

    agent.process.terminate()
    agent.process.wait(20)
    assert asked(root, 0) == "no agent is running in this VM"
    status, out, _ = check(root, "--json", "--timeout", "0.1")
    assert (status, json.loads(out)) == (1, {"changed": False, "comment": "no agent is running in this VM"})
    assert check(root, "--timeout", "0")[0::2] == (1, "vminterface: no agent is running in this VM\n")


def test_an_agent_without_a_store_says_why(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    env = {"PYTHONPATH": str(PROJECT / "_utils"), "XENSTORED_PATH": str(tmp_path / "none")}
    command = [sys.executable, "-m", "vminterface", "agent", "--root", str(tmp_path)]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            assert asked(tmp_path, 2).startswith("the agent of this VM has no store: ")
        finally:
            process.terminate()


def test_what_an_agent_that_was_killed_has_left_is_no_agent_and_does_not_hinder_the_next(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(tmp_path / SOCKET.lstrip("/")))
    assert asked(tmp_path, 0) == "no agent is running in this VM"
