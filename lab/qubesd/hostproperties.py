"""The properties of the host itself, and what VMs that go by them do: ``admin.property.*``."""

from __future__ import annotations

from collections.abc import Iterator

from lab.qubesd import guivms
from lab.qubesd.errors import Refused, Unanswered, unsuitable
from lab.qubesd.featurechanges import delete, store
from lab.qubesd.network import after_netvm, before_netvm
from lab.qubesd.propertycalls import text_of
from lab.qubesd.setters import bool_setter, int_setter, text_setter, vm_setter
from lab.qubesd.system import HOST_DEFAULTS, System

_CLOCK = "service.clocksync"


def list_host(system: System) -> str:
    """Return the names, one a line."""
    return "".join(f"{name}\n" for name in sorted(HOST_DEFAULTS))


def get_host(system: System, name: str) -> str:
    """Return ``default=… type=… VALUE``. Raises Refused."""
    _check(name)
    return f"default={name not in system.properties} type={HOST_DEFAULTS[name][0]} {system.host_value(name) or ''}"


def get_host_default(system: System, name: str) -> str:
    """Return ``type=… VALUE``, nothing where there is no default. Raises Refused."""
    _check(name)
    kind, default = HOST_DEFAULTS[name]
    return "" if default is None else f"type={kind} {default}"


def get_all_host(system: System) -> str:
    """Return all of them, one a line, each after its name."""
    return "".join(f"{name} {get_host(system, name)}\n" for name in sorted(HOST_DEFAULTS))


def help_of_host(name: str) -> str:
    """Return what a property is for. Raises Refused."""
    _check(name)
    return ""


def set_host(system: System, name: str, payload: bytes) -> None:
    """Set a property. Raises Refused, Unanswered."""
    _check(name)
    kind, text = HOST_DEFAULTS[name][0], text_of(payload)
    klass = "TemplateVM" if name == "default_template" else ""
    setters = {"bool": bool_setter, "int": int_setter(name, None), "vm": vm_setter(name, klass=klass)}
    new, old = setters.get(kind, text_setter)(system, "dom0", text), system.host_value(name)
    values = {"name": name, "newvalue": new or None, "oldvalue": old or None}
    _check_before(system, name, new)
    system.events.fire("", f"property-pre-set:{name}", **values)
    if name == "default_netvm":
        # Those that have it already are detached too, and not attached again.
        for vm in list(_by_default(system, "netvm")):
            before_netvm(system, vm, new, old or "")
    elif name == "clockvm" and new and _CLOCK not in system.qubes[new].features:
        store(system, new, _CLOCK, "1")
    system.properties[name] = new
    _after(system, name, new, old or "")
    system.events.fire("", f"property-set:{name}", **values)


def reset_host(system: System, name: str) -> None:
    """Let a property have its default again; what goes by it is told nothing of that. Raises Refused."""
    _check(name)
    system.properties.pop(name, None)
    system.events.fire("", f"property-reset:{name}", name=name)


def _check_before(system: System, name: str, new: str) -> None:
    if name == "default_kernel" and new and new not in system.kernels:
        raise unsuitable("Kernel %r not installed", new)
    if name == "default_netvm" and new:
        for vm in _by_default(system, "netvm"):
            current = new
            while current:
                if current == vm:
                    raise unsuitable("Network loop on %r", vm)
                current = system.qubes[current].properties.get("netvm", "")


def _after(system: System, name: str, new: str, old: str) -> None:
    if name == "default_netvm":
        for vm in list(_by_default(system, "netvm")):
            if (current := system.reference(vm, "netvm")) != old:
                after_netvm(system, vm, current, old)
            system.events.fire(vm, "property-reset:netvm", name="netvm", oldvalue=old or None)
    elif name in ("default_guivm", "default_audiovm"):
        role = name.removeprefix("default_")
        for vm in list(_by_default(system, role)):
            guivms.is_set(system, vm, role)
            system.events.fire(vm, f"property-set:{role}", name=role, newvalue=new or None, oldvalue=old or None)
    elif name == "default_dispvm":
        for vm in list(_by_default(system, name)):
            system.events.fire(vm, f"property-reset:{name}", name=name, oldvalue=old or None)
        for one in (new, old):
            if one and "template_for_dispvms" not in system.definitions(one):
                raise Unanswered(f"{one} cannot be a template for disposables")
    elif name == "clockvm" and new != old and old and system.qubes[old].features.get(_CLOCK):
        delete(system, old, _CLOCK)


def _by_default(system: System, name: str) -> Iterator[str]:
    """Yield the VMs whose property is the host's, as nobody has set it."""
    for vm in system.names():
        if name in system.definitions(vm) and name not in system.qubes[vm].properties:
            yield vm


def _check(name: str) -> None:
    if name not in HOST_DEFAULTS:
        raise Refused("QubesNoSuchPropertyError", "Invalid property %r of %s", name, "Qubes")
