"""The command ``vminterface export``: what VMs have now, as the pillar of a machine that has none yet."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

from vminterface.cli.errors import print_error

DONE, FAILED = 0, 1

Command = Callable[[str, Any, str], argparse.ArgumentParser]


def add(command: Command) -> None:
    """Add the command to those of the command line."""
    export = command(
        "export", _export, "Print the current settings of VMs as a pillar; pushing it back changes nothing."
    )
    export.add_argument("vms", nargs="*", metavar="VM", help="only these (default: all that run or that qubesd knows)")


def _export(options: argparse.Namespace) -> int:
    from vminterface.dom0.export import render
    from vminterface.dom0.export.export import export
    from vminterface.dom0.inventory.targets import Targets

    with Targets() as targets:
        exports = export(targets, options.vms, note=options.progress.note)
    if options.json:
        print(json.dumps(render.as_data(exports), indent=2, sort_keys=True))
    else:
        print(render.as_yaml(exports), end="")
    errors = [one.error for one in exports if one.error and not one.expected]
    for error in () if options.json else errors:
        print_error(error, as_json=False)
    return FAILED if errors else DONE
