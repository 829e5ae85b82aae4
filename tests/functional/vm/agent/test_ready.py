"""What has started the agent hears that it runs: systemd by its socket, a script by the agent's output."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from lab.paths import PROJECT


@pytest.mark.parametrize("abstract", [False, True])
def test_the_agent_says_that_it_runs(tmp_path: Path, abstract: bool) -> None:
    """There is no store here: that the agent runs is one thing, that dom0 has something to say another."""
    name = f"@ready-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(f"\0{name[1:]}" if abstract else name)
        systemd.settimeout(30)
        env = {
            **os.environ,
            "PYTHONPATH": str(PROJECT / "_utils"),
            "NOTIFY_SOCKET": name,
            "XENSTORED_PATH": str(tmp_path / "none"),
        }
        command = [sys.executable, "-m", "vminterface", "agent", "--root", str(tmp_path)]
        with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as agent:
            try:
                assert systemd.recv(100) == b"READY=1"
                assert agent.stdout is not None
                assert select.select([agent.stdout], [], [], 30)[0]
                assert agent.stdout.readline() == b"vminterface agent: running\n"
                assert agent.poll() is None
            finally:
                agent.terminate()
