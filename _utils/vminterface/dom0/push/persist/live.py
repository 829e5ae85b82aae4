"""What a VM's keys are to hold on a host whose qubesd writes some of them itself at each start of the VM.

There ``default`` is what qubesd writes then, not an absent key, which would differ again after every start. Sources:
Qubes core-admin, ``create_qdb_entries`` and the extension ``services``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from vminterface.channel.adminapi import AdminAPI
from vminterface.dom0.desired.persistent import CHECK_UPDATES, UPDATE_CHECK, feature_of
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.desired.words import NETVM
from vminterface.dom0.inventory.qubesd import Qubesd
from vminterface.dom0.push.persist import zone as persistzone
from vminterface.dom0.push.persist.places import MEMINFO_WRITER, Property, place_of
from vminterface.dom0.push.persist.routed import FAKE
from vminterface.errors import VMInterfaceError
from vminterface.keys import DEFAULT
from vminterface.values import featurecatalogue, vmproperty
from vminterface.values.effect import Effect
from vminterface.values.service import ServiceState, hashed_app

#: Fields whose keys qubesd writes at each start from what is no field of the pillar.
_WRITTEN = ("type", "updateable", "persistence", "base_template")


@dataclass(frozen=True, slots=True)
class Adapted:
    """Settings of a VM as this host takes them."""

    #: What qubesd is to keep.
    persistent: VMSettings
    #: What the keys of the running VM are to hold.
    live: VMSettings
    #: What is left out or will not last, and why.
    remarks: tuple[str, ...]


def adapt(settings: VMSettings, qubesd: Qubesd) -> Adapted:
    """Return *settings*, in which ``persist`` is decided, as this host takes them.

    qubesd is asked for nothing that does not depend on it. Raises the errors of AdminAPI.
    """
    remarks: list[str] = []
    if qubesd.expected:
        settings, remarks = persistzone.without_default(settings, qubesd)
    zones = persistzone.keys_of(settings, qubesd)
    live = {**{name: value for name, value in settings.desired.items() if name != "timezone" or name in zones}, **zones}
    # No key says of these that they are off.
    live = {name: None if value is ServiceState.OFF and _is_hashed(name) else value for name, value in live.items()}
    if CHECK_UPDATES in settings.persistent and UPDATE_CHECK not in live:
        # At a start qubesd makes the one of the other.
        flag = settings.persistent[CHECK_UPDATES]
        live[UPDATE_CHECK] = None if flag is None else ServiceState.from_word(bool(flag))
    if qubesd.expected:
        defaults = [name for name, value in live.items() if value is None]
        for name in defaults:
            if (ask := _at_start(settings, name)) is not None:
                live[name] = qubesd.call(settings.vm, name, *ask)
        if "keyboard" in defaults and "keymap" in defaults:
            # Written by dom0's gui-daemon when it connects.
            del live["keymap"]
        if left := [name for name in defaults if name in _WRITTEN and place_of(name) is None]:
            live = {name: value for name, value in live.items() if name not in left}
            remarks.append(
                f"the default of {', '.join(left)} takes effect at the VM's next start, when qubesd writes it"
            )
        if live.get(MEMINFO_WRITER) is not None and MEMINFO_WRITER not in defaults:
            remarks.append(f"{MEMINFO_WRITER} holds until the VM's next start, because qubesd always writes it then")
        if without_network(settings) and _has_netvm(settings, qubesd):
            remarks.append(
                "network: none holds until the VM's next start, when qubesd sets one (netvm: none is persistent)"
            )
    return Adapted(settings, replace(settings, desired=live), tuple(remarks))


def _is_hashed(field: str) -> bool:
    group, _, member = field.partition(":")
    return group == "services" and hashed_app(member) != ""


def later(fields: Iterable[str], *, rewritten: bool) -> list[str]:
    """Return those of *fields* that a running VM has not until its next start, though qubesd keeps them.

    *rewritten*: whether qubesd writes the VM's keys anew beforehand, as it attaches its network.
    """
    found = []
    for name in fields:
        known = featurecatalogue.find(feature_of(name)) if feature_of(name) else vmproperty.KNOWN.get(name)
        at_once = name == CHECK_UPDATES or (rewritten and feature_of(name).startswith(FAKE))
        if known is not None and known.effect is Effect.START and not at_once:
            found.append(name)
    return sorted(found)


def decided_by(settings: VMSettings) -> set[str]:
    """Return the features and properties that *settings*, or keys of theirs, are: ``feature service.cups``, …"""
    fields = (*settings.desired, *settings.persistent)
    found = {place.words for place in map(place_of, fields) if place is not None}
    if "timezone" in settings.desired:
        found.add(f"feature {persistzone.ANONYMOUS}")
    if MEMINFO_WRITER in settings.desired:
        found.add("property maxmem")
    return found


def _guivm(api: AdminAPI, settings: VMSettings) -> str:
    """Return the VM's GuiVM after the push of *settings*, empty for none."""
    desired = settings.persistent.get("guivm")
    if desired is None and "guivm" in settings.persistent:
        return api.property_default(settings.vm, "guivm")
    return api.property(settings.vm, "guivm").value if desired is None else str(desired)


def _maxmem(api: AdminAPI, settings: VMSettings) -> str:
    """Return the text of property ``maxmem`` after the push of *settings*."""
    if "maxmem" not in settings.persistent:
        return api.property(settings.vm, "maxmem").value
    if (desired := settings.persistent["maxmem"]) is None:
        return api.property_default(settings.vm, "maxmem")
    return str(desired)


def without_network(settings: VMSettings) -> bool:
    """Return whether the VM is to have no network: ``network: none``."""
    return "network:ip" in settings.desired and settings.desired["network:ip"] is None


def _has_netvm(settings: VMSettings, qubesd: Qubesd) -> bool:
    """Whether the VM has a netvm at its next start, also where nobody can say so.

    Raises the errors of AdminAPI for settings that qubesd is to keep; others do without it.
    """
    vm, netvm = settings.vm, settings.netvm
    if netvm is not None and netvm != DEFAULT:
        return netvm != ""
    try:
        if netvm == DEFAULT:
            return bool(qubesd.call(vm, NETVM, "property netvm", lambda api: api.property_default(vm, NETVM)))
        return bool(qubesd.call(vm, NETVM, "property netvm", lambda api: api.property(vm, NETVM)).value)
    except VMInterfaceError:
        if settings.persist:
            raise
        return True


def _at_start(settings: VMSettings, name: str) -> tuple[str, Callable[[AdminAPI], Any]] | None:
    """Return how to ask for what qubesd writes for *name* at a start: the name of the value, and the call."""
    vm = settings.vm
    if name == MEMINFO_WRITER:
        return "property maxmem", lambda api: ServiceState.from_word(_maxmem(api, settings) != "0")
    if name.startswith("network:") and settings.desired.get("network:ip") is None:
        # The VM is to have no network at all.
        return None
    place = place_of(name)
    if not isinstance(place, Property) or not place.written_at_start:
        return None

    def ask(api: AdminAPI) -> Any:
        if name == "keyboard":
            if not (guivm := _guivm(api, settings)):
                # Nobody has windows of it, so it is not given a layout.
                return None
            if "guivm" in settings.persistent and settings.persist and guivm != vm:
                return place.parse(api.property(guivm, "keyboard_layout").value)
        return place.at_start(api, vm, persistent=bool(settings.persist))

    return place.words, ask
