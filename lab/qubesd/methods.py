"""The calls by name: which takes an argument, a value, a VM or the host, and what does it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lab.qubesd import devices, features, hostproperties, lifecycle, notes, propertycalls, tags, volumes
from lab.qubesd.errors import Unanswered
from lab.qubesd.firewall import parse_rules
from lab.qubesd.network import firewall_changed, set_firewall
from lab.qubesd.setters import label_named
from lab.qubesd.system import LABELS, System


@dataclass(frozen=True, slots=True)
class Call:
    """One call, with all that it may use."""

    system: System
    source: str
    vm: str
    argument: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Method:
    """What does a call, and what a client has to send; None of *argument*: with or without."""

    work: Callable[[Call], str | None]
    argument: bool | None = True
    payload: bool = False
    #: Of the host alone, of VMs alone, of both.
    of: str = "both"


def call(method: str, one: Call) -> bytes:
    """Make a call; return what is sent after ``0`` and a NUL. Raises Refused, Unanswered."""
    found = METHODS.get(method)
    if found is None:
        raise Unanswered(f"no such method: {method}")
    if one.payload and not found.payload:
        raise Unanswered("unexpected payload")
    if found.argument is False and one.argument:
        raise Unanswered("unexpected argument")
    if found.of == "host" and one.vm != "dom0":
        raise Unanswered("expected dom0")
    return (found.work(one) or "").encode()


def _list_vms(one: Call) -> str:
    if one.source != "dom0":
        raise Unanswered("no policy allows it")
    names = one.system.names() if one.vm == "dom0" else [one.vm]
    system = one.system
    return "".join(
        f"{name} class={system.qubes[name].klass} state={system.qubes[name].state} uuid={system.uuid(name)}\n"
        for name in names
    )


def _firewall_get(one: Call) -> str:
    _check_has_firewall(one)
    return "".join(f"{rule.render()}\n" for rule in one.system.qubes[one.vm].firewall if not rule.expired)


def _firewall_set(one: Call) -> None:
    try:
        rules = parse_rules(one.payload)
    except ValueError as error:
        raise Unanswered(str(error)) from error
    _check_has_firewall(one)
    set_firewall(one.system, one.vm, rules)


def _firewall_reload(one: Call) -> None:
    if one.vm == "dom0":
        one.system.events.fire("dom0", "firewall-changed")
    else:
        firewall_changed(one.system, one.vm)


def _check_has_firewall(one: Call) -> None:
    if one.vm == "dom0":
        raise Unanswered("dom0 has no firewall")


def _shutdown(one: Call) -> None:
    words = one.argument.split("+") if one.argument else []
    if not {"force", "wait"}.issuperset(words):
        raise Unanswered(f"no such option: {one.argument}")
    lifecycle.shutdown(one.system, one.vm, words)


def _check(*ways: str) -> Callable[[Call], str]:
    return lambda one: features.get_feature(one.system, one.vm, one.argument, *ways)


def _of_devices(kind: str) -> dict[str, Method]:
    """Return the calls about the devices of one class."""
    base = f"admin.vm.device.{kind}"
    return {
        f"{base}.Assign": Method(lambda c: devices.assign(c.system, c.vm, kind, c.argument, c.payload), payload=True),
        f"{base}.Assigned": Method(lambda c: devices.assigned(c.system, c.vm, kind, c.argument), argument=None),
        f"{base}.Set.assignment": Method(
            lambda c: devices.set_mode(c.system, c.vm, kind, c.argument, c.payload), payload=True
        ),
        f"{base}.Unassign": Method(lambda c: devices.unassign(c.system, c.vm, kind, c.argument)),
    }


METHODS: dict[str, Method] = {
    "admin.deviceclass.List": Method(
        lambda c: "".join(f"{name}\n" for name in devices.CLASSES), argument=False, of="host"
    ),
    "admin.label.Get": Method(lambda c: LABELS[label_named(c.argument)], of="host"),
    "admin.label.Index": Method(lambda c: str(list(LABELS).index(label_named(c.argument)) + 1), of="host"),
    "admin.label.List": Method(lambda c: "".join(f"{name}\n" for name in LABELS), argument=False, of="host"),
    "admin.property.Get": Method(lambda c: hostproperties.get_host(c.system, c.argument), of="host"),
    "admin.property.GetAll": Method(lambda c: hostproperties.get_all_host(c.system), argument=False, of="host"),
    "admin.property.GetDefault": Method(lambda c: hostproperties.get_host_default(c.system, c.argument), of="host"),
    "admin.property.List": Method(lambda c: hostproperties.list_host(c.system), argument=False, of="host"),
    "admin.property.Reset": Method(lambda c: hostproperties.reset_host(c.system, c.argument), of="host"),
    "admin.property.Set": Method(
        lambda c: hostproperties.set_host(c.system, c.argument, c.payload), payload=True, of="host"
    ),
    "admin.vm.CurrentState": Method(lambda c: lifecycle.current_state(c.system, c.vm), argument=False),
    "admin.property.Help": Method(lambda c: hostproperties.help_of_host(c.argument), of="host"),
    "admin.vm.Kill": Method(lambda c: lifecycle.kill(c.system, c.vm), argument=False),
    "admin.vm.List": Method(_list_vms, argument=False),
    "admin.vm.Pause": Method(lambda c: lifecycle.pause(c.system, c.vm), argument=False),
    "admin.vm.Shutdown": Method(_shutdown, argument=None),
    "admin.vm.Start": Method(lambda c: lifecycle.start(c.system, c.vm), argument=False),
    "admin.vm.Unpause": Method(lambda c: lifecycle.unpause(c.system, c.vm), argument=False),
    "admin.vm.device.denied.Add": Method(
        lambda c: devices.deny(c.system, c.vm, c.payload), argument=None, payload=True
    ),
    "admin.vm.device.denied.List": Method(lambda c: devices.denied(c.system, c.vm), argument=False),
    "admin.vm.device.denied.Remove": Method(
        lambda c: devices.allow(c.system, c.vm, c.payload), argument=None, payload=True
    ),
    **{name: method for kind in devices.CLASSES for name, method in _of_devices(kind).items()},
    "admin.vm.feature.Get": Method(_check()),
    "admin.vm.feature.List": Method(lambda c: features.list_features(c.system, c.vm), argument=False),
    "admin.vm.feature.Remove": Method(lambda c: features.remove_feature(c.system, c.vm, c.argument)),
    "admin.vm.feature.Set": Method(
        lambda c: features.set_feature(c.system, c.vm, c.argument, c.payload), argument=None, payload=True
    ),
    "admin.vm.firewall.Get": Method(_firewall_get, argument=False),
    "admin.vm.firewall.Reload": Method(_firewall_reload, argument=False),
    "admin.vm.firewall.Set": Method(_firewall_set, argument=False, payload=True),
    "admin.vm.notes.Get": Method(lambda c: notes.get_notes(c.system, c.vm)),
    "admin.vm.notes.Set": Method(lambda c: notes.set_notes(c.system, c.vm, c.payload), argument=None, payload=True),
    "admin.vm.property.Get": Method(lambda c: propertycalls.get_property(c.system, c.vm, c.argument)),
    "admin.vm.property.GetAll": Method(lambda c: propertycalls.get_all_properties(c.system, c.vm), argument=False),
    "admin.vm.property.GetDefault": Method(lambda c: propertycalls.get_default(c.system, c.vm, c.argument)),
    "admin.vm.property.Help": Method(lambda c: propertycalls.help_of(c.system, c.vm, c.argument)),
    "admin.vm.property.List": Method(lambda c: propertycalls.list_properties(c.system, c.vm), argument=False),
    "admin.vm.property.Reset": Method(lambda c: propertycalls.reset(c.system, c.vm, c.argument)),
    "admin.vm.property.Set": Method(
        lambda c: propertycalls.set_from(c.system, c.vm, c.argument, c.payload), payload=True
    ),
    "admin.vm.tag.Get": Method(lambda c: tags.has_tag(c.system, c.vm, c.argument)),
    "admin.vm.tag.List": Method(lambda c: tags.list_tags(c.system, c.vm), argument=False),
    "admin.vm.tag.Remove": Method(lambda c: tags.remove_tag(c.system, c.vm, c.argument)),
    "admin.vm.tag.Set": Method(lambda c: tags.add_tag(c.system, c.vm, c.argument)),
    "admin.vm.volume.Info": Method(lambda c: volumes.info(c.system, c.vm, c.argument)),
    "admin.vm.volume.Resize": Method(lambda c: volumes.resize(c.system, c.vm, c.argument, c.payload), payload=True),
    "admin.vmclass.List": Method(
        lambda c: "AdminVM\nAppVM\nDispVM\nRemoteVM\nStandaloneVM\nTemplateVM\n", argument=False, of="host"
    ),
    **{f"admin.vm.feature.{name}": Method(_check(*ways)) for name, ways in features.CHECKS.items()},
}
