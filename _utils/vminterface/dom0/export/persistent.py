"""What qubesd keeps of a VM as values of the pillar: what somebody has set; its own defaults are left to it."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from vminterface import keys
from vminterface.channel.adminapi import AdminAPI
from vminterface.dom0.desired import words
from vminterface.dom0.desired.firewall import ClientFirewall
from vminterface.dom0.desired.persistent import FEATURES
from vminterface.dom0.desired.words import FIREWALL, NETVM
from vminterface.dom0.export.vmexport import VMExport
from vminterface.dom0.inventory.qubesd import Qubesd
from vminterface.dom0.push.persist.places import place_of
from vminterface.errors import InvalidValue, KeyNotFound
from vminterface.values import featurecatalogue, firewallstore, vmproperty
from vminterface.values.featurecatalogue import Setter
from vminterface.values.firewall import Action, Firewall
from vminterface.values.unreadable import Unreadable

#: Fields that are properties, in the order in which they are asked for.
_PROPERTIES = (
    "keyboard",
    "debug",
    "default_user",
    "network:ip",
    "network:ip6",
    "network:mac",
    NETVM,
    *vmproperty.KNOWN,
)
_SERVICE, _CONFIG = "service.", "vm-config."
#: Fields that features of vminterface's own names are.
_OURS = {
    "vm-config.vminterface-timezone": "timezone",
    "vm-config.vminterface-dns": "network:dns",
    "vm-config.vminterface-dns-search": "network:dns_search",
}
#: What a network needs beside what qubesd keeps of it, which a running VM's keys have.
_OF_KEYS = {"network:ip": ("network:gateway", "network:netmask"), "network:ip6": ("network:gateway6",)}

T = TypeVar("T")


def take(qubesd: Qubesd, vm: str, into: VMExport) -> None:
    """Put what qubesd keeps of *vm* *into* its export, in which there is what the store holds if it runs.

    Of that stays what qubesd keeps, too, or what belongs to it. Raises the errors of AdminAPI.
    """
    of_store, into.values = into.values, {}
    left_in_store, into.left_out = into.left_out, {}
    for field in _PROPERTIES:
        _property(qubesd, vm, field, into)
    by_others = []
    for name in _ask(qubesd, vm, "features", lambda api: sorted(api.features(vm))):
        text = _ask(qubesd, vm, f"feature {name}", partial(_read_feature, vm, name))
        known = featurecatalogue.find(name)
        if known is not None and known.setter is not Setter.ADMIN:
            by_others.append(name)
        elif text is not None:
            _feature(name, text, into)
    for field, names in _OF_KEYS.items():
        if tuple(field.split(":")) in into.values:
            into.values.update({path: of_store[path] for path in map(_path, names) if path in of_store})
    _firewall(qubesd, vm, into)
    into.complete()
    if by_others:
        into.notes.append(
            f"left out, because the VM's tools or dom0's programs set them: features {', '.join(by_others)}"
        )
    _note_store(of_store, left_in_store, into)


def _path(field: str) -> tuple[str, ...]:
    return tuple(field.split(":", 1))


def _ask(qubesd: Qubesd, vm: str, thing: str, ask: Callable[[AdminAPI], T]) -> T:
    return qubesd.call(vm, "export", thing, ask)


def _read_feature(vm: str, name: str, api: AdminAPI) -> str | None:
    return api.feature(vm, name)


def _read_property(vm: str, name: str, api: AdminAPI) -> str:
    return api.property(vm, name).value


def _property(qubesd: Qubesd, vm: str, field: str, into: VMExport) -> None:
    place = place_of(field)
    assert place is not None
    try:
        held = _ask(qubesd, vm, place.words, lambda api: place.read(api, vm))
    except KeyNotFound:
        return  # VMs of its class have none
    if held.set_to is not None:
        _put(field, held.set_to, into)


def _put(field: str, value: Any, into: VMExport) -> None:
    if isinstance(value, Unreadable):
        into.leave_out(_path(field), f"'{value.text}' is not a valid value")
    else:
        into.values[_path(field)] = value if isinstance(value, bool) else words.value(field, value)


def _feature(name: str, text: str, into: VMExport) -> None:
    """Take one feature with its *text*."""
    if name in _OURS:
        field = _OURS[name]
        _put(field, keys.read_value("network:all_dns" if field == "network:dns" else field, text), into)
    elif name.startswith(_SERVICE):
        into.values["services", name.removeprefix(_SERVICE)] = bool(text)
    elif name.startswith(_CONFIG):
        into.values["vm_config", name.removeprefix(_CONFIG)] = text
    elif why := featurecatalogue.why_not(name):
        into.leave_out((FEATURES, name), f"it {why}")
    else:
        try:
            into.values[FEATURES, name] = featurecatalogue.kind_of(name).parse(text)
        except InvalidValue as error:
            into.leave_out((FEATURES, name), str(error))


def _firewall(qubesd: Qubesd, vm: str, into: VMExport) -> None:
    """Take the rules, unless they are those of a VM for which nobody has set any."""
    text = _ask(qubesd, vm, "admin.vm.firewall.Get", lambda api: api.firewall_get(vm))
    held = firewallstore.parse(text.decode("utf-8", "surrogateescape"), time.time())
    if held is None:
        into.leave_out((FIREWALL,), "qubesd stores rules that a pillar cannot express")
        return
    if held.meaning == Firewall(Action.ACCEPT):
        return
    found = ClientFirewall(Firewall(Action.DROP)).in_words(held)
    for name, thing in (("netvm", NETVM), ("ip", "ip")):
        try:
            value = _ask(qubesd, vm, f"property {thing}", partial(_read_property, vm, thing))
        except KeyNotFound:
            value = ""
        if not value:
            into.leave_out((FIREWALL,), f"the VM has no {name} (rules belong to an address at a provider)")
            return
        found[name] = value
    into.values[FIREWALL,] = found


def _note_store(of_store: dict[tuple[str, ...], Any], left: dict[tuple[str, ...], str], into: VMExport) -> None:
    """Note what the running VM's keys have and qubesd does not keep."""
    into.left_out.update({path: why for path, why in left.items() if path not in into.values})
    own, alone = [], []
    for path, value in sorted(of_store.items()):
        if path in into.values or path in into.left_out:
            continue
        if path[0] in ("services", "vm_config") and ":".join(path) not in _BY_QUBESD:
            alone.append((path, value))
        else:
            own.append(":".join(path))
    for path, value in alone:
        shown = "on" if value is True else "off" if value is False else f"'{value}'"
        into.leave_out(path, f"{shown} only in the running VM, because qubesd does not store it")
    if own:
        into.notes.append(f"written by qubesd at each start of the VM: {', '.join(own)}")


#: Services that qubesd writes by itself.
_BY_QUBESD = ("services:meminfo-writer", "services:qubes-update-check")
