"""The keys that qubesd writes for a VM at its start, and anew when it has another netvm."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator

from lab.qubesd import extensions, guivms
from lab.qubesd.provider import fill_provider, write_legacy_rules
from lab.qubesd.system import System


def create_entries(system: System, vm: str) -> None:
    """Write all of a running VM's keys; others that it has stay. Raises Refused, Unanswered."""
    for key, text in _own(system, vm):
        if text is None:
            system.remove(vm, key)
        else:
            system.write(vm, key, text)
    extensions.fill(system, vm)
    guivms.fill(system, vm)
    fill_provider(system, vm)
    write_legacy_rules(system, vm)
    system.events.fire(vm, "domain-qdb-create")


def _own(system: System, vm: str) -> Iterator[tuple[str, str | None]]:
    def text(name: str) -> str:
        return system.value(vm, name) or ""

    def shown(name: str) -> str:
        # What there is none of is written as that word.
        return system.value(vm, name) or "None"

    updateable = text("updateable") == "True"
    provides = text("provides_network") == "True"
    netvm = text("netvm")
    dns = list(zip(("primary", "secondary"), text("dns").split(), strict=False))
    yield "name", vm
    yield "type", system.qubes[vm].klass
    yield "default-user", default_user(system, vm)
    yield "qubes-vm-updateable", str(updateable)
    yield "qubes-vm-persistence", "full" if updateable else "rw-only"
    yield "qubes-debug-mode", "1" if text("debug") == "True" else "0"
    yield "qubes-base-template", text("template")
    yield "qubes-random-seed", base64.b64encode(os.urandom(64)).decode()
    if provides:
        yield "qubes-netvm-network", shown("gateway")
        yield "qubes-netvm-gateway", shown("gateway")
        if text("gateway6"):
            yield "qubes-netvm-gateway6", text("gateway6")
        yield "qubes-netvm-netmask", "255.255.255.255"
        for which, address in dns:
            yield f"qubes-netvm-{which}-dns", address
    if netvm:
        yield "qubes-mac", text("mac")
        yield "qubes-ip", shown("visible_ip")
        yield "qubes-netmask", shown("visible_netmask")
        yield "qubes-gateway", shown("visible_gateway")
        for which, address in dns:
            yield f"qubes-{which}-dns", address
        for key, name in (("qubes-ip6", "visible_ip6"), ("qubes-gateway6", "visible_gateway6")):
            if text(name):
                yield key, text(name)
    anonymous = system.inherited(vm, "anon-timezone", "template")
    yield "qubes-timezone", None if anonymous else system.timezone
    yield "qubes-block-devices", ""
    yield "qubes-usb-devices", ""
    if system.qubes[vm].klass == "TemplateVM":
        kind = "TemplateVM"
    else:
        kind = ("ProxyVM" if netvm else "NetVM") if provides else "AppVM"
    yield "qubes-vm-type", kind
    yield "qubes-iptables-error", ""


def default_user(system: System, vm: str) -> str:
    """Return the user for whom programs of a VM are started; a boot mode may have its own."""
    mode = system.value(vm, "bootmode") or "default"
    own = None if mode == "default" else system.inherited(vm, f"boot-mode.default-user.{mode}", "template")
    return (system.value(vm, "default_user") or "") if own is None else own
