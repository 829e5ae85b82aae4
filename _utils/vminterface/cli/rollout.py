"""The command ``vminterface rollout``: push to a few VMs first, then in waves; stop and give back where one fails."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

from vminterface.cli.errors import WrongCall

DONE, FAILED = 0, 1
#: Where nothing else is asked for, the sizes of waves.
WAVES = "25%"

Command = Callable[[str, Any, str], argparse.ArgumentParser]


def add(command: Command) -> None:
    """Add the command to those of the command line."""
    rollout = command(
        "rollout",
        _rollout,
        "Push the pillar in waves, a canary group first; stop where a VM refuses, and give its wave back what it had.",
    )
    rollout.add_argument("name", metavar="NAME", help="of this rollout, by which it is resumed or taken back")
    rollout.add_argument("vms", nargs="*", metavar="VM", help="only these (default: every VM of the pillar)")
    rollout.add_argument(
        "--pillar", required=True, metavar="FILE", help="YAML or JSON with qubes:vms; - reads standard input"
    )
    rollout.add_argument("--canary", default="", metavar="VM,...", help="VMs of the first wave (default: none)")
    sizes = f"sizes of the next waves, such as 5,{WAVES} (default: {WAVES})".replace("%", "%%")
    rollout.add_argument("--waves", default=WAVES, metavar="SIZE,...", help=sizes)
    rollout.add_argument("--failures", type=int, default=1, metavar="N", help="stop at so many (default: 1)")
    rollout.add_argument("--resume", action="store_true", help="go on with one that was killed or has stopped")
    rollout.add_argument("--restore", action="store_true", help="give all of its VMs back what they had before it")


def _rollout(options: argparse.Namespace) -> int:
    from vminterface.cli.push import chosen
    from vminterface.dom0.fleet import lines, vmrollout, waves

    if options.resume and options.restore:
        raise WrongCall("--resume: expected without --restore")
    if options.failures < 1:
        raise WrongCall(f"--failures: expected a number from 1, got {options.failures}")
    settings = chosen(options)
    if options.restore:
        data = vmrollout.restore(options.name, settings)
    elif options.resume:
        data = vmrollout.resume(options.name, settings, failures=options.failures)
    else:
        canary = [vm for vm in options.canary.split(",") if vm]
        sizes = waves.sizes_of(options.waves)
        data = vmrollout.begin(options.name, settings, canary=canary, sizes=sizes, failures=options.failures)
    print(json.dumps(data, indent=2, sort_keys=True) if options.json else lines.render(data).rstrip())
    return DONE if vmrollout.succeeded(data) else FAILED
