"""The command ``vminterface get``: what the store holds of VMs."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from vminterface.cli.errors import print_error
from vminterface.cli.output import print_data

DONE, FAILED = 0, 1

Command = Callable[[str, Any, str], argparse.ArgumentParser]


def add(command: Command) -> None:
    """Add the command to those of the command line."""
    get = command("get", _get, "Print the settings of a VM, or of all running VMs, as their key store holds them.")
    get.add_argument("vm", nargs="?", metavar="VM")
    get.add_argument("fields", nargs="*", metavar="FIELD", help="such as timezone, network, network:dns, monitors")


def _get(options: argparse.Namespace) -> int:
    from vminterface.dom0.desired import words
    from vminterface.dom0.inventory import observed
    from vminterface.dom0.inventory.targets import Targets
    from vminterface.dom0.results import inwords, shown
    from vminterface.errors import KeyNotFound

    with Targets() as targets:
        if options.vm is None:
            states, errors = observed.observe(targets, targets.running())
        else:
            states, errors = observed.read_all([targets.one(options.vm)])
    if options.vm in errors:
        raise errors[options.vm]
    if options.vm is None:
        data = {vm: inwords.held(one, keys=options.keys) for vm, one in sorted(states.items())}
    else:
        data = {options.vm: shown.of_vm(states[options.vm], options.fields, keys=options.keys)}
    if missing := [one for one in options.fields if not any(shown.is_of(f, [one]) for f in data[options.vm])]:
        raise KeyNotFound(f"{options.vm}: has no key for {', '.join(missing)}")
    lines = [f"{vm}: {f}: {words.line(one)}" for vm, own in data.items() for f, one in own.items()]
    print_data(options, data | {vm: {"error": str(error)} for vm, error in errors.items()}, lines)
    for error in () if options.json else errors.values():
        print_error(str(error), as_json=False)
    return FAILED if errors else DONE
