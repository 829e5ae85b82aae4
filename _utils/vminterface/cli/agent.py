"""The command ``vminterface agent``: the agent of a VM, and whether one works there."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

DONE, FAILED = 0, 1
#: Seconds that the agent has to reply to a check; it may have just been started, and be applying what dom0 says.
CHECK_SECONDS = 30.0

Command = Callable[[str, Any, str], argparse.ArgumentParser]


def add(command: Command) -> None:
    """Add the command to those of the command line."""
    agent = command("agent", _agent, "Run in a VM: watch the settings from dom0, apply and acknowledge them.")
    agent.add_argument("--root", default="/", metavar="DIR", help="where this VM's files are (default: /)")
    agent.add_argument(
        "--live-services", action="store_true", help="start or stop the systemd unit that has a service's name"
    )
    agent.add_argument(
        "--check",
        action="store_true",
        help="only check the running agent: exit status 1 if it does not reply or cannot reach its store",
    )
    agent.add_argument(
        "--timeout",
        type=float,
        default=CHECK_SECONDS,
        metavar="SECONDS",
        help=f"how long the check waits (default: {CHECK_SECONDS:g})",
    )
    agent.add_argument("--json", action="store_true", help="print JSON for programs, with --check")


def _agent(options: argparse.Namespace) -> int:
    if options.check:
        return _check(options)
    from vminterface.vm.agent import agent

    return agent.run(root=options.root, live_services=options.live_services)


def _check(options: argparse.Namespace) -> int:
    from vminterface.deadline import Deadline
    from vminterface.errors import DeadlineExceeded
    from vminterface.vm.agent import presence
    from vminterface.vm.machine.machine import Machine

    try:
        version = presence.version(Machine(options.root), Deadline.after(options.timeout))
    except DeadlineExceeded as error:
        if not options.json:
            raise
        # As Salt's stateful commands have to print it, in failure too.
        print(json.dumps({"changed": False, "comment": str(error)}))
        return FAILED
    comment = f"agent {version} replies, and has its store"
    print(json.dumps({"changed": False, "comment": comment, "version": version}) if options.json else comment)
    return DONE
