"""The commands that call services in VMs: ``vminterface call`` and ``vminterface monitors``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

from vminterface.cli import inputs
from vminterface.cli.errors import WrongCall, print_error
from vminterface.cli.pillar import load
from vminterface.errors import InvalidValue

DONE, FAILED = 0, 1
#: Bytes of input that are read for a service.
_INPUT_LIMIT = 1 << 26

Command = Callable[[str, Any, str], argparse.ArgumentParser]


def add(command: Command) -> None:
    """Add the commands to those of the command line."""
    call = command("call", _call, "Call a Qubes RPC service in a VM and print its reply.")
    call.add_argument("vm", metavar="VM")
    call.add_argument("service", metavar="SERVICE[+ARG]", help="such as qubes.GetDate+nanoseconds")
    call.add_argument("--user", metavar="NAME", help="who runs it in the VM (default: the VM's default user)")
    call.add_argument("--stdin", action="store_true", help="send standard input to it")
    call.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS", help="for the whole call (default: 60)")
    monitors = command("monitors", _monitors, "Draw the monitors of dom0, or those that a VM's X server shows.")
    monitors.add_argument("vm", nargs="?", metavar="VM")
    monitors.add_argument(
        "--pillar", metavar="FILE", help="draw the VM's monitors of this pillar; - reads standard input"
    )


def _call(options: argparse.Namespace) -> int:
    from vminterface.channel.qrexec.client import Qrexec
    from vminterface.dom0.results import servicelist

    data = b""
    if options.stdin:
        try:
            data = inputs.standard_input(_INPUT_LIMIT + 1)
        except OSError as error:
            raise InvalidValue(f"standard input cannot be read: {error.strerror or error}") from None
        if len(data) > _INPUT_LIMIT:
            raise InvalidValue(f"standard input is too long (expected at most {_INPUT_LIMIT} bytes)")
    reply = servicelist.call(
        Qrexec(), options.vm, options.service, user=options.user, stdin=data, timeout=options.timeout
    )
    if options.json:
        print(json.dumps(reply, indent=2, sort_keys=True))
    else:
        for text, stream in ((reply["stdout"], sys.stdout), (reply["stderr"], sys.stderr)):
            if text:
                print(text, file=stream)
        if reply["status"]:
            text = f"{options.service} in {options.vm}: exit status {reply['status']}"
            print_error(text, as_json=False)
    return FAILED if reply["status"] else DONE


def _monitors(options: argparse.Namespace) -> int:
    from vminterface.dom0.services import monitors

    layout = _layout(options)
    data = monitors.as_mappings(layout)
    sketch = "" if layout is None else layout.sketch()
    print(json.dumps(data, indent=2) if options.json else f"{sketch}{monitors.shown(layout)}")
    return DONE


def _layout(options: argparse.Namespace) -> Any:
    from vminterface.channel.qrexec.client import Qrexec
    from vminterface.dom0.desired.settings import parse_pillar
    from vminterface.dom0.ensure.display import layout_of
    from vminterface.dom0.services import monitors

    if options.pillar is None:
        return monitors.of_dom0() if options.vm is None else monitors.of_vm(Qrexec(), options.vm).layout
    if options.vm is None:
        raise WrongCall("--pillar: needs the name of a VM")
    (settings,) = parse_pillar(load(options.pillar), vm=options.vm, source=options.pillar)
    if settings.monitors is None:
        raise InvalidValue(f"{options.pillar}: qubes:vms:{options.vm}:monitors is missing")
    return layout_of(settings.monitors)
