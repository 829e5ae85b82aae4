"""The command ``vminterface owner``: what this VM's owner accepts of dom0, and whether a file of it is valid."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from typing import Any

DONE = 0

Command = Callable[[str, Any, str], argparse.ArgumentParser]


def add(command: Command) -> None:
    """Add the command to those of the command line."""
    owner = command("owner", _owner, "Run in a VM: show which settings and service calls its owner accepts.")
    owner.add_argument("--check", metavar="FILE", help="check this file instead: exit status 1 if it is not valid")
    owner.add_argument("--root", default="/", metavar="DIR", help="where this VM's files are (default: /)")


def _owner(options: argparse.Namespace) -> int:
    from vminterface.errors import VMInterfaceError, printable
    from vminterface.values.acceptance import ACCEPT
    from vminterface.vm.handlers.runtime.install import foreign
    from vminterface.vm.handlers.runtime.owner import SETTINGS, Owner, read
    from vminterface.vm.handlers.runtime.table import SERVICES
    from vminterface.vm.machine.machine import Machine

    machine = Machine(options.root)
    if options.check is not None:
        # Another root has its own paths; here a file is also found from the folder that its author is in.
        path = os.path.abspath(options.check) if options.root == "/" else options.check
        if not machine.exists(path):
            raise VMInterfaceError(f"{printable(options.check)}: the file does not exist")
        rules = read(machine, path)
        data: dict[str, Any] = {name: rule.word for name, rule in rules.items()}
        lines = [f"{options.check}: valid"]
    else:
        owner = Owner(machine)
        if owner.error:
            raise VMInterfaceError(owner.setting(SETTINGS[0]).reason)
        settings = {name: owner.setting(name) for name in SETTINGS}
        handlers = {name: owner.service(name) for name in SERVICES}
        # A handler of Qubes' own packages knows nothing of these files.
        unheeded = {
            name: path
            for name, one in handlers.items()
            if one.word != ACCEPT and (path := foreign(machine, name)) is not None
        }
        data = {
            "settings": {name: one.word for name, one in settings.items()},
            "handlers": {name: one.word for name, one in handlers.items()},
            "unheeded": unheeded,
        }
        lines = []
        for name, one in (settings | handlers).items():
            but = (
                f"; {unheeded[name]} is still served, because it does not belong to vminterface"
                if name in unheeded
                else ""
            )
            lines.append(f"{name}: {one.word}{one.reason and f': {one.reason}'}{but}")
    print(json.dumps(data, indent=2, sort_keys=True) if options.json else "\n".join(lines))
    return DONE
