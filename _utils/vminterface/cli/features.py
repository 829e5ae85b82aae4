"""The command ``vminterface features``: the features that Qubes has, what each does, and what qubesd has of a VM's."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from typing import Any

DONE = 0

Command = Callable[[str, Any, str], argparse.ArgumentParser]


def add(command: Command) -> None:
    """Add the command to those of the command line."""
    features = command("features", _features, "List the features that VMs have on Qubes R4 and their meaning.")
    features.add_argument(
        "vm", nargs="?", metavar="VM", help="print the values that qubesd has for this VM, and its other features"
    )


def _features(options: argparse.Namespace) -> int:
    from vminterface.errors import printable
    from vminterface.values import featurecatalogue

    held = {} if options.vm is None else _held(options.vm)
    data = featurecatalogue.as_data()
    for name, text in held.items():
        data.setdefault(name, dict(data[family] if (family := featurecatalogue.entry_of(name)) else _unknown()))
        data[name]["text"] = text
    if options.json:
        print(json.dumps(data, indent=2, sort_keys=True))
        return DONE
    shown = data if options.vm is None else {name: data[name] for name in held}
    width = max(map(len, shown), default=0)
    for name, one in sorted(shown.items()):
        text = "" if options.vm is None else f"'{printable(one['text'], 40)}'  "
        value = f"{one['value']}; " if options.vm is None and one["value"] else ""
        print(printable(f"{name:<{width}}  {text}{value}{one['does']}", 200).rstrip())
    return DONE


def _held(vm: str) -> Mapping[str, str]:
    """Return the text of each feature that qubesd has of *vm* itself. Raises as AdminAPI does."""
    from vminterface.channel.adminapi import AdminAPI
    from vminterface.dom0.inventory import vmnames
    from vminterface.values.vmname import VMName, refuse_dom0

    refuse_dom0(vm)
    VMName.parse(vm)
    api = AdminAPI.open()
    with vmnames.explained(vm):
        held = {name: api.feature(vm, name) for name in api.features(vm)}
    return {name: text for name, text in held.items() if text is not None}


def _unknown() -> dict[str, str]:
    return {"does": "", "value": "", "takes_effect": "", "set_by": ""}
