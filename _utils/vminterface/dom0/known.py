"""What a host already knows of its VMs, as plain data: from qubesd, where there is one, and from the stores."""

from __future__ import annotations

from typing import Any

from vminterface.channel import adminapi
from vminterface.channel.adminapi import AdminAPI
from vminterface.dom0 import returns, state
from vminterface.dom0.targets import Targets

#: What the names of the features start with that are read.
_FEATURES = ("service.", "vm-config.vminterface-")


def read(targets: Targets, *, timeout: float = adminapi.TIMEOUT) -> dict[str, dict[str, Any]]:
    """Return each VM by name: ``running``, ``domid``, ``keys`` by field in the pillar's words, ``class``, ``features``.

    ``domid`` is None for a VM that does not run, or that its QubesDB alone knows; ``keys`` are those of a running VM,
    as its store holds them: the VM may have written some itself. ``class`` is empty and ``features`` has nothing where
    no qubesd can be asked. Raises the errors of qubesd and of the stores.
    """
    found: dict[str, dict[str, Any]] = {}
    if adminapi.available():
        api = AdminAPI.open(timeout)
        for vm, domain in api.domains().items():
            names = [name for name in api.features(vm) if name.startswith(_FEATURES)]
            found[vm] = {**_unknown(), "class": domain.klass, "features": {n: api.feature(vm, n) or "" for n in names}}
    domids = targets.running()
    for group in state.by_store(targets.find(domids).values()):
        for vm, held in state.read(group).items():
            one = found.setdefault(vm, _unknown())
            one.update(running=True, domid=domids[vm], keys=returns.fields(held.texts))
    return dict(sorted(found.items()))


def _unknown() -> dict[str, Any]:
    return {"running": False, "domid": None, "keys": {}, "class": "", "features": {}}
