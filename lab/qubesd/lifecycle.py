"""A VM starts and ends: the states, the events, and the keys that are written on the way."""

from __future__ import annotations

from lab.qubesd.entries import create_entries
from lab.qubesd.errors import Refused, Unanswered
from lab.qubesd.network import check_unused
from lab.qubesd.provider import reload_firewall, write_connected_ips, write_legacy_rules, write_mapped_ip
from lab.qubesd.qube import Machines
from lab.qubesd.system import System


def start(system: System, machines: Machines, vm: str) -> None:
    """Start a VM and wait for its qrexec agent; nothing is done for one that runs. Raises Refused, Unanswered.

    The lock, which the caller holds once, is free while it waits, as qubesd does other things meanwhile.
    """
    qube = system.qubes[vm]
    if qube.klass == "AdminVM":
        raise Refused("QubesVMNotHaltedError", "Cannot start Dom0 fake domain!")
    if qube.running:
        return
    if reason := qube.features.get("prohibit-start"):
        _fire_failed(system, vm, f"Qube start is prohibited. Rationale: {reason}")
        raise Refused("QubesException", "Qube start is prohibited. Rationale: %s", reason)
    system.events.fire(vm, "domain-pre-start", start_guid=True, mem_required=None)
    netvm = system.reference(vm, "netvm")
    if netvm:
        start(system, machines, netvm)
    system.events.fire(vm, "domain-pre-spawn", start_guid=True)
    if netvm:
        write_connected_ips(system, netvm)
        write_mapped_ip(system, netvm, vm)
        reload_firewall(system, netvm, vm)
    try:
        _run(system, machines, vm, netvm)
    except (Refused, Unanswered) as error:
        _fire_failed(system, vm, str(error))
        if system.qubes[vm].running:
            stop(system, machines, vm)
        raise


def _run(system: System, machines: Machines, vm: str, netvm: str) -> None:
    qube = system.qubes[vm]
    machines.create(vm)
    qube.state, qube.xid = "Paused", system.next_xid()
    for name in ("xid", "stubdom_xid", "start_time"):
        system.events.fire(vm, f"property-reset:{name}", name=name)
    if netvm:
        write_legacy_rules(system, netvm)
    system.events.fire(vm, "domain-spawn", start_guid=True)
    create_entries(system, vm)
    system.events.fire(vm, "domain-pre-unpaused")
    qube.state = "Transient"
    system.events.fire(vm, "domain-unpaused")
    if system.faults.qrexec_seconds:
        system.lock.release()
        try:
            system.ending.wait(system.faults.qrexec_seconds)
        finally:
            system.lock.acquire()
    if not system.qubes[vm].running:
        raise Refused("QubesException", "qubesdb not connected, VM was killed in the meantime")
    qube.state = "Running"
    # Who listens hears of it a moment before the rules are written once more.
    system.events.fire(vm, "domain-start", start_guid=True)
    if netvm:
        reload_firewall(system, netvm, vm)
    for client in system.connected(vm):
        if system.qubes[client].running:
            write_mapped_ip(system, vm, client)


def shutdown(system: System, machines: Machines, vm: str, words: list[str]) -> None:
    """Let a VM end. Raises Refused."""
    _check_domain(system, vm, "Cannot shutdown Dom0 fake domain!")
    force = "force" in words
    system.events.fire(vm, "domain-pre-shutdown", force=force)
    try:
        check_unused(system, vm, force)
    except Refused as error:
        system.events.fire(vm, "domain-shutdown-failed", reason=str(error))
        raise
    stop(system, machines, vm)


def kill(system: System, machines: Machines, vm: str) -> None:
    """End a VM at once. Raises Refused."""
    _check_domain(system, vm, "Cannot kill Dom0 fake domain!")
    stop(system, machines, vm)


def stop(system: System, machines: Machines, vm: str) -> None:
    """End a VM's domain, whoever asked for it."""
    qube = system.qubes[vm]
    machines.destroy(vm)
    qube.state, qube.xid = "Halted", -1
    for name in ("xid", "stubdom_xid", "start_time"):
        system.events.fire(vm, f"property-reset:{name}", name=name)
    system.events.fire(vm, "domain-stopped")
    system.events.fire(vm, "domain-shutdown")


def current_state(system: System, vm: str) -> str:
    """Return ``mem=… mem_static_max=… cputime=… power_state=…``."""
    qube = system.qubes[vm]
    memory = int(system.value(vm, "memory") or "4096") * 1024 if qube.running else 0
    return f"mem={memory} mem_static_max={memory} cputime=0 power_state={qube.state}"


def _check_domain(system: System, vm: str, of_dom0: str) -> None:
    if system.qubes[vm].klass == "AdminVM":
        raise Refused("QubesVMError", of_dom0)
    if not system.qubes[vm].running:
        raise Refused("QubesVMNotStartedError", "Domain is powered off: %r", vm)


def _fire_failed(system: System, vm: str, reason: str) -> None:
    system.events.fire(vm, "domain-start-failed", reason=reason)
