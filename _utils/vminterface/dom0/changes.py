"""Tells what happened to VMs between two looks: started, stopped, a key changed, memory above a bound or below it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from vminterface import keys
from vminterface.dom0 import reports, state
from vminterface.dom0.targets import Targets
from vminterface.errors import VMInterfaceError, printable

#: Characters of a value in an event.
_SHOWN = 4096


@dataclass(slots=True)
class Seen:
    """What the last look found; make one, and give it to every look."""

    domids: dict[str, int | None] | None = None
    texts: dict[str, dict[str, str]] = field(default_factory=dict)
    above: set[str] = field(default_factory=set)
    #: Why the keys of some VMs could not be looked at, by VM: their news come with the next look that can.
    faults: dict[str, VMInterfaceError] = field(default_factory=dict)


def look(
    targets: Targets,
    seen: Seen,
    *,
    vms: Collection[str] | None = None,
    fields: Collection[str] = (),
    memory: float | None = None,
) -> list[dict[str, Any]]:
    """Return what happened since the last look at *seen*, and keep in it what is now; the first look finds no news.

    Each has ``event`` (``started``, ``stopped``, ``changed``, ``memory_high``, ``memory_normal``) and ``vm``. *vms*:
    only these. *fields*: keys to look at, as in the pillar (``timezone``, ``services:cups``). *memory*: a bound, in
    percent of the most that a VM may have. A VM whose own QubesDB cannot be read is in ``seen.faults``. Raises
    InvalidValue for a field that does not exist, and the XenStore's errors.
    """
    for name in fields:
        keys.for_field(name)
    domids = {vm: domid for vm, domid in targets.running().items() if vms is None or vm in vms}
    happened = _starts(seen, domids)
    if fields:
        happened += _changes(targets, seen, domids, fields)
    if memory is not None:
        happened += _bounds(targets, seen, domids, memory)
    seen.domids = domids
    return happened


def _starts(seen: Seen, domids: Mapping[str, int | None]) -> list[dict[str, Any]]:
    before = domids if seen.domids is None else seen.domids
    gone = [vm for vm in before if vm not in domids or before[vm] != domids[vm]]
    for vm in gone:
        seen.texts.pop(vm, None)
        seen.above.discard(vm)
    events = [{"event": "stopped", "vm": vm, "domid": before[vm]} for vm in sorted(gone)]
    fresh = sorted(vm for vm in domids if vm not in before or before[vm] != domids[vm])
    return events + [{"event": "started", "vm": vm, "domid": domids[vm]} for vm in fresh]


def _changes(targets: Targets, seen: Seen, domids: Collection[str], fields: Collection[str]) -> list[dict[str, Any]]:
    events = []
    states, seen.faults = state.observe(targets, sorted(domids), fields=fields)
    for vm, held in sorted(states.items()):
        now = {name: held.texts[name] for name in fields if name in held.texts}
        before = seen.texts.get(vm)
        seen.texts[vm] = now
        # A VM that has just started has no former keys.
        for name in sorted(fields) if before is not None else ():
            old, new = (before or {}).get(name), now.get(name)
            if old != new:
                events.append({"event": "changed", "vm": vm, "field": name, "old": _shown(old), "new": _shown(new)})
    return events


def _bounds(targets: Targets, seen: Seen, domids: Collection[str], bound: float) -> list[dict[str, Any]]:
    events = []
    for vm, report in reports.read(targets, None, [reports.MEMORY]).items():
        share = report.used_share
        if vm not in domids or share is None or (100 * share > bound) == (vm in seen.above):
            continue
        kind = "memory_high" if 100 * share > bound else "memory_normal"
        (seen.above.add if kind == "memory_high" else seen.above.discard)(vm)
        events.append({"event": kind, "vm": vm, "percent": round(100 * share, 1), "used_kb": report.used_kb})
    return events


def _shown(text: str | None) -> str | None:
    return None if text is None else printable(text, _SHOWN)
