"""The command ``vminterface check``: whether files are pillars that a push would accept, without access to a host."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

from vminterface.cli.errors import WrongCall, print_error
from vminterface.cli.pillar import load
from vminterface.cli.terminal import Style
from vminterface.errors import InvalidValue

DONE, FAILED = 0, 1

Command = Callable[[str, Any, str], argparse.ArgumentParser]


def add(command: Command) -> None:
    """Add the command to those of the command line."""
    check = command("check", _check, "Check pillar files without a host, as for CI. Exit status 1 if one is refused.")
    check.add_argument("files", nargs="*", metavar="FILE", help="YAML or JSON with qubes:vms; - reads standard input")
    check.add_argument("--pillar", action="append", default=[], metavar="FILE", help="the same, as for diff and push")


def _check(options: argparse.Namespace) -> int:
    files = [*options.pillar, *options.files]
    if not files:
        raise WrongCall("check: needs a FILE, or --pillar FILE")
    data = {file: _of(file) for file in files}
    if options.json:
        print(json.dumps(data, indent=2, sort_keys=True))
        return DONE if all(one["ok"] for one in data.values()) else FAILED
    style = Style(sys.stdout)
    for file, one in data.items():
        if one["ok"]:
            print(f"{file}: {len(one['vms'])} VM{'' if len(one['vms']) == 1 else 's'}: {style.green('valid')}")
        for note in one["notes"]:
            print(f"  {note}")
        for error in one["errors"]:
            print_error(error, as_json=False)
    return DONE if all(one["ok"] for one in data.values()) else FAILED


def _of(file: str) -> dict[str, Any]:
    """Return the findings about *file*: ``ok``, the names of its ``vms``, its ``errors`` and ``notes``."""
    from vminterface.dom0.desired import hints
    from vminterface.dom0.desired.settings import parse_pillar

    try:
        settings = parse_pillar(load(file), source=file)
    except InvalidValue as error:
        errors = [f"{file}: {one.where}: {one}" if one.where else str(one) for one in error.errors]
        return {"ok": False, "vms": [], "errors": errors, "notes": []}
    notes = [f"{one.vm}: {note}" for one in settings for note in hints.of(one)]
    return {"ok": True, "vms": [one.vm for one in settings], "errors": [], "notes": notes}
