"""A property of a VM is set, or goes back to its default: the checks before, the events, what it does to keys."""

from __future__ import annotations

from lab.qubesd.errors import Refused, Unanswered, invalid, unsuitable
from lab.qubesd.network import after_address, after_netvm, before_netvm
from lab.qubesd.setters import check_netvm
from lab.qubesd.system import Property, System


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
    if name == "template" and system.qubes[vm].running:
        raise Refused("QubesVMNotHaltedError", "Cannot change template while qube is running")
    system.qubes[vm].properties[name] = new
    _effects(system, vm, name, old, new)
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
        raise invalid("Cannot unset template")
    new = one.default(system, vm)
    if name == "netvm" and new:
        check_netvm(system, vm, new)
    if name == "netvm" and new != old:
        before_netvm(system, vm, new or "", old or "")
    system.events.fire(vm, f"property-pre-del:{name}", **values)
    system.qubes[vm].properties.pop(name, None)
    if name == "netvm" and new != old:
        after_netvm(system, vm, new or "", old or "")
    elif name != "netvm":
        _effects(system, vm, name, old, new)
    system.events.fire(vm, f"property-reset:{name}", **values)
    system.events.fire(vm, f"property-del:{name}", **values)


def _effects(system: System, vm: str, name: str, old: str | None, new: str | None) -> None:
    if name in ("ip", "ip6") and new != old:
        after_address(system, vm, name)
    elif name == "keyboard_layout" and vm != "dom0" and system.qubes[vm].running:
        system.write(vm, "keyboard-layout", new or "")
    elif name == "provides_network":
        features = system.qubes[vm].features
        if new == "True":
            features["servicevm"] = "1"
            system.events.fire(vm, "domain-feature-set:servicevm", feature="servicevm", value="1")
        elif features.pop("servicevm", None) is not None:
            system.events.fire(vm, "domain-feature-delete:servicevm", feature="servicevm")


def _values(name: str, **others: str | None) -> dict[str, object]:
    """Return what events of a property carry; an old value only where there was one."""
    return {"name": name, **{key: value for key, value in others.items() if value is not None}}


def _shown(one: Property, value: str | None) -> str | None:
    """Return how an event shows a value: no VM and no address are ``None`` there; None: it had none to show."""
    if value is None:
        return "None" if one.has_default else None
    return "None" if one.kind == "vm" and value == "" else value
