"""What another netvm, address or firewall of a VM does to the keys of all who are concerned, and to its network device.

While a VM is paused another netvm is only noted, in a feature that qubesd alone may set, and made up for later.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress

from lab.qubesd.entries import create_entries
from lab.qubesd.errors import Refused, Unanswered
from lab.qubesd.featurechanges import delete, store
from lab.qubesd.firewall import Rule
from lab.qubesd.provider import reload_firewall, write_connected_ips, write_legacy_rules, write_mapped_ip
from lab.qubesd.system import System

#: Names the netvm that a paused VM had before it was given another one.
DEFERRED = "deferred-netvm-original"
#: The service that ends when a VM has its network.
UPLINK = "qubes.WaitForNetworkUplink"


def firewall_changed(system: System, vm: str) -> None:
    """The rules of *vm* have been set or are to be written anew."""
    netvm = system.reference(vm, "netvm")
    if netvm and system.qubes[vm].running:
        reload_firewall(system, netvm, vm)
        write_legacy_rules(system, netvm)
    system.events.fire(vm, "firewall-changed")


def set_firewall(system: System, vm: str, rules: list[Rule]) -> None:
    """Keep rules, and write them anew when the first of them expires. Raises Unanswered, where they are kept too."""
    system.qubes[vm].firewall = rules
    if nearest := [rule.expires for rule in rules if rule.expires is not None and not rule.expired]:
        delay = max(0.0, min(nearest) - time.time())
        threading.Thread(target=_expire, args=(system, vm, delay), daemon=True).start()
    firewall_changed(system, vm)


def _expire(system: System, vm: str, delay: float) -> None:
    if system.ending.wait(min(delay, threading.TIMEOUT_MAX)):
        return
    with system.lock, suppress(Unanswered):
        if vm in system.qubes:
            set_firewall(system, vm, [rule for rule in system.qubes[vm].firewall if not rule.expired])


def before_netvm(system: System, vm: str, new: str, old: str) -> None:
    """Fire the event before another netvm; take the network away from a VM that runs. Raises Refused, Unanswered."""
    system.events.fire(vm, "property-pre-set:netvm", name="netvm", newvalue=new or None, oldvalue=old or None)
    qube = system.qubes[vm]
    if new and qube.running and not system.qubes[new].running:
        raise Refused("QubesVMNotStartedError", "Cannot dynamically attach to stopped qube %s", new)
    if qube.paused:
        if DEFERRED not in qube.features:
            store(system, vm, DEFERRED, old)
        return
    netvm = system.reference(vm, "netvm")
    if DEFERRED in qube.features or (netvm and qube.running and system.qubes[netvm].running):
        detach(system, vm)


def after_netvm(system: System, vm: str, new: str, old: str) -> None:
    """Bring the keys of everybody concerned up to date, attach the network, fire the event. Raises Unanswered."""
    write_connected_ips(system, old)
    if new:
        write_connected_ips(system, new)
        if system.qubes[vm].running:
            create_entries(system, vm)
            if not system.qubes[vm].paused:
                attach(system, vm, new)
            reload_firewall(system, new, vm)
            system.events.fire(new, "net-domain-connect", vm=vm)
    system.events.fire(vm, "property-set:netvm", name="netvm", newvalue=new or None, oldvalue=old or None)


def attach(system: System, vm: str, netvm: str) -> None:
    """Give a running VM its network device; a paused one gets it later. Raises Unanswered."""
    write_mapped_ip(system, netvm, vm)
    if system.qubes[vm].paused:
        return
    # Nothing else is done meanwhile, there neither.
    system.ending.wait(system.faults.attach_seconds.get(vm, 0.0))
    if vm in system.faults.attach_fails:
        raise Unanswered(f"{vm}: the network could not be attached")
    system.work(system.machines.attach, vm, netvm, system.value(vm, "mac") or "")
    system.qubes[vm].attached = netvm


def detach(system: System, vm: str) -> None:
    """Take the network device of a running VM away; a paused one keeps it until later. Raises Refused, Unanswered."""
    qube = system.qubes[vm]
    if qube.paused:
        if DEFERRED not in qube.features and qube.attached:
            store(system, vm, DEFERRED, qube.attached)
        return
    if not system.reference(vm, "netvm") and DEFERRED not in qube.features:
        raise Refused("QubesVMError", "netvm should not be None")
    if qube.attached:
        system.work(system.machines.detach, vm)
        qube.attached = ""


def apply_deferred(system: System, vm: str) -> None:
    """Make up for another netvm that a VM was given while it was paused. Raises Refused, Unanswered."""
    qube = system.qubes[vm]
    if DEFERRED not in qube.features:
        return
    former, netvm = qube.features[DEFERRED], system.reference(vm, "netvm")
    if netvm and not system.qubes[netvm].running:
        # It is done when that one starts.
        return
    old = former if former in system.qubes else ""
    before_netvm(system, vm, netvm, old)
    if netvm:
        after_netvm(system, vm, netvm, old)
    delete(system, vm, DEFERRED)
    with system.unlocked():
        system.work(system.serve, vm, UPLINK, b"")


def provider_started(system: System, netvm: str) -> None:
    """Attach the clients that run already. Raises Refused, Unanswered for keys that cannot be written."""
    if system.value(netvm, "provides_network") != "True":
        return
    for client in system.connected(netvm):
        qube = system.qubes[client]
        if not qube.running or qube.paused:
            continue
        with suppress(Refused, Unanswered):
            if DEFERRED in qube.features:
                apply_deferred(system, client)
            else:
                attach(system, client, netvm)


def ended(system: System, vm: str) -> None:
    """The domain of *vm* is gone: its clients, which go on, have no network until it is back."""
    if DEFERRED in system.qubes[vm].features:
        delete(system, vm, DEFERRED)
    for client in system.connected(vm):
        if system.qubes[client].running:
            with suppress(Refused, Unanswered):
                detach(system, client)


def after_address(system: System, vm: str, name: str) -> None:
    """Fire the events of another ``ip`` or ``ip6``; no key of anybody becomes another one."""
    suffix = name.removeprefix("ip")
    if system.value(vm, "provides_network") == "True":
        system.events.fire(vm, f"property-reset:gateway{suffix}", name=f"gateway{suffix}")
    system.events.fire(vm, f"property-reset:visible_ip{suffix}", name=f"visible_ip{suffix}")
    for client in system.connected(vm):
        gateway = f"visible_gateway{suffix}"
        system.events.fire(client, f"property-reset:{gateway}", name=gateway)


def check_unused(system: System, vm: str, force: bool) -> None:
    """Raise Refused where running VMs have their network from *vm*."""
    clients = [one for one in system.connected(vm) if system.qubes[one].running]
    if clients and not force and system.value(vm, "provides_network") == "True":
        names = ", ".join(clients)
        raise Refused("QubesVMInUseError", "There are other VMs connected to this VM: %s", names)
