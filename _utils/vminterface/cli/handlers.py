"""The command ``vminterface handlers``: install this VM's service handlers for qrexec, or remove them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

from vminterface.cli.errors import WrongCall

DONE, DRIFT = 0, 3

Command = Callable[[str, Any, str], argparse.ArgumentParser]


def add(command: Command) -> None:
    """Add the command to those of the command line."""
    handlers = command(
        "handlers", _handlers, "Run in a VM: install the handlers of Qubes RPC services, or remove them."
    )
    handlers.add_argument(
        "action", choices=("install", "check", "remove"), help="check: exit status 3 if not installed"
    )
    # Of a command that fails, Salt's `stateful` shows the comment alone.
    handlers.set_defaults(with_error=lambda text: {"changed": False, "comment": text})
    handlers.add_argument(
        "--replace", action="store_true", help="also replace a handler that the VM already has (it is preserved)"
    )
    handlers.add_argument(
        "--removed", action="store_true", help="check: exit status 3 if any handler of vminterface is installed"
    )


def _handlers(options: argparse.Namespace) -> int:
    """JSON here has the form that Salt's ``cmd.run`` takes with ``stateful``."""
    from vminterface.vm.handlers.runtime import install
    from vminterface.vm.machine.machine import Machine

    machine, test = Machine(), options.action == "check"
    if options.removed and not test:
        raise WrongCall("--removed is only valid with check")
    if options.action == "remove" or options.removed:
        done = install.remove(machine, test=test)
    else:
        done = install.install(machine, python=sys.executable, replace=options.replace, test=test)
    if options.json:
        print(json.dumps({"changed": bool(done.changes), "comment": done.comment(test=test), **done.changes}))
    else:
        print("\n".join([done.comment(test=test), *(f"  {name}: {what}" for name, what in done.changes.items())]))
    return DRIFT if test and done.changes else DONE
