"""
Events of VMs in dom0: one started or stopped, a key of it changed, its memory went above a bound or below it again.

.. code-block:: yaml

    beacons:
      qubes_vm:
        - interval: 5
        - vms: [work, sys-net]              # default: all that run
        - fields: [timezone, services:cups] # as in the pillar below a VM's name
        - memory: 85                        # percent of the most that a VM may have
        - pillar: true                      # compare keys with the minion's pillar
        - hold: 60                          # seconds in which a push to one VM is due once at most

The tags are ``salt/beacon/<minion>/qubes_vm/<vm>/<event>`` with ``started``, ``stopped``, ``changed``, ``drifted``,
``memory_high`` and ``memory_normal``; and with ``pillar: true`` one ``salt/beacon/<minion>/qubes_vm/push_due`` for all
VMs of the pillar that have started or drifted, with their names in ``vms``. Starts and stops are then those of the
pillar's VMs alone. The first check finds no starts or changes.

A check may take one second. After one that takes long, or fails, the next ones are rarer, so that a store that hangs
does not block the minion.

Needs the library ``vminterface``, which is synced from ``_utils`` or installed as a package.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Salt puts the synced `_utils` on the import path while it loads modules, states or grains, but not for beacons.
_SYNCED = str(Path(__file__).parent.with_name("utils"))
sys.path.append(_SYNCED)
try:
    from vminterface.channel.xenstore.store import XenStore as _XenStore
    from vminterface.deadline import Deadline as _Deadline
    from vminterface.dom0.desired import settings as _settings
    from vminterface.dom0.desired import words as _words
    from vminterface.dom0.inventory import targets as _targets
    from vminterface.dom0.reports import changes as _changes
    from vminterface.dom0.reports import due as _due
    from vminterface.dom0.reports import pace as _pace
    from vminterface.errors import InvalidValue, VMInterfaceError

    MISSING = ""
except ImportError as error:
    MISSING = str(error)
finally:
    sys.path.remove(_SYNCED)

__context__: dict[str, Any]
__opts__: dict[str, Any]

log = logging.getLogger(__name__)

#: Seconds that one check may take.
DEADLINE = 1.0


def __virtual__() -> bool | tuple[bool, str]:
    if MISSING:
        return False, f"qubes_vm: the library vminterface cannot be imported ({MISSING}); run saltutil.sync_all"
    return True


def _options(config: Any) -> dict[str, Any]:
    options = {}
    for part in config:
        options.update(part)
    return options


def _names(options: dict[str, Any], name: str) -> bool:
    return isinstance(options.get(name, []), list) and all(isinstance(item, str) for item in options.get(name, []))


def validate(config: Any) -> tuple[bool, str]:
    """
    Check the beacon's configuration.
    """
    if not isinstance(config, list) or not all(isinstance(part, dict) for part in config):
        return False, "qubes_vm: the configuration is not valid (expected a list of mappings)"
    options = _options(config)
    for name in ("vms", "fields"):
        if not _names(options, name):
            return False, f"qubes_vm: {name}: is not valid (expected a list of names)"
    try:
        for name in options.get("fields", []):
            _words.keys_of(name)
    except InvalidValue as error:
        return False, f"qubes_vm: fields: {error}"
    if not isinstance(options.get("pillar", False), bool):
        return False, "qubes_vm: pillar: is not valid (expected true or false)"
    hold = options.get("hold", _due.HOLD)
    if isinstance(hold, bool) or not isinstance(hold, int | float) or not 1 <= hold <= _due.HOLD_MAX:
        return False, f"qubes_vm: hold: is not valid (expected seconds from 1 to {_due.HOLD_MAX:g})"
    bound = options.get("memory", 0)
    if isinstance(bound, bool) or not isinstance(bound, int | float) or not 0 <= bound <= 100:
        return False, "qubes_vm: memory: is not valid (expected percent from 0 to 100)"
    return True, "qubes_vm: valid"


def beacon(config: Any) -> list[dict[str, Any]]:
    """
    Return the events since the last call.
    """
    pace = __context__.setdefault("qubes_vm.pace", _pace.Pace())
    began = time.monotonic()
    if not pace.may(began):
        return []
    options = _options(config)
    seen = __context__.setdefault("qubes_vm.beacon", _changes.Seen())
    told = set(seen.errors)
    try:
        happened = _happened(options, seen)
    except VMInterfaceError as error:
        pace.failed(time.monotonic())
        _log_once(f"{error}; the next check is in {pace.at - time.monotonic():.0f} s")
        return []
    pace.done(began, time.monotonic())
    __context__.pop("qubes_vm.beacon_failed", None)
    for vm in sorted(seen.errors.keys() - told):
        log.warning("beacon qubes_vm: %s; its keys are not watched until they can be", seen.errors[vm])
    tags = ("/".join(filter(None, (event.get("vm"), event["event"]))) for event in happened)
    return [{"tag": tag, **event} for tag, event in zip(tags, happened, strict=True)]


def _happened(options: dict[str, Any], seen: _changes.Seen) -> list[dict[str, Any]]:
    """Return the events of one check, which has a deadline. Raises what affects the stores as a whole."""
    deadline, vms = _Deadline.after(DEADLINE), options.get("vms")
    with _targets.Targets(lambda: _XenStore.open(timeout=DEADLINE), deadline=deadline) as targets:
        happened = _changes.inspect(
            targets, seen, vms=vms, fields=options.get("fields", []), memory=options.get("memory")
        )
        if not options.get("pillar"):
            return happened
        settings = _of_pillar()
        watched = __context__.setdefault("qubes_vm.watched", _due.Watched())
        # A VM that no pillar names is nobody's to push to; what has an option of its own (keys, memory) is said of any.
        happened = [one for one in happened if one["event"] not in _changes.LIFE or one["vm"] in settings]
        started = {event["vm"] for event in happened if event["event"] == "started"}
        how = {"now": time.monotonic(), "clock": time.time(), "hold": options.get("hold", _due.HOLD)}
        return happened + _due.inspect(targets, watched, settings, seen.domids or {}, started, **how)


def _of_pillar() -> Mapping[str, _settings.VMSettings]:
    """Return what the minion's pillar, as it has it in memory, gives the VMs; nothing where it is wrong."""
    pillar = __opts__.get("pillar") or {}
    parsed = __context__.get("qubes_vm.parsed")
    if parsed is None or parsed[0] is not pillar:
        try:
            found = {one.vm: one for one in _settings.parse_pillar(pillar, source="the minion's pillar")}
        except InvalidValue as error:
            log.error("beacon qubes_vm: no VM is compared with the pillar: %s", str(error).splitlines()[0])
            found = {}
        # The pillar itself, too: another object may come to have its place in memory.
        parsed = __context__["qubes_vm.parsed"] = pillar, found
    return parsed[1]


def _log_once(text: str) -> None:
    """Log *text* unless the last check failed, too."""
    if not __context__.get("qubes_vm.beacon_failed"):
        log.error("beacon qubes_vm: %s", text)
    __context__["qubes_vm.beacon_failed"] = True
