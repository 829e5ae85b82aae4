"""Which VMs have drifted from the pillar, and to which a push is due: those that started or drifted.

A push of our own makes no event: a VM whose lock is held, or that was pushed to just now, is left to the next check.
One VM is due at most once in a time, which doubles while it stays as it is: a VM that writes its own
keys, or refuses its settings, costs one push in an hour in the end. Only keys are compared, in two batches for all VMs
of a XenStore; what qubesd keeps, monitors and firewalls are left to a push.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from vminterface.dom0.desired import words
from vminterface.dom0.desired.diff import compare
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.inventory import observed
from vminterface.dom0.inventory.targets import Targets
from vminterface.dom0.push import lastpush, unaccepted
from vminterface.dom0.push.locks import VMLocks
from vminterface.errors import VMInterfaceError, printable

#: Seconds in which a VM is due once, unless the caller has others; and the most that they grow to.
HOLD, HOLD_MAX = 60.0, 3600.0
#: Names of fields in one event.
_FIELDS_MAX = 20


@dataclass(slots=True)
class _Turn:
    """A VM's next turn: not before *at*; *hold* is how long it takes after that one."""

    at: float
    hold: float


@dataclass(slots=True)
class Watched:
    """The state after the last check; make one, and pass it to every check."""

    #: The fields of each VM that has drifted.
    drifted: dict[str, frozenset[str]] = field(default_factory=dict)
    turns: dict[str, _Turn] = field(default_factory=dict)


def inspect(
    targets: Targets,
    watched: Watched,
    settings: Mapping[str, VMSettings],
    running: Collection[str],
    started: Collection[str],
    *,
    now: float,
    clock: float,
    hold: float = HOLD,
    folder: str | None = None,
) -> list[dict[str, Any]]:
    """Return the events since the last check, whose state is *watched*, and update that.

    Each has ``event``: ``drifted`` with ``vm`` and its ``fields``, once when it has come to that; ``push_due`` with
    ``vms``, one event for all to which a push is due. *settings* are those of the pillar by VM; *running* are the VMs
    that run, *started* those of them that have started since the last check. *now* is a monotonic time, *clock* the
    host's, in seconds. Raises the XenStore's errors.
    """
    for vm in started:
        watched.drifted.pop(vm, None)
        watched.turns.pop(vm, None)
    here = [vm for vm in running if vm in settings]
    drifted = _drifted(targets, {vm: settings[vm] for vm in here})
    held = _held(drifted, folder)
    if drifted:
        # A push that has let one go by now, and waits for others, may have written it since.
        now_drifted = _drifted(targets, {vm: settings[vm] for vm in drifted})
        drifted = {vm: fields for vm, fields in drifted.items() if vm in now_drifted}
    last = lastpush.update(lambda known: None, folder) if drifted else {}
    events: list[dict[str, Any]] = []
    due = []
    for vm in here:
        if vm in started:
            due.append(vm)
            watched.turns[vm] = _Turn(now + hold, hold)
        elif (fields := drifted.get(vm)) is None:
            watched.drifted.pop(vm, None)
            if vm in watched.turns and watched.turns[vm].at <= now:
                del watched.turns[vm]
        elif vm not in held and not _is_pushed(last.get(vm), clock):
            turn = watched.turns.setdefault(vm, _Turn(now, hold))
            if turn.at <= now:
                due.append(vm)
                watched.turns[vm] = _Turn(now + turn.hold, min(HOLD_MAX, 2 * turn.hold))
                if watched.drifted.get(vm) != fields:
                    watched.drifted[vm] = fields
                    shown = [printable(name, 80) for name in sorted(fields)[:_FIELDS_MAX]]
                    events.append({"event": "drifted", "vm": vm, "fields": shown})
    for vm in [vm for vm in watched.drifted if vm not in here]:
        del watched.drifted[vm]
    return [*events, *([{"event": "push_due", "vms": sorted(due)}] if due else [])]


def _drifted(targets: Targets, settings: Mapping[str, VMSettings]) -> dict[str, frozenset[str]]:
    """Return the pillar's fields whose keys differ, by VM; a VM that cannot be read is left out."""
    errors: dict[str, VMInterfaceError] = {}
    found: dict[str, frozenset[str]] = {}
    for part in targets.waves(settings):
        met = targets.find(part, errors, access={vm: settings[vm] for vm in part})
        states, _ = observed.read_all(met.values(), {vm: settings[vm].desired for vm in met})
        for vm, state in states.items():
            changes = compare(settings[vm].desired, state.values, per_vm=state.target.store.per_vm)
            changes = unaccepted.without(changes, unaccepted.find(settings[vm], state, changes))
            if fields := frozenset(words.names(changes)):
                found[vm] = fields
    return found


def _held(vms: Collection[str], folder: str | None) -> set[str]:
    """Return those of *vms* that a program writes to."""
    if not vms:
        return set()
    with VMLocks(folder) as locks:
        return {vm for vm in vms if locks.is_held(vm)}


def _is_pushed(last: lastpush.LastPush | None, clock: float) -> bool:
    """Whether a push has ended in this second or the one before: what was read may be of the time before it."""
    return last is not None and last.tried is not None and last.tried >= int(clock) - 1
