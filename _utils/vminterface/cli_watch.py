"""The command ``vminterface watch``: keep every VM as the pillar says, however often it is started."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from vminterface.cli_errors import WrongCall
from vminterface.cli_pillar import load
from vminterface.errors import printable

DONE = 0

Command = Callable[[str, Any, str], argparse.ArgumentParser]


def add(command: Command) -> None:
    """Add the command to those of the command line."""
    watch = command(
        "watch", _watch, "Push a VM's settings, but no monitors, when it starts, and all VMs' when the pillar changes."
    )
    watch.add_argument("--pillar", required=True, metavar="FILE", help="YAML or JSON with qubes:vms")


def _watch(options: argparse.Namespace) -> int:
    from vminterface.dom0.settings import parse_pillar
    from vminterface.dom0.targets import Targets
    from vminterface.dom0.watch import PillarFile, Watcher

    if options.pillar == "-":
        raise WrongCall("--pillar: expected a file, which is read again when it changes")
    pillar = PillarFile(options.pillar, lambda: parse_pillar(load(options.pillar), source=options.pillar))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda *_: stop.set())
    Watcher(pillar, Targets, _to_stderr).run(stop)
    return DONE


def _to_stderr(line: str) -> None:
    print(f"vminterface watch: {printable(line, 1000)}", file=sys.stderr, flush=True)
