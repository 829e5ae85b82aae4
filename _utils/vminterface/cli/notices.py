"""The command ``vminterface notices``: notices of VMs to dom0, by service calls, on hosts without qubesd."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable
from typing import Any

from vminterface.cli.errors import WrongCall

DONE, DRIFT = 0, 3

Command = Callable[[str, Any, str], argparse.ArgumentParser]


def add(command: Command) -> None:
    """Add the command to those of the command line."""
    notices = command(
        "notices",
        _notices,
        "Run in a dom0 without qubesd: print the notices of VMs, or install the services that receive them.",
    )
    notices.add_argument(
        "action",
        choices=("show", "install", "check", "remove", "answer"),
        help="check: exit status 3 if not installed; answer: what the installed programs run",
    )
    notices.add_argument("name", nargs="?", metavar="VM|SERVICE", help="of show the VM, of answer the service")


def _notices(options: argparse.Namespace) -> int:
    if options.action == "show":
        return _print_notices(options)
    if options.action == "answer":
        from vminterface.dom0.notices import services

        if options.name is None:
            raise WrongCall("answer: needs the name of a service")
        services.reply(options.name, os.environ, 0)
        return DONE
    from vminterface.dom0.notices import install

    test = options.action == "check"
    changes = install.remove() if options.action == "remove" else install.install(_program(), test=test)
    todo = {name: what for name, what in changes.items() if what != install.LEFT}
    if test:
        changes |= {name: f"would be {what}" for name, what in todo.items()}
    _print(options, changes, [f"{name}: {what}" for name, what in changes.items()] or ["up to date"])
    return DRIFT if test and todo else DONE


def _program() -> str:
    """Return the path of this command, which has to be one that qrexec can run. Raises ProgramMissing."""
    from vminterface.errors import ProgramMissing

    own = os.path.abspath(sys.argv[0])
    if found := shutil.which("vminterface") or (own if os.access(own, os.X_OK) else None):
        return os.path.abspath(found)
    raise ProgramMissing(
        "the command vminterface, which qrexec runs, is not on the PATH"
        " (expected the state vminterface.library to be applied)"
    )


def _print_notices(options: argparse.Namespace) -> int:
    from vminterface.dom0.notices import record

    names = record.vms() if options.name is None else [options.name]
    data = {vm: record.as_data(record.read(vm)) for vm in names}
    lines = []
    for vm, one in data.items():
        if one["updates"] is not None:
            lines.append(f"{vm}: updates: {'yes' if one['updates'] else 'no'} ({one['updates_at']})")
        lines += [f"{vm}: {name}: {value}" for name, value in sorted(one["features"].items())]
    _print(
        options, data, lines or [f"{options.name} has sent no notices" if options.name else "no VM has sent notices"]
    )
    return DONE


def _print(options: argparse.Namespace, data: Any, lines: list[str]) -> None:
    print(json.dumps(data, indent=2, sort_keys=True) if options.json else "\n".join(lines))
