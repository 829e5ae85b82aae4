"""A feature of a VM is stored or removed, by a client or by qubesd itself: the events, and what extensions do."""

from __future__ import annotations

from collections.abc import Callable

from lab.qubesd import extensions
from lab.qubesd.system import System


def store(system: System, vm: str, name: str, value: str, first: Callable[[], None] | None = None) -> None:
    """Store a feature; *first* is done before the keys follow it.

    Raises Refused, and Unanswered where the keys cannot be written, also where the feature has been stored by then.
    """
    features = system.qubes[vm].features
    values = {"feature": name, "value": value}
    if name in features:
        values["oldvalue"] = features[name]
    system.events.fire(vm, f"domain-feature-pre-set:{name}", **values)
    extensions.check(system, vm, name, value)
    features[name] = value
    if first is not None:
        first()
    extensions.after_set(system, vm, name, value)
    if value != values.get("oldvalue"):
        _fire_bootmode(system, vm, name)
    system.events.fire(vm, f"domain-feature-set:{name}", **values)


def _fire_bootmode(system: System, vm: str, name: str) -> None:
    """Tell that a default is another one, where the feature *name* is what it comes from."""
    if name == "boot-mode.active":
        _fire_reset(system, vm, "bootmode")
        return
    if name == "boot-mode.appvm-default" and system.qubes[vm].klass == "TemplateVM":
        if "appvm_default_bootmode" in system.qubes[vm].properties:
            return
        fire_bootmode_of_children(system, vm)
        _fire_reset(system, vm, "appvm_default_bootmode")
        # Once more, as two parts of qubesd do it.
        fire_bootmode_of_children(system, vm)


def fire_bootmode_of_children(system: System, template: str) -> None:
    """Tell VMs that are based on *template* that their default boot mode may be another one."""
    for child in system.names():
        if system.reference(child, "template") == template:
            _fire_reset(system, child, "bootmode")


def _fire_reset(system: System, vm: str, name: str) -> None:
    if name in system.definitions(vm) and name not in system.qubes[vm].properties:
        system.events.fire(vm, f"property-reset:{name}", name=name)


def delete(system: System, vm: str, name: str) -> None:
    """Remove a feature that is there. Raises Unanswered where its keys cannot be removed, although it is gone then."""
    system.events.fire(vm, f"domain-feature-pre-delete:{name}", feature=name)
    del system.qubes[vm].features[name]
    extensions.after_delete(system, vm, name)
    system.events.fire(vm, f"domain-feature-delete:{name}", feature=name)
