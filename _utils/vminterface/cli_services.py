"""The command ``vminterface services``: the services that Qubes has, what each does, and what a VM has of them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from typing import Any

DONE = 0
#: The kinds of VM that the table names, in its order.
_KINDS = ("TemplateVM", "AppVM", "ProxyVM", "NetVM")

Command = Callable[[str, Any, str], argparse.ArgumentParser]


def add(command: Command) -> None:
    """Add the command to those of the command line."""
    services = command("services", _services, "List the services that Qubes has and what each does.")
    services.add_argument("vm", nargs="?", metavar="VM", help="show what this running VM has of them, and its own ones")


def _services(options: argparse.Namespace) -> int:
    from vminterface.errors import printable
    from vminterface.values.servicecatalogue import KNOWN

    held = {} if options.vm is None else _held(options.vm)
    data: dict[str, dict[str, Any]] = {
        name: {"does": known.does, "on_in": [kind.value for kind in known.on_in if kind.value in _KINDS]}
        for name, known in KNOWN.items()
    }
    for name in held:
        data.setdefault(name, {"does": "", "on_in": []})
    for name, one in data.items():
        one["on_in"].sort(key=_KINDS.index)
        if options.vm is not None:
            one["state"] = held.get(name, "default")
    if options.json:
        print(json.dumps(data, indent=2, sort_keys=True))
        return DONE
    width = max(map(len, data))
    for name, one in sorted(data.items()):
        state = f"{one['state']:<8}" if options.vm is not None else ""
        kinds = {0: "", len(_KINDS): "on in every VM"}.get(len(one["on_in"]), f"on in {', '.join(one['on_in'])}")
        does = "; ".join(filter(None, (one["does"], kinds)))
        print(printable(f"{name:<{width}}  {state}{does}", 200).rstrip())
    return DONE


def _held(vm: str) -> Mapping[str, str]:
    """Return the state of each service that dom0 names to *vm*. Raises as :meth:`Targets.one` and the store."""
    from vminterface.dom0 import returns, state
    from vminterface.dom0.targets import Targets

    with Targets() as targets:
        states, faults = state.read_all([targets.one(vm)])
    if faults:
        raise faults[vm]
    texts = {f: text for f, text in states[vm].texts.items() if f.startswith("services:")}
    return {field.partition(":")[2]: text for field, text in returns.fields(texts).items()}
