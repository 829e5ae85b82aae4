"""The command ``vminterface report``: what running VMs say of their memory and devices."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable
from typing import Any

DONE, FAILED = 0, 1

Command = Callable[[str, Any, str], argparse.ArgumentParser]


def add(command: Command) -> None:
    """Add the command to those of the command line."""
    report = command("report", _report, "Show what running VMs say of their memory and the devices that they offer.")
    report.add_argument("vm", nargs="?", metavar="VM")


def _report(options: argparse.Namespace) -> int:
    from vminterface.dom0 import reports, reporttable
    from vminterface.dom0.targets import Targets

    with Targets() as targets:
        found = reports.read(targets, None if options.vm is None else [options.vm])
    data = {vm: reports.as_data(report) for vm, report in found.items()}
    if options.json:
        print(json.dumps(data, indent=2, sort_keys=True))
    else:
        print(reporttable.render(data, shutil.get_terminal_size().columns), end="")
    # Of the others everything is shown; but it is not all that was asked for.
    return FAILED if any(report.unread for report in found.values()) else DONE
