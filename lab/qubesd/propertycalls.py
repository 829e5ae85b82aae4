"""The calls about properties: ``admin.vm.property.*`` of VMs, ``admin.property.*`` of the host itself."""

from __future__ import annotations

from lab.qubesd.errors import Refused, invalid
from lab.qubesd.propertychanges import definition, reset_property, set_property
from lab.qubesd.setters import bool_setter, text_setter, vm_setter
from lab.qubesd.system import HOST_DEFAULTS, System


def list_properties(system: System, vm: str) -> str:
    """Return the names, one a line."""
    return "".join(f"{name}\n" for name in sorted(system.definitions(vm)))


def get_property(system: System, vm: str, name: str) -> str:
    """Return ``default=… type=… VALUE``. Raises Refused."""
    kind, value = definition(system, vm, name).kind, system.value(vm, name)
    default = name not in system.qubes[vm].properties and name not in ("name", "qid", "uuid")
    return f"default={default} type={kind} {value or ''}"


def get_all_properties(system: System, vm: str) -> str:
    """Return all of them, one a line, each after its name."""
    lines = (f"{name} {get_property(system, vm, name)}" for name in sorted(system.definitions(vm)))
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
    set_property(system, vm, name, _text(payload))


def reset(system: System, vm: str, name: str) -> None:
    """Reset a property. Raises as :func:`reset_property`."""
    reset_property(system, vm, name)


def list_host(system: System) -> str:
    """Return the names of the host's own properties, one a line."""
    return "".join(f"{name}\n" for name in sorted(HOST_DEFAULTS))


def get_host(system: System, name: str) -> str:
    """Return ``default=… type=… VALUE``. Raises Refused."""
    _check_host(name)
    return f"default={name not in system.properties} {get_host_default(system, name, system.host_value(name))}"


def get_host_default(system: System, name: str, value: str | None = None) -> str:
    """Return ``type=… VALUE``. Raises Refused."""
    _check_host(name)
    kind, default = HOST_DEFAULTS[name]
    return f"type={kind} {(default if value is None else value) or ''}"


def get_all_host(system: System) -> str:
    """Return all of the host's own properties, one a line, each after its name."""
    return "".join(f"{name} {get_host(system, name)}\n" for name in sorted(HOST_DEFAULTS))


def set_host(system: System, name: str, payload: bytes) -> None:
    """Set a property of the host. Raises Refused."""
    _check_host(name)
    kind, text = HOST_DEFAULTS[name][0], _text(payload)
    setter = {"bool": bool_setter, "vm": vm_setter(name)}.get(kind, text_setter)
    system.properties[name] = setter(system, "dom0", text)
    system.events.fire("", f"property-set:{name}", name=name, newvalue=system.properties[name])


def reset_host(system: System, name: str) -> None:
    """Reset a property of the host. Raises Refused."""
    _check_host(name)
    system.properties.pop(name, None)
    system.events.fire("", f"property-reset:{name}", name=name)


def _check_host(name: str) -> None:
    if name not in HOST_DEFAULTS:
        raise Refused("QubesNoSuchPropertyError", "Invalid property %r of %s", name, "<Qubes>")


def _text(payload: bytes) -> str:
    try:
        return payload.decode("ascii")
    except UnicodeDecodeError:
        raise invalid("Non-ASCII bytes in property value") from None
