"""Events of VMs between two checks: started, stopped, a key changed, memory above a bound or below it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from vminterface.dom0.desired import words
from vminterface.dom0.inventory import observed
from vminterface.dom0.inventory.targets import Targets
from vminterface.dom0.reports import devices
from vminterface.errors import VMInterfaceError, printable

#: The events of a VM's own life.
LIFE = ("started", "stopped")
#: Characters of a value in an event.
_SHOWN = 4096


@dataclass(slots=True)
class Seen:
    """The result of the last check; make one, and pass it to every check."""

    domids: dict[str, int | None] | None = None
    #: What each VM had, by field, in the pillar's words.
    fields: dict[str, dict[str, Any]] = field(default_factory=dict)
    above: set[str] = field(default_factory=set)
    #: Why the keys of some VMs could not be read, by VM: their changes come with the next read that succeeds.
    errors: dict[str, VMInterfaceError] = field(default_factory=dict)


def inspect(
    targets: Targets,
    seen: Seen,
    *,
    vms: Collection[str] | None = None,
    fields: Collection[str] = (),
    memory: float | None = None,
) -> list[dict[str, Any]]:
    """Return what happened since the last check recorded in *seen*, and record the present state; the first check
    returns nothing.

    Each has ``event`` (``started``, ``stopped``, ``changed``, ``memory_high``, ``memory_normal``) and ``vm``. *vms*:
    only these. *fields*: those to check, as in the pillar (``timezone``, ``services:cups``). *memory*: a bound, in
    percent of the most that a VM may have. A VM whose own QubesDB cannot be read is in ``seen.errors``. Raises
    InvalidValue for a field that does not exist, and the XenStore's errors.
    """
    for name in fields:
        words.keys_of(name)
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
        seen.fields.pop(vm, None)
        seen.above.discard(vm)
    events = [{"event": "stopped", "vm": vm, "domid": before[vm]} for vm in sorted(gone)]
    fresh = sorted(vm for vm in domids if vm not in before or before[vm] != domids[vm])
    return events + [{"event": "started", "vm": vm, "domid": domids[vm]} for vm in fresh]


def _changes(targets: Targets, seen: Seen, domids: Collection[str], fields: Collection[str]) -> list[dict[str, Any]]:
    events = []
    names = {name for one in fields for name in words.keys_of(one)}
    states, seen.errors = observed.observe(targets, sorted(domids), fields=names)
    for vm, held in sorted(states.items()):
        values = {name: value for name, value in held.values.items() if name in names}
        now = {name: value for name, value in words.fields(values, every=True).items() if name in fields}
        before = seen.fields.get(vm)
        seen.fields[vm] = now
        # A VM that has just started has no former keys.
        for name in sorted(fields) if before is not None else ():
            old, new = (before or {}).get(name), now.get(name)
            if old != new:
                events.append({"event": "changed", "vm": vm, "field": name, "old": _shown(old), "new": _shown(new)})
    return events


def _bounds(targets: Targets, seen: Seen, domids: Collection[str], bound: float) -> list[dict[str, Any]]:
    events = []
    for vm, report in devices.read(targets, None, [devices.MEMORY]).items():
        share = report.used_share
        if vm not in domids or share is None or (100 * share > bound) == (vm in seen.above):
            continue
        kind = "memory_high" if 100 * share > bound else "memory_normal"
        (seen.above.add if kind == "memory_high" else seen.above.discard)(vm)
        events.append({"event": kind, "vm": vm, "percent": round(100 * share, 1), "used_kb": report.used_kb})
    return events


def _shown(value: Any) -> Any:
    """Return a field's *value*, text or a list of texts, fit for a terminal."""
    if isinstance(value, list):
        return [_shown(one) for one in value]
    return printable(value, _SHOWN) if isinstance(value, str) else value
