"""Services: one empty file a service that is on, ``/run/qubes-service/NAME``, which units and scripts check.

A service that dom0 does not name follows the default of the VM's type (Qubes core-agent's ``qubes-sysinit.sh``).
Where that program has made the folder already, its choices stand: only what dom0 named is touched.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from vminterface.errors import InvalidValue, ProgramFailed, VMInterfaceError, printable
from vminterface.values import servicecatalogue
from vminterface.values.service import ServiceName, ServiceState
from vminterface.values.vmtype import VMType
from vminterface.vm.machine.files import Files
from vminterface.vm.machine.machine import Machine
from vminterface.vm.machine.programs import Programs

FOLDER = "/run/qubes-service"
#: What this program has done before: the names that it manages, and whether it made the defaults.
STATE = "/run/vminterface/services.json"
#: Ignored keys that the note names.
_NAMED = 2


def defaults_for(vm_type: VMType | None) -> frozenset[str]:
    """Return the services that are on in a VM of that type when dom0 sets nothing; an unknown type is an AppVM."""
    return servicecatalogue.defaults_for(vm_type or VMType.APP_VM)


def apply(
    inputs: Mapping[str, str], machine: Machine, *, vm_type: VMType | None = None, live_units: bool = False
) -> str:
    """Write the files for ``services:NAME``, and return the resulting state.

    A name or value that does not parse is ignored and is named, escaped, in the result: qubesd writes
    what an admin typed, and the start script leaves such a line out too. With *live_units*, a unit ``NAME.service``
    that exists is started or stopped with its file. Raises VMInterfaceError.
    """
    desired, ignored = _parse(inputs)
    defaults = defaults_for(vm_type)
    managed, made_defaults = _recall(machine)
    if not machine.is_folder(FOLDER):
        made_defaults = True
    after_us = set(desired) | (set(defaults) if made_defaults else set())
    states = {name: name in defaults for name in managed | after_us} | desired
    changes = {name: on for name, on in states.items() if machine.exists(f"{FOLDER}/{name}") != on}
    machine.make_folder(FOLDER)
    done: dict[str, bool] = {}
    try:
        # Written first: if this is cut short, the names that were begun are known the next time.
        _remember(machine, managed | after_us, made_defaults)
        for name, on in sorted(changes.items()):
            done[name] = on
            _set_file(machine, name, on)
        if live_units and machine.is_whole:
            for name, on in sorted(changes.items()):
                _set_unit(machine, name, on)
        _remember(machine, after_us, made_defaults)
    except VMInterfaceError:
        for name, on in done.items():
            _set_file(machine, name, not on)
        _remember(machine, managed, made_defaults)
        raise
    on_now = sorted(name for name, on in desired.items() if on)
    off_now = sorted(set(desired) - set(on_now))
    # What is ignored stands first: a long note is cut.
    said = [f"{word}: {', '.join(names)}" for word, names in (("on", on_now), ("off", off_now)) if names]
    return "; ".join([*ignored, *(said or ["all at the defaults of the VM's type"])])


def _parse(inputs: Mapping[str, str]) -> tuple[dict[str, bool], list[str]]:
    """Return the services that dom0 names, whether each is to be on, and at most one sentence on what is ignored."""
    desired: dict[str, bool] = {}
    odd: list[str] = []
    for field, text in sorted(inputs.items()):
        untrusted_name = field.partition(":")[2]
        shown = f"'{printable(untrusted_name, 48)}'"
        try:
            name = ServiceName.parse(untrusted_name).render()
        except InvalidValue:
            odd.append(f"{shown} (not a valid service name)")
            continue
        try:
            desired[name] = ServiceState.from_key(text) is ServiceState.ON
        except InvalidValue:
            odd.append(f"{shown} (neither 0 nor 1)")
    more = [f"{len(odd) - _NAMED} more"] if len(odd) > _NAMED else []
    return desired, [f"ignored: {', '.join(odd[:_NAMED] + more)}"] if odd else []


def _recall(machine: Files) -> tuple[set[str], bool]:
    """Return the managed names and whether the defaults are ours; nothing where the record is no longer whole."""
    try:
        record = json.loads(machine.read_text(STATE) or "{}")
        return {ServiceName.parse(n).render() for n in record.get("names", [])}, record.get("made_defaults") is True
    except (ValueError, TypeError, AttributeError, RecursionError):
        return set(), False


def _remember(machine: Files, names: set[str], made_defaults: bool) -> None:
    text = json.dumps({"names": sorted(names), "made_defaults": made_defaults}) + "\n"
    if machine.read_text(STATE) != text:
        machine.write_file(STATE, text)


def _set_file(machine: Files, name: str, on: bool) -> None:
    if on:
        machine.touch(f"{FOLDER}/{name}")
    else:
        machine.remove(f"{FOLDER}/{name}")


def _set_unit(machine: Programs, name: str, on: bool) -> None:
    unit = f"{name}.service"
    try:
        machine.run(["systemctl", "cat", "--", unit])
    except ProgramFailed:
        return
    machine.run(["systemctl", "start" if on else "stop", "--", unit], timeout=30)
