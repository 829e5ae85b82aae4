"""What a host already knows of its VMs, as plain data: from qubesd, where there is one, and from the stores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vminterface.channel import adminapi
from vminterface.channel.adminapi import AdminAPI
from vminterface.dom0.desired import words
from vminterface.dom0.inventory import observed
from vminterface.dom0.inventory.targets import Targets
from vminterface.dom0.results import inwords
from vminterface.errors import InvalidValue, VMInterfaceError
from vminterface.values import feature
from vminterface.values.service import ServiceName
from vminterface.values.unreadable import Unreadable
from vminterface.values.vmconfig import ConfigName
from vminterface.values.vmname import VMName

#: What the names of a family's members are parsed with: a VM may make up names as well as values.
_MEMBERS: Mapping[str, Callable[[str], object]] = {
    "services": ServiceName.parse,
    "vm_config": ConfigName.parse,
    "persist": feature.check_name,
    "remote": VMName.parse,
    "audio_input": VMName.parse,
}
#: What the names of the features start with that are read.
_FEATURES = ("service.", "check-updates", "vm-config.vminterface-")


def read(
    targets: Targets, *, only: str | None = None, timeout: float = adminapi.TIMEOUT
) -> tuple[dict[str, dict[str, Any]], dict[str, VMInterfaceError]]:
    """Return what is known of each VM, and why some are left out, both by VM name. *timeout*: seconds for each store.
    *only* names a VM: what is known of it alone.

    What is known: ``running``, ``domid``, ``keys`` by field in the pillar's words, ``invalid``, ``class`` and
    ``features``.

    ``domid`` is None for a VM that does not run, or that its QubesDB alone knows; ``keys`` are those of a running VM
    whose values are valid: the VM may have written some itself. The fields of the others are in ``invalid``, of a
    member with a name that is not valid its family (``services:*``). ``class`` is empty and ``features`` has nothing
    where no qubesd can be asked. Left out is a VM whose own QubesDB cannot be read. Raises the errors of qubesd and of
    the XenStore.
    """
    found: dict[str, dict[str, Any]] = {}
    if adminapi.available():
        api = AdminAPI.open(timeout)
        for vm, domain in api.domains().items():
            if only not in (None, vm):
                continue
            names = [name for name in api.features(vm) if name.startswith(_FEATURES)]
            found[vm] = {**_unknown(), "class": domain.klass, "features": {n: api.feature(vm, n) or "" for n in names}}
    domids = {vm: domid for vm, domid in targets.running().items() if only in (None, vm)}
    states, errors = observed.observe(targets, domids, timeout=timeout)
    for vm, held in states.items():
        one = found.setdefault(vm, _unknown())
        valid, invalid = _checked(held.values)
        one.update(running=True, domid=domids[vm], keys=inwords.known(valid), invalid=invalid)
    # Without its keys, what is known of a VM that runs would read as if it had none.
    return {vm: one for vm, one in sorted(found.items()) if vm not in errors}, errors


def _checked(untrusted_values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return those of *untrusted_values* that are valid, and the names of the fields of the others."""
    valid: dict[str, Any] = {}
    invalid: set[str] = set()
    for field, value in untrusted_values.items():
        group, _, member = field.partition(":")
        try:
            if group in _MEMBERS:
                _MEMBERS[group](member)
        except InvalidValue:
            invalid.add(f"{group}:*")
            continue
        if isinstance(value, Unreadable):
            invalid.add(field)
        else:
            valid[field] = value
    return valid, words.names(sorted(invalid))


def _unknown() -> dict[str, Any]:
    return {"running": False, "domid": None, "keys": {}, "invalid": [], "class": "", "features": {}}
