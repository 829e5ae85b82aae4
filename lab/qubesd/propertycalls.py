"""The calls about properties of VMs: ``admin.vm.property.*``."""

from __future__ import annotations

from lab.qubesd.errors import invalid
from lab.qubesd.propertychanges import definition, reset_property, set_property
from lab.qubesd.system import System

#: Properties that qubesd reads last.
_LATE = (
    "appvm_default_bootmode", "audiovm", "bootmode", "default_dispvm", "guivm", "kernelopts", "management_dispvm",
    "netvm", "relayvm", "template",
)  # fmt: skip


def list_properties(system: System, vm: str) -> str:
    """Return the names, one a line, those last that need others when qubesd starts."""
    return "".join(f"{name}\n" for name in _names(system, vm))


def _names(system: System, vm: str) -> list[str]:
    return sorted(system.definitions(vm), key=lambda name: (name in _LATE, name))


def get_property(system: System, vm: str, name: str) -> str:
    """Return ``default=… type=… VALUE``. Raises Refused."""
    kind, value = definition(system, vm, name).kind, system.value(vm, name)
    own = name in ("name", "qid", "uuid") and vm != "dom0"
    default = name not in system.qubes[vm].properties and not own
    return f"default={default} type={kind} {value or ''}"


def get_all_properties(system: System, vm: str) -> str:
    """Return all of them, one a line, each after its name."""
    lines = (f"{name} {get_property(system, vm, name)}" for name in _names(system, vm))
    return "".join(line.replace("\\", "\\\\").replace("\n", "\\n") + "\n" for line in lines)


def get_default(system: System, vm: str, name: str) -> str:
    """Return ``type=… VALUE``, nothing where there is no default. Raises Refused."""
    one = definition(system, vm, name)
    if one.write_once or not one.has_default:
        return ""
    return f"type={one.kind} {one.default(system, vm) or ''}"


def help_of(system: System, vm: str, name: str) -> str:
    """Return what the property is for. Raises Refused."""
    return definition(system, vm, name).help


def set_from(system: System, vm: str, name: str, payload: bytes) -> None:
    """Set a property to what a client has sent. Raises as :func:`set_property`."""
    definition(system, vm, name)
    set_property(system, vm, name, text_of(payload))


def reset(system: System, vm: str, name: str) -> None:
    """Reset a property. Raises as :func:`reset_property`."""
    reset_property(system, vm, name)


def text_of(payload: bytes) -> str:
    """Return what a client has sent as a value. Raises Refused."""
    try:
        return payload.decode("ascii")
    except UnicodeDecodeError:
        raise invalid("Non-ASCII bytes in property value") from None
