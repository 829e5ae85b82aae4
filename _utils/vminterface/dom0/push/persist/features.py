"""What a feature of a VM is after a push: what the pillar makes of it, else what qubesd has of VM or template."""

from __future__ import annotations

from vminterface.channel.adminapi import AdminAPI
from vminterface.dom0.desired.persistent import FEATURES
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.inventory.qubesd import Qubesd
from vminterface.errors import KeyNotFound
from vminterface.values import featurekind


def in_effect(qubesd: Qubesd, settings: VMSettings, field: str, name: str) -> str | None:
    """Return the text of the feature called *name*, on which *field* hangs; None: neither VM nor template has it.

    Raises the errors of AdminAPI.
    """
    vm, desired = settings.vm, settings.persistent.get(f"{FEATURES}:{name}")
    if desired is not None:
        return featurekind.render(desired)
    forgotten = f"{FEATURES}:{name}" in settings.persistent

    def ask(api: AdminAPI) -> str | None:
        if forgotten and api.feature(vm, name) is not None:
            try:
                template = api.property(vm, "template").value
            except KeyNotFound:
                return None
            return api.feature_with_template(template, name) if template else None
        return api.feature_with_template(vm, name)

    return qubesd.call(vm, field, f"feature {name}", ask)
