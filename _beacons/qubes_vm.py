"""
Events of VMs in dom0: one started or stopped, a key of it changed, its memory went above a bound or below it again.

.. code-block:: yaml

    beacons:
      qubes_vm:
        - interval: 5
        - vms: [work, sys-net]              # default: all that run
        - fields: [timezone, services:cups] # as in the pillar below a VM's name
        - memory: 85                        # percent of the most that a VM may have

The tags are ``salt/beacon/<minion>/qubes_vm/<vm>/<event>`` with ``started``, ``stopped``, ``changed``,
``memory_high`` and ``memory_normal``. The first look finds no news but memory above its bound.

Needs the library ``vminterface``, which is synced from ``_utils`` or installed as a package.
"""

import logging

try:
    from vminterface import keys as _keys
    from vminterface.dom0 import changes as _changes
    from vminterface.dom0 import targets as _targets
    from vminterface.errors import InvalidValue, VMInterfaceError

    MISSING = ""
except ImportError as error:
    MISSING = str(error)

log = logging.getLogger(__name__)


def __virtual__():
    if MISSING:
        return False, f"qubes_vm: the library vminterface cannot be imported ({MISSING}); run saltutil.sync_utils"
    return True


def _options(config):
    options = {}
    for part in config:
        options.update(part)
    return options


def _names(options, name):
    return isinstance(options.get(name, []), list) and all(isinstance(item, str) for item in options.get(name, []))


def validate(config):
    """
    Check the beacon's configuration.
    """
    if not isinstance(config, list) or not all(isinstance(part, dict) for part in config):
        return False, "qubes_vm: the configuration must be a list of mappings"
    options = _options(config)
    for name in ("vms", "fields"):
        if not _names(options, name):
            return False, f"qubes_vm: {name} must be a list of names"
    try:
        for name in options.get("fields", []):
            _keys.for_field(name)
    except InvalidValue as error:
        return False, f"qubes_vm: fields: {error}"
    bound = options.get("memory", 0)
    if isinstance(bound, bool) or not isinstance(bound, int | float) or not 0 <= bound <= 100:
        return False, "qubes_vm: memory must be a number of percent"
    return True, "qubes_vm: valid"


def beacon(config):
    """
    Return the events since the last call.
    """
    options = _options(config)
    seen = __context__.setdefault("qubes_vm.beacon", _changes.Seen())
    told = set(seen.faults)
    try:
        with _targets.Targets() as targets:
            happened = _changes.look(
                targets,
                seen,
                vms=options.get("vms"),
                fields=options.get("fields", []),
                memory=options.get("memory"),
            )
    except VMInterfaceError as error:
        # Told once: a beacon is called every few seconds.
        if __context__.get("qubes_vm.beacon_error") != str(error):
            log.error("beacon qubes_vm: %s", error)
        __context__["qubes_vm.beacon_error"] = str(error)
        return []
    __context__.pop("qubes_vm.beacon_error", None)
    for vm in sorted(seen.faults.keys() - told):
        log.warning("beacon qubes_vm: %s; its keys are not looked at until they can be", seen.faults[vm])
    return [{"tag": f"{event['vm']}/{event['event']}", **event} for event in happened]
