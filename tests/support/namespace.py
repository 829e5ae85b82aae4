"""The first process of a machine made of namespaces: it says that the machine is ready, and ends with it."""

from __future__ import annotations

import subprocess
from pathlib import Path


def start(command: list[str], what: str) -> subprocess.Popen[str]:
    """Start *command*, which prints ``ready`` once its machine is there; RuntimeError if it does not."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        raise RuntimeError(f"{what} did not start")
    return process


def inside(process: subprocess.Popen[str]) -> str:
    """Return the ID of the process whose namespaces are the machine's: the only child of what was started."""
    return Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0]


def end(process: subprocess.Popen[str]) -> None:
    """End the machine."""
    process.kill()
    process.wait(10)
    assert process.stdout is not None
    process.stdout.close()
