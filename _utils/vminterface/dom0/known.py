"""What a host already knows of its VMs, as plain data: from qubesd, where there is one, and from the stores."""

from __future__ import annotations

from typing import Any

from vminterface.channel import adminapi
from vminterface.channel.adminapi import AdminAPI
from vminterface.dom0 import returns, state
from vminterface.dom0.settings import VMSettings
from vminterface.dom0.targets import Targets
from vminterface.errors import VMInterfaceError

#: What the names of the features start with that are read.
_FEATURES = ("service.", "vm-config.vminterface-")


def read(
    targets: Targets, *, timeout: float = adminapi.TIMEOUT
) -> tuple[dict[str, dict[str, Any]], dict[str, VMInterfaceError]]:
    """Return what is known of each VM, and why some are left out, both by VM name. *timeout*: seconds for each store.

    What is known: ``running``, ``domid``, ``keys`` by field in the pillar's words, ``class``, ``features``.

    ``domid`` is None for a VM that does not run, or that its QubesDB alone knows; ``keys`` are those of a running VM,
    as its store holds them: the VM may have written some itself. ``class`` is empty and ``features`` has nothing where
    no qubesd can be asked. Left out is a VM whose own QubesDB cannot be read. Raises the errors of qubesd and of the
    XenStore.
    """
    found: dict[str, dict[str, Any]] = {}
    if adminapi.available():
        api = AdminAPI.open(timeout)
        for vm, domain in api.domains().items():
            names = [name for name in api.features(vm) if name.startswith(_FEATURES)]
            found[vm] = {**_unknown(), "class": domain.klass, "features": {n: api.feature(vm, n) or "" for n in names}}
    domids = targets.running()
    states, faults = state.observe(targets, domids, {vm: VMSettings(vm, timeout=timeout) for vm in domids})
    for vm, held in states.items():
        one = found.setdefault(vm, _unknown())
        one.update(running=True, domid=domids[vm], keys=returns.fields(held.texts))
    # Without its keys, what is known of a VM that runs would read as if it had none.
    return {vm: one for vm, one in sorted(found.items()) if vm not in faults}, faults


def _unknown() -> dict[str, Any]:
    return {"running": False, "domid": None, "keys": {}, "class": "", "features": {}}
