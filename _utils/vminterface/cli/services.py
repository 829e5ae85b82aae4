"""The command ``vminterface services``: the services that Qubes has, what each does, and what VMs have of them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from vminterface.cli.errors import print_error
from vminterface.errors import ConnectionLost, PermissionDenied, VMInterfaceError, VMNotRunning, VMStarting, printable

DONE, FAILED = 0, 1
#: The kinds of VM that the table names, in its order.
_KINDS = ("TemplateVM", "AppVM", "ProxyVM", "NetVM")
#: Characters of a service's and of a VM's name.
_SERVICE, _NAME = 255, 31
#: Characters that the column of services has at most: a longer name pushes its own line's states aside, no others.
_COLUMN = 48

#: What VMs have of services that is not their own default, by VM and name: ``on`` or ``off``.
States = Mapping[str, Mapping[str, str]]
Command = Callable[[str, Any, str], argparse.ArgumentParser]


def add(command: Command) -> None:
    """Add the command to those of the command line."""
    services = command("services", _services, "List the services of Qubes, their meaning, and their state in VMs.")
    services.add_argument(
        "vm", nargs="?", metavar="VM", help="print the state of each in this VM, and its other services"
    )


def _services(options: argparse.Namespace) -> int:
    from vminterface.values.servicecatalogue import KNOWN

    states: States
    errors: list[VMInterfaceError] = []
    if options.vm is not None:
        states = {options.vm: _of_one(options.vm)}
    else:
        states, errors = _of_all()
    data: dict[str, dict[str, Any]] = {
        name: {"does": known.does, "on_in": [kind for kind in _KINDS if kind in {one.value for one in known.on_in}]}
        for name, known in KNOWN.items()
    }
    for name in sorted({name for held in states.values() for name in held}):
        data.setdefault(name, {"does": "", "on_in": []})
    for name, one in data.items():
        if options.vm is not None:
            one["state"] = states[options.vm].get(name, "default")
        else:
            one["states"] = {vm: held.get(name, "default") for vm, held in states.items()}
    if options.json:
        print(json.dumps(data, indent=2, sort_keys=True))
    else:
        import shutil

        for line in _table(data, states, shutil.get_terminal_size().columns):
            print(line)
    for error in errors:
        print_error(str(error), as_json=False)
    return FAILED if errors else DONE


def _table(data: Mapping[str, Mapping[str, Any]], states: States, columns: int) -> Iterator[str]:
    """Yield the lines: a service each, with a column for each VM, as many at a time as fit beside each other.

    What a service does stands behind the last of them.
    """
    widths = [length for name in data if (length := len(printable(name, _SERVICE))) <= _COLUMN]
    width = max(len("SERVICE") if states else 0, *widths)
    shown = {vm: printable(vm, _NAME) for vm in states}
    parts: list[list[str]] = [[]]
    for vm in shown:
        if parts[-1] and width + sum(2 + _wide(shown[one]) for one in (*parts[-1], vm)) > columns:
            parts.append([])
        parts[-1].append(vm)
    for part in parts:
        if part is not parts[0]:
            yield ""
        if part:
            yield "  ".join([f"{'SERVICE':<{width}}", *(f"{shown[vm]:<{_wide(shown[vm])}}" for vm in part)]).rstrip()
        for name, one in sorted(data.items()):
            cells = [f"{states[vm].get(name, 'default'):<{_wide(shown[vm])}}" for vm in part]
            does = [_does(one)] if part is parts[-1] else []
            yield "  ".join([f"{printable(name, _SERVICE):<{width}}", *cells, *does]).rstrip()


def _wide(name: str) -> int:
    return max(len(name), len("default"))


def _does(service: Mapping[str, Any]) -> str:
    """Return what a service does, and where it is on by itself."""
    kinds = {0: "", len(_KINDS): "on in every VM"}.get(len(service["on_in"]), f"on in {', '.join(service['on_in'])}")
    return "; ".join(filter(None, (service["does"], kinds)))


def _of_one(vm: str) -> Mapping[str, str]:
    """Return the state of each service that dom0 names to *vm*, or that qubesd keeps for it where it does not run.

    Raises as :meth:`Targets.one`, the store and qubesd.
    """
    from vminterface.channel import adminapi
    from vminterface.dom0.inventory import observed as state
    from vminterface.dom0.inventory.targets import Targets
    from vminterface.dom0.results import inwords, known

    with Targets() as targets:
        try:
            target = targets.one(vm)
        except VMNotRunning as error:
            if isinstance(error, VMStarting) or not adminapi.available():
                raise
            return _persistent(known.read(targets, only=vm)[0][vm]["features"])
        states, errors = state.read_all([target])
    if errors:
        raise errors[vm]
    return _named(inwords.held(states[vm]))


def _of_all() -> tuple[States, list[VMInterfaceError]]:
    """Return what all VMs have, those that do not run as qubesd keeps it, and why some are missing.

    On a machine that is no dom0 there are none. Raises the errors of qubesd and of the XenStore.
    """
    from vminterface.dom0.inventory.targets import Targets
    from vminterface.dom0.results import known

    if not _has_store():
        return {}, []
    try:
        with Targets() as targets:
            found, errors = known.read(targets)
    except PermissionDenied:
        return {}, []  # a VM sees no other
    states = {vm: _named(one["keys"]) if one["running"] else _persistent(one["features"]) for vm, one in found.items()}
    return states, [*errors.values()]


def _has_store() -> bool:
    """Whether there is anything here that knows VMs, be it that it does not reply."""
    from vminterface.channel import adminapi
    from vminterface.channel.qubesdb.places import in_use
    from vminterface.channel.xenstore.transport import find_place

    try:
        find_place()
    except ConnectionLost:
        return in_use() or adminapi.available()
    return True


def _named(fields: Mapping[str, str]) -> dict[str, str]:
    return {field.partition(":")[2]: text for field, text in fields.items() if field.startswith("services:")}


def _persistent(features: Mapping[str, str]) -> dict[str, str]:
    prefix = "service."
    persistent = {name.removeprefix(prefix): text for name, text in features.items() if name.startswith(prefix)}
    if "check-updates" in features:
        # It decides at the VM's next start.
        persistent["qubes-update-check"] = features["check-updates"]
    return {name: "on" if text else "off" for name, text in persistent.items()}
