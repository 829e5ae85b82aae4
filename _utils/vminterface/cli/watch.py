"""The command ``vminterface watch``: apply the pillar to every VM at each of its starts."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import Any

from vminterface.cli.errors import WrongCall
from vminterface.cli.pillar import load
from vminterface.errors import printable

DONE = 0

Command = Callable[[str, Any, str], argparse.ArgumentParser]


def add(command: Command) -> None:
    """Add the command to those of the command line."""
    watch = command(
        "watch",
        _watch,
        "Push a VM's settings when it starts, its monitors once its user's session is up, and all VMs' when the pillar "
        "changes; with a DISPLAY, send dom0's monitors, when they change, to VMs with from_dom0.",
    )
    watch.add_argument("--pillar", required=True, metavar="FILE", help="YAML or JSON with qubes:vms")


def _watch(options: argparse.Namespace) -> int:
    from vminterface.dom0.desired.settings import parse_pillar
    from vminterface.dom0.inventory.targets import Targets
    from vminterface.dom0.push.watch import ending
    from vminterface.dom0.push.watch.watcher import PillarFile, Watcher

    if options.pillar == "-":
        raise WrongCall("--pillar: standard input cannot be read again (expected a file)")
    pillar = PillarFile(options.pillar, lambda: parse_pillar(load(options.pillar), source=options.pillar))
    if not ending.run(Watcher(pillar, Targets, _to_stderr).run):
        # Python itself would wait for threads that wait for stores.
        os._exit(DONE)
    return DONE


def _to_stderr(line: str) -> None:
    print(f"vminterface watch: {printable(line, 1000)}", file=sys.stderr, flush=True)
