"""The changes that bring a VM to its settings: values compared, never texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vminterface.dom0.desired.settings import Desired
from vminterface.values.change import Change


def compare(desired: Desired, found: Mapping[str, Any], *, per_vm: bool) -> dict[str, Change[Any]]:
    """Return the fields of *desired* that differ from the values *found*, by field.

    *per_vm*: whether the VM has a store of its own, a QubesDB.
    """
    changes = {field: Change(found.get(field), value) for field, value in desired.items() if found.get(field) != value}
    if per_vm and "keyboard" in found and "keyboard" not in changes:
        # From R4.1 on VMs read the layout alone, and dom0's gui-daemon writes a keymap of its own when it connects.
        changes.pop("keymap", None)
    return changes
