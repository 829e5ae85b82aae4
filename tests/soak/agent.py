"""The agent of a soak's VM: the product's own, with a record of what the VM had after each thing that it applied.

One line of JSON each, in the VM's TRACE: ``{"at": seconds (monotonic, the same clock as dom0's), "effect": {…}}``. The
effect is read from the VM's files, not from what the agent says. It is there before the agent acknowledges, so who
says "set" to an admin can be held against it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any

from vminterface.vm.agent.agent import run
from vminterface.vm.apply import keyboard, services, timezone

TRACE = "/var/log/soak-trace"
#: The modules whose ``apply`` is recorded, each of one setting.
RECORDED = (timezone, services, keyboard)


def effect(root: str = "/") -> dict[str, Any]:
    """Return what the VM below *root* has: ``timezone``, ``services`` (those that are on), ``keyboard``."""
    base = Path(root)
    try:
        zone = os.readlink(base / "etc/localtime").partition("zoneinfo/")[2]
    except OSError:
        zone = ""
    try:
        on = sorted(os.listdir(base / "run/qubes-service"))
    except OSError:
        on = []
    try:
        layout = (base / "run/vminterface/keyboard").read_text()
    except OSError:
        layout = ""
    return {"timezone": zone, "services": on, "keyboard": layout}


def record(root: str = "/") -> None:
    """Add a line to the trace of the VM below *root*."""
    line = json.dumps({"at": time.monotonic(), "effect": effect(root)}) + "\n"
    with open(Path(root, TRACE.lstrip("/")), "a", encoding="ascii") as file:
        file.write(line)


def recorded(apply: Callable[..., str]) -> Callable[..., str]:
    """Return *apply*, after which a line is added however it ends."""

    @wraps(apply)
    def do(inputs: Mapping[str, str], *arguments: Any, **options: Any) -> str:
        try:
            return apply(inputs, *arguments, **options)
        finally:
            record()

    return do


def main() -> int:
    """Be the agent until it is told to end; return the exit status."""
    for module in RECORDED:
        setattr(module, "apply", recorded(module.apply))  # noqa: B010 - mypy knows functions of modules as constants
    record()
    return run()


if __name__ == "__main__":
    raise SystemExit(main())
