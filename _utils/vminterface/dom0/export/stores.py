"""What a VM's store holds as values of the pillar. The VM may have written some of it itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vminterface import keys
from vminterface.dom0.desired import words
from vminterface.dom0.export.vmexport import SHOWN, VMExport
from vminterface.dom0.inventory.observed import VMState
from vminterface.errors import InvalidValue, printable
from vminterface.values.service import ServiceName, ServiceState
from vminterface.values.unreadable import Unreadable
from vminterface.values.vmconfig import ConfigName

#: What the names of a family's members are parsed with: a VM may make up names as well as values.
_MEMBERS: Mapping[str, Callable[[str], object]] = {"services": ServiceName.parse, "vm_config": ConfigName.parse}


def take(state: VMState, into: VMExport) -> None:
    """Add the VM's keys *into* its export; what a pillar cannot express is left out, with the reason."""
    valid: dict[str, Any] = {}
    for field, value in state.values.items():
        group, _, member = field.partition(":")
        try:
            if group in _MEMBERS:
                _MEMBERS[group](member)
            if isinstance(value, Unreadable):
                keys.for_field(field).parse(value.text)
                raise InvalidValue(f"'{printable(value.text, SHOWN)}' cannot be read")
        except InvalidValue as error:
            if keys.for_field(field).pushed:
                into.leave_out(_place(words.names([field])[0]), str(error))
        else:
            valid[field] = value
    per_vm = state.target.store.per_vm
    for name, shown in words.fields(valid, ignore_keymap=per_vm).items():
        # What is wrong of several keys of one field has its reason there already.
        if _place(name) not in into.left_out:
            into.values[_place(name)] = _as_flag(valid.get(name), shown)
    if not per_vm and ("keyboard",) in into.values and "keymap" not in state.values:
        # A layout alone gives a keymap too.
        into.values["keymap",] = "default"
    into.complete()


def _place(name: str) -> tuple[str, ...]:
    return tuple(name.split(":", 1))


def _as_flag(value: Any, shown: Any) -> Any:
    """Return *shown*, or the boolean that *value* is."""
    if isinstance(value, ServiceState):
        return value is ServiceState.ON
    return value if isinstance(value, bool) else shown
