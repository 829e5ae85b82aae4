"""A property of a VM is set, or goes back to its default: the checks before, the events, what it does to keys."""

from __future__ import annotations

import uuid

from lab.qubesd import guivms, remotes
from lab.qubesd.errors import Refused, Unanswered, invalid, unsuitable
from lab.qubesd.featurechanges import delete, fire_bootmode_of_children, store
from lab.qubesd.network import after_address, after_netvm, before_netvm
from lab.qubesd.setters import check_netvm
from lab.qubesd.system import Property, System

#: Properties of a template whose value is the default of VMs that are based on it.
_OF_TEMPLATE = (
    "default_user", "kernel", "kernelopts", "vcpus", "memory", "maxmem", "qrexec_timeout", "shutdown_timeout",
    "management_dispvm",
)  # fmt: skip


def definition(system: System, vm: str, name: str) -> Property:
    """Return what a property is. Raises Refused where VMs of its class have none of this name."""
    found = system.definitions(vm).get(name)
    if found is None:
        raise Refused("QubesNoSuchPropertyError", "Invalid property %r of %s", name, vm)
    return found


def set_property(system: System, vm: str, name: str, text: str) -> None:
    """Set a property. Raises Refused, Unanswered; where its effects fail, it has been stored all the same."""
    one = definition(system, vm, name)
    if one.write_once:
        _check_form(name, text)
        raise Unanswered(f"property {name} is write-once and already set")
    if one.setter is None:
        raise unsuitable("property %r on %s instance cannot be set", name, system.qubes[vm].klass)
    new, old = one.setter(system, vm, text), system.value(vm, name)
    values = _values(name, newvalue=_shown(one, new), oldvalue=_shown(one, old))
    if name == "netvm":
        before_netvm(system, vm, new, old or "")
        system.qubes[vm].properties[name] = new
        after_netvm(system, vm, new, old or "")
        return
    system.events.fire(vm, f"property-pre-set:{name}", **values)
    _check_before(system, vm, name, new)
    system.qubes[vm].properties[name] = new
    _effects(system, vm, name, old, new, reset=False)
    system.events.fire(vm, f"property-set:{name}", **values)


def reset_property(system: System, vm: str, name: str) -> None:
    """Let a property have its default again. Raises as :func:`set_property`."""
    one = definition(system, vm, name)
    if one.write_once:
        raise Unanswered(f"property {name} is write-once and already set")
    old = system.value(vm, name)
    values = _values(name, oldvalue=_shown(one, old))
    system.events.fire(vm, f"property-pre-reset:{name}", **values)
    if name == "template":
        default = system.host_value("default_template")
        hint = f". You can set it to the current default ({default}) instead" if default else ""
        raise invalid(f"Cannot unset template{hint}")
    if name == "netvm":
        netvm = one.default(system, vm) or ""
        if netvm:
            check_netvm(system, vm, netvm)
        if netvm != old:
            before_netvm(system, vm, netvm, old or "")
    system.events.fire(vm, f"property-pre-del:{name}", **values)
    system.qubes[vm].properties.pop(name, None)
    if name != "netvm":
        unneeded = name == "keyboard_layout" and not system.qubes[vm].running
        _effects(system, vm, name, old, None if unneeded else one.default(system, vm), reset=True)
    elif netvm != old:
        after_netvm(system, vm, netvm, old or "")
    system.events.fire(vm, f"property-reset:{name}", **values)
    system.events.fire(vm, f"property-del:{name}", **values)


def _check_form(name: str, text: str) -> None:
    """Raise Refused for what is no value of a property that cannot be set a second time."""
    try:
        if name == "uuid":
            uuid.UUID(text)
        elif name == "qid":
            int(text)
    except ValueError:
        raise invalid("Failed to parse property value as %s", "UUID" if name == "uuid" else "int") from None


def _check_before(system: System, vm: str, name: str, new: str) -> None:
    """Raise Refused for what a property does not take because of the state that things are in."""
    if name == "template" and system.qubes[vm].running:
        raise Refused("QubesVMNotHaltedError", "Cannot change template while qube is running")
    if name == "kernel" and new and new not in system.kernels:
        raise unsuitable("Kernel %r not installed", new)


def _effects(system: System, vm: str, name: str, old: str | None, new: str | None, *, reset: bool) -> None:
    """Let everything that hangs on a property follow it. Raises Unanswered."""
    qube = system.qubes[vm]
    if name == "ip" or (name == "ip6" and not reset):
        if old is not None if reset else new != old:
            after_address(system, vm, name)
    elif name == "keyboard_layout":
        if (reset or new != old) and qube.running:
            system.write(vm, "keyboard-layout", new or "")
        if new != old and not reset:
            guivms.layout_changed(system, vm, old)
    elif name == "provides_network":
        _serve(system, vm, new == "True")
        if new != old and not reset:
            for other in ("gateway", "gateway6"):
                system.events.fire(vm, f"property-reset:{other}", name=other)
    elif name == "appvm_default_bootmode" and (reset or new != old):
        fire_bootmode_of_children(system, vm)
    elif name in guivms.ROLES:
        guivms.is_set(system, vm, name)
    elif name == "relayvm":
        remotes.relay_set(system, vm)
    elif name in ("label", "template_for_dispvms") and not reset:
        system.events.fire(vm, "property-reset:icon", name="icon")
    if qube.klass == "TemplateVM" and name in _OF_TEMPLATE and new != old and not reset:
        for child in system.names():
            if system.reference(child, "template") == vm and name not in system.qubes[child].properties:
                system.events.fire(child, f"property-reset:{name}", name=name)


def _serve(system: System, vm: str, serves: bool) -> None:
    """Mark a VM that provides network as one that serves others."""
    if serves:
        store(system, vm, "servicevm", "1")
    elif "servicevm" in system.qubes[vm].features:
        delete(system, vm, "servicevm")
    else:
        return
    system.events.fire(vm, "property-reset:icon", name="icon")


def _values(name: str, **others: str | None) -> dict[str, object]:
    """Return what events of a property carry; an old value only where there was one."""
    return {"name": name, **{key: value for key, value in others.items() if value is not None}}


def _shown(one: Property, value: str | None) -> str | None:
    """Return how an event shows a value: no VM and no address are ``None`` there; None: it had none to show."""
    if value is None:
        return "None" if one.has_default else None
    return "None" if one.kind == "vm" and value == "" else value
