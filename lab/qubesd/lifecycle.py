"""A VM starts, pauses and ends: the states, the events, and the keys that are written on the way."""

from __future__ import annotations

from lab.qubesd import devices, guivms, remotes
from lab.qubesd.entries import create_entries
from lab.qubesd.errors import Refused, Unanswered
from lab.qubesd.network import apply_deferred, check_unused, ended, provider_started
from lab.qubesd.provider import reload_firewall, write_connected_ips, write_legacy_rules, write_mapped_ip
from lab.qubesd.system import System

#: What changes where a domain comes or goes.
_OF_DOMAIN = ("xid", "stubdom_xid", "start_time")
#: Classes of VMs that no domain stands for.
_NO_DOMAIN = ("AdminVM", "RemoteVM")


def start(system: System, vm: str) -> None:
    """Start a VM and wait for its qrexec agent; nothing is done for one that runs. Raises Refused, Unanswered.

    The lock, which the caller holds once, is free while it waits, as qubesd does other things meanwhile.
    """
    qube = system.qubes[vm]
    _check_local(system, vm, "QubesVMNotHaltedError", "Cannot start")
    if qube.running:
        return
    if reason := qube.features.get("prohibit-start"):
        _fire_failed(system, vm, f"Qube start is prohibited. Rationale: {reason}")
        raise Refused("QubesException", "Qube start is prohibited. Rationale: %s", reason)
    system.events.fire(vm, "domain-pre-start", start_guid=True, mem_required=None)
    try:
        devices.check_available(system, vm)
    except Refused as error:
        _fire_failed(system, vm, str(error))
        raise
    netvm = system.reference(vm, "netvm")
    if netvm:
        start(system, netvm)
    system.events.fire(vm, "domain-pre-spawn", start_guid=True)
    if netvm:
        write_connected_ips(system, netvm)
        write_mapped_ip(system, netvm, vm)
        reload_firewall(system, netvm, vm)
    try:
        _run(system, vm, netvm)
    except (Refused, Unanswered) as error:
        _fire_failed(system, vm, str(error))
        if system.qubes[vm].running:
            stop(system, vm)
        raise


def _run(system: System, vm: str, netvm: str) -> None:
    qube, machines = system.qubes[vm], system.machines
    xid = system.work(machines.create, vm)
    qube.state, qube.xid = "Paused", system.next_xid() if xid is None else xid
    if netvm:
        system.work(machines.attach, vm, netvm, system.value(vm, "mac") or "")
        qube.attached = netvm
    _fire_resets(system, vm)
    if netvm:
        write_legacy_rules(system, netvm)
    system.events.fire(vm, "domain-spawn", start_guid=True)
    create_entries(system, vm)
    system.events.fire(vm, "domain-pre-unpaused")
    system.work(machines.unpause, vm)
    qube.state = "Transient"
    system.events.fire(vm, "domain-unpaused")
    if system.faults.qrexec_seconds:
        with system.unlocked():
            system.ending.wait(system.faults.qrexec_seconds)
    if not system.qubes[vm].running:
        raise Refused("QubesException", "qubesdb not connected, VM was killed in the meantime")
    qube.state = "Running"
    # Who listens hears of it a moment before the rules are written once more.
    system.events.fire(vm, "domain-start", start_guid=True)
    if netvm:
        reload_firewall(system, netvm, vm)
    provider_started(system, vm)
    guivms.started(system, vm)
    remotes.relay_started(system, vm)


def shutdown(system: System, vm: str, words: list[str]) -> None:
    """Let a VM end. Raises Refused."""
    if system.qubes[vm].klass in _NO_DOMAIN:
        # Their classes have one that does not fit the call.
        raise Unanswered(f"{vm} cannot be shut down")
    qube, force = system.qubes[vm], "force" in words
    if not qube.running:
        raise Refused("QubesVMNotStartedError", "Domain is powered off: %r", vm)
    system.events.fire(vm, "domain-pre-shutdown", force=force)
    try:
        check_unused(system, vm, force)
        guivms.check_unused(system, vm, force)
        if qube.paused and not force:
            raise _not_running(vm)
    except Refused as error:
        system.events.fire(vm, "domain-shutdown-failed", reason=str(error))
        raise
    stop(system, vm)


def kill(system: System, vm: str) -> None:
    """End a VM at once. Raises Refused."""
    _check_local(system, vm, "QubesVMError", "Cannot kill")
    if not system.qubes[vm].running:
        raise Refused("QubesVMNotStartedError", "Domain is powered off: %r", vm)
    stop(system, vm)


def pause(system: System, vm: str) -> None:
    """Halt a VM where it is. Raises Refused, Unanswered."""
    qube = system.qubes[vm]
    if qube.klass in _NO_DOMAIN:
        raise Unanswered(f"{vm} cannot be paused")
    if not qube.running:
        raise _not_running(vm)
    system.events.fire(vm, "domain-pre-paused")
    system.work(system.machines.pause, vm)
    qube.state = "Paused"
    system.events.fire(vm, "domain-paused")


def unpause(system: System, vm: str) -> None:
    """Let a VM go on, and give it the network that it was to have meanwhile. Raises Refused, Unanswered."""
    qube = system.qubes[vm]
    if not qube.paused:
        raise Refused("QubesVMNotPausedError", "Domain is not paused: %r", vm)
    system.events.fire(vm, "domain-pre-unpaused")
    system.work(system.machines.unpause, vm)
    qube.state = "Running"
    system.events.fire(vm, "domain-unpaused")
    apply_deferred(system, vm)


def stop(system: System, vm: str) -> None:
    """End a VM's domain, whoever asked for it."""
    qube = system.qubes[vm]
    system.machines.destroy(vm)
    qube.state, qube.xid, qube.attached = "Halted", -1, ""
    system.events.fire(vm, "domain-stopped")
    _fire_resets(system, vm)
    ended(system, vm)
    system.events.fire(vm, "domain-shutdown")


def current_state(system: System, vm: str) -> str:
    """Return ``mem=… mem_static_max=… cputime=… power_state=…``."""
    qube = system.qubes[vm]
    running = qube.running and qube.klass != "RemoteVM"
    memory = int(system.value(vm, "memory") or "4096") * 1024 if running else 0
    return f"mem={memory} mem_static_max={memory} cputime=0 power_state={qube.state}"


def _check_local(system: System, vm: str, kind: str, verb: str) -> None:
    klass = system.qubes[vm].klass
    if klass == "AdminVM":
        raise Refused(kind, f"{verb} Dom0 fake domain!")
    if klass == "RemoteVM":
        raise Refused(kind, f"{verb} a RemoteVM.")


def _not_running(vm: str) -> Refused:
    return Refused("QubesVMNotRunningError", "Domain not running (either powered off or paused): %r", vm)


def _fire_resets(system: System, vm: str) -> None:
    for name in _OF_DOMAIN:
        system.events.fire(vm, f"property-reset:{name}", name=name)


def _fire_failed(system: System, vm: str, reason: str) -> None:
    system.events.fire(vm, "domain-start-failed", reason=reason)
