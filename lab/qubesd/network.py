"""What another netvm, address or firewall of a VM does to the keys of all who are concerned."""

from __future__ import annotations

from lab.qubesd.entries import create_entries
from lab.qubesd.errors import Refused, Unanswered
from lab.qubesd.provider import reload_firewall, write_connected_ips, write_legacy_rules, write_mapped_ip
from lab.qubesd.system import System


def firewall_changed(system: System, vm: str) -> None:
    """The rules of *vm* have been set or are to be written anew."""
    netvm = system.reference(vm, "netvm")
    if netvm and system.qubes[vm].running:
        reload_firewall(system, netvm, vm)
        write_legacy_rules(system, netvm)
    system.events.fire(vm, "firewall-changed")


def before_netvm(system: System, vm: str, new: str, old: str) -> None:
    """Fire the event before another netvm; take the network away from a VM that runs. Raises Refused."""
    system.events.fire(vm, "property-pre-set:netvm", name="netvm", newvalue=new or None, oldvalue=old or None)
    if new and system.qubes[vm].running and not system.qubes[new].running:
        raise Refused("QubesVMNotStartedError", "Cannot dynamically attach to stopped qube %s", new)


def after_netvm(system: System, vm: str, new: str, old: str) -> None:
    """Bring the keys of everybody concerned up to date, attach the network, fire the event. Raises Unanswered."""
    write_connected_ips(system, old)
    if new:
        write_connected_ips(system, new)
        if system.qubes[vm].running:
            create_entries(system, vm)
            _attach(system, vm, new)
            reload_firewall(system, new, vm)
            system.events.fire(new, "net-domain-connect", vm=vm)
    system.events.fire(vm, "property-set:netvm", name="netvm", newvalue=new or None, oldvalue=old or None)


def _attach(system: System, vm: str, netvm: str) -> None:
    write_mapped_ip(system, netvm, vm)
    # Nothing else is done meanwhile, there neither.
    system.ending.wait(system.faults.attach_seconds.get(vm, 0.0))
    if vm in system.faults.attach_fails:
        raise Unanswered(f"{vm}: the network could not be attached")


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
