"""A VM that is started again has its own time zone without a highstate: the watcher pushes it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab.paths import PROJECT
from tests.support.labs import running


@pytest.mark.parametrize("release", ["R2", "R4"])
def test_a_restarted_vm_has_its_time_zone_again(tmp_path: Path, release: str) -> None:
    with running(tmp_path, release=release) as lab:
        environment = {**os.environ, **lab.environment(), "PYTHONPATH": str(PROJECT / "_utils")}
        command = [sys.executable, "-m", "vminterface", "watch", "--pillar", str(PROJECT / "pillar/qubes/init.sls")]
        link = lab.paths.root("work") / "etc/localtime"
        watcher = subprocess.Popen(command, env=environment)
        try:
            for start in ("first", "second"):
                until = time.monotonic() + 20
                while not (link.is_symlink() and os.readlink(link).endswith("America/Indiana/Indianapolis")):
                    assert time.monotonic() < until, f"no time zone after the {start} start"
                    time.sleep(0.1)
                if start == "first":
                    link.unlink()  # as a VM from its template: nothing of it lasts
                    lab.ask("restart", "work")
        finally:
            watcher.terminate()
            assert watcher.wait(10) == 0
