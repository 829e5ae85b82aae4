"""The formula's states by the real ``salt-ssh``, in a VM of :mod:`tests.support.sshvm`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from lab.paths import PROJECT
from tests.support.sshvm import SshVM

Report = dict[str, dict[str, Any]]


def applier(folder: Path, vm: SshVM, state: str) -> Callable[..., Report]:
    """Return what applies *state* with options of ``state.apply`` and returns the report's lines by ``ID-module``."""
    tree, etc = folder / "srv", folder / "etc"
    for made in (tree, etc):
        made.mkdir()
    shutil.copytree(PROJECT / "_utils", tree / "_utils")
    config = {
        "root_dir": str(folder / "root"),
        "file_roots": {"base": [str(tree), str(PROJECT / "formulas")]},
        "pillar_roots": {"base": [str(folder / "pillar")]},
        "ssh_priv": "agent-forwarding",
    }
    (etc / "master").write_text(yaml.safe_dump(config))
    (etc / "roster").write_text(yaml.safe_dump({"work": {"host": "work", "user": "root"}}))

    def apply(*options: str) -> Report:
        program = Path(sys.executable).with_name("salt-ssh")
        command = [str(program), "-c", str(etc), "--out=json", "work", "state.apply", state, *options]
        done = subprocess.run(command, env=vm.environment, capture_output=True, text=True, timeout=120)
        assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
        report = json.loads(done.stdout)["work"]
        if isinstance(report, dict) and "return" in report:
            report = report["return"]
        assert isinstance(report, dict), f"{done.stdout}{done.stderr}"
        assert all("_|-" in tag for tag in report), f"{done.stdout}{done.stderr}"
        lines = {"-".join((tag.split("_|-")[1], tag.split("_|-")[0])): line for tag, line in report.items()}
        assert all(line["result"] is not False for line in lines.values()), json.dumps(lines, indent=1)
        return lines

    return apply
