"""The refusal of a demo as the admin sees it in a terminal: recorded, and saved as a moving picture."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from lab.control import Lab
from lab.demo import cast
from lab.demo.checks import require
from lab.paths import PROJECT

RECORDING = "demo-push.svg"
_FILE = "vminterface.sls"


def record_push(lab: Lab, folder: Path, accepting: str, refusing: str, zone: str) -> None:
    """Push *zone* to both VMs by the command, save what the terminal shows, and give *accepting* its former zone again.

    Raises Broken where it does not show what happened, VMInterfaceError.
    """
    here = folder / "terminal"
    here.mkdir()
    program = here / "vminterface"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -B -m vminterface "$@"\n')
    program.chmod(0o755)
    pillar = "".join(f"    {vm}: {{timezone: {zone}}}\n" for vm in (accepting, refusing))
    (here / _FILE).write_text(f"qubes:\n  vms:\n{pillar}")
    environment = {
        **os.environ,
        "PATH": f"{here}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        # Where the demo was started it may be a relative one.
        "PYTHONPATH": str(PROJECT / "_utils"),
    }
    environment.pop("NO_COLOR", None)
    before = cast.output_of(f"vminterface get {accepting} timezone", environment, here).strip().rpartition(" ")[2]
    lines = cast.record(
        [
            f"cat {_FILE}",
            f"vminterface diff --pillar {_FILE}",
            f'vminterface push --pillar {_FILE}; echo "exit status: $?"',
            f"vminterface get {accepting} timezone; vminterface get {refusing} timezone",
        ],
        environment,
        here,
    )
    Path(RECORDING).write_text(cast.svg(lines, f"a push that {refusing} refuses"), encoding="utf-8")
    shown = " ".join(line.text for line in lines)
    require(f"{refusing} refused timezone" in shown, f"the terminal shows the refusal (saved as {RECORDING})")
    cast.output_of(f"vminterface set {accepting} timezone={before}", environment, here)
