"""What a VM's keys are to hold on a host whose qubesd writes some of them itself at each start of the VM.

There ``default`` is what qubesd writes then, not an absent key, which would differ again after every start. Sources:
Qubes core-admin, ``create_qdb_entries`` and the extension ``services``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from vminterface.channel.adminapi import AdminAPI
from vminterface.dom0 import persistzone
from vminterface.dom0.fields import DEFAULT
from vminterface.dom0.persistplaces import MEMINFO_WRITER, Property, place_of
from vminterface.dom0.qubesd import Qubesd
from vminterface.dom0.settings import NETVM, VMSettings
from vminterface.errors import VMInterfaceError

#: Fields whose keys qubesd writes at each start from what is no field of the pillar.
_WRITTEN = ("type", "updateable", "persistence", "base_template")


@dataclass(frozen=True, slots=True)
class Adapted:
    """Settings of a VM as this host takes them."""

    #: What qubesd is to keep.
    kept: VMSettings
    #: What the keys of the running VM are to hold.
    live: VMSettings
    #: What is left out or will not last, and why.
    remarks: tuple[str, ...] = ()


def adapt(settings: VMSettings, qubesd: Qubesd) -> Adapted:
    """Return *settings*, in which ``persist`` is decided, as this host takes them.

    qubesd is asked for nothing that does not depend on it. Raises the errors of AdminAPI.
    """
    remarks: list[str] = []
    if qubesd.expected:
        settings, remarks = persistzone.without_default(settings, qubesd)
    zones = persistzone.keys_of(settings, qubesd)
    live = {**{name: text for name, text in settings.desired.items() if name != "timezone" or name in zones}, **zones}
    if qubesd.expected:
        defaults = [name for name, text in live.items() if text is None]
        for name in defaults:
            if (ask := _at_start(settings, name)) is not None:
                live[name] = qubesd.call(settings.vm, name, *ask)
        if "keyboard" in defaults and "keymap" in defaults:
            # Written by dom0's gui-daemon when it connects.
            del live["keymap"]
        if left := [name for name in defaults if name in _WRITTEN and place_of(name) is None]:
            live = {name: text for name, text in live.items() if name not in left}
            remarks.append(
                f"the default of {', '.join(left)} takes effect at the VM's next start, when qubesd writes it"
            )
        if live.get(MEMINFO_WRITER) is not None and MEMINFO_WRITER not in defaults:
            remarks.append(f"{MEMINFO_WRITER} holds until the VM's next start, as qubesd always writes it then")
        if without_network(settings) and _has_netvm(settings, qubesd):
            remarks.append(
                "network: none holds until the VM's next start, when qubesd gives the VM one (netvm: none lasts)"
            )
    return Adapted(settings, replace(settings, desired=live), tuple(remarks))


def decided_by(settings: VMSettings) -> set[str]:
    """Return the features and properties that the keys of *settings* hang on: ``feature service.cups``, …"""
    found = {place.words for place in map(place_of, settings.desired) if place is not None}
    if "timezone" in settings.desired:
        found.add(f"feature {persistzone.ANONYMOUS}")
    if MEMINFO_WRITER in settings.desired:
        found.add("property maxmem")
    return found


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


def _at_start(settings: VMSettings, name: str) -> tuple[str, Callable[[AdminAPI], str | None]] | None:
    """Return how to ask for what qubesd writes for *name* at a start: the thing's name, and the question."""
    vm = settings.vm
    if name == MEMINFO_WRITER:
        return "property maxmem", lambda api: "0" if api.property(vm, "maxmem").value == "0" else "1"
    if name.startswith("network:") and settings.desired.get("network:ip") is None:
        # The VM is to have no network at all.
        return None
    place = place_of(name)
    if not isinstance(place, Property) or not place.written_at_start:
        return None

    def ask(api: AdminAPI) -> str | None:
        if name == "keyboard" and not api.property(vm, "guivm").value:
            # Nobody has windows of it, so it is not given a layout.
            return None
        return place.text_at_start(api, vm, kept=bool(settings.persist))

    return place.words, ask
