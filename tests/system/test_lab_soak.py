"""A short soak of a few VMs: the whole of it works, from the seed that is printed to nothing that is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from lab.paths import PROJECT


def test_a_few_seconds_on_both_releases_are_good(tmp_path: Path) -> None:
    paths = [str(PROJECT), str(PROJECT / "_utils")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "SEED": "a short one"}
    command = [sys.executable, "-m", "tests.soak", "--minutes", "0.2", "--vms", "4", "--pause", "0.5"]
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("== soak")] == [
        f"== soak on {release}: 4 VMs, 6 s, SEED=a short one" for release in ("R2", "R4")
    ]
    assert lines.count("wrong reports: 0") == 2
    for kind in ("agent", "watcher", "xenstored", "lab, qubesd", "qubesdb"):
        assert any(line.startswith(f"{kind} ") and "memory KiB" in line for line in lines), kind
    counted = [line for line in lines if line.startswith("reports: ")]
    assert all(" set," in line or line.endswith(" set") for line in counted), counted
