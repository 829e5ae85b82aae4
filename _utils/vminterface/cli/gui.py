"""The command ``vminterface gui``: the greeting of a VM's GUI agent, as dom0 sends it when it connects."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

from vminterface.cli.errors import WrongCall
from vminterface.cli.pillar import load

DONE = 0

Command = Callable[[str, Any, str], argparse.ArgumentParser]


def add(command: Command) -> None:
    """Add the command to those of the command line."""
    gui = command("gui", _gui, "Greet a VM's GUI agent: keyboard, protocol version, the size of the whole screen.")
    gui.add_argument("action", choices=("greet",), help="connect, greet, and disconnect")
    gui.add_argument("vm", metavar="VM")
    gui.add_argument("--screen", metavar="WIDTHxHEIGHT", help="of the whole screen (default: of dom0's monitors)")
    gui.add_argument(
        "--pillar", metavar="FILE", help="use the screen of the VM's monitors in this pillar; - reads standard input"
    )
    gui.add_argument("--keyboard", metavar="LAYOUT", help="send this layout first, such as pl+dvorak")
    gui.add_argument("--socket", metavar="PATH", help="the agent's socket (default: the stand-in of its vchan)")
    gui.add_argument("--timeout", type=float, default=10.0, metavar="SECONDS", help="for all of it (default: 10)")


def _gui(options: argparse.Namespace) -> int:
    from vminterface.dom0.results import gui

    if options.screen is not None and options.pillar is not None:
        raise WrongCall("--screen and --pillar cannot be used together (expected one of them)")
    told = gui.greet(
        options.vm,
        monitors=_monitors(options),
        screen=options.screen,
        keyboard=options.keyboard,
        socket=options.socket,
        timeout=options.timeout,
    )
    if options.json:
        print(json.dumps(told, indent=2, sort_keys=True))
    else:
        print(
            f"{options.vm}: GUI protocol {told['version']}, a screen of {told['width']} x {told['height']} pixels,"
            f" {told['depth']} bits"
        )
    return DONE


def _monitors(options: argparse.Namespace) -> Any:
    """Return the VM's monitors as the pillar has them, None where no pillar is given."""
    if options.pillar is None:
        return None
    from vminterface.dom0.desired.settings import parse_pillar
    from vminterface.dom0.ensure.display import layout_of
    from vminterface.dom0.services.monitors import as_mappings
    from vminterface.errors import InvalidValue

    (settings,) = parse_pillar(load(options.pillar), vm=options.vm, source=options.pillar)
    if settings.monitors is None:
        raise InvalidValue(f"{options.pillar}: qubes:vms:{options.vm}:monitors is missing")
    return as_mappings(layout_of(settings.monitors))
