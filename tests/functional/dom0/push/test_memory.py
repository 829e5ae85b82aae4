"""A VM that sends the most that a call takes costs dom0 a bounded amount of memory, far below what it may have."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from lab.paths import PROJECT


@pytest.mark.parametrize("call", ["file_sent, short names", "file_sent, long names", "applications, long"])
def test_the_most_that_a_call_takes_fits(call: str) -> None:
    done = subprocess.run(
        [sys.executable, str(PROJECT / "benchmarks/dom0_memory.py"), "--only", call], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": f"{PROJECT}:{PROJECT / '_utils'}"}, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the bound is 512 MiB" in done.stdout
