"""VMs on other hosts (``RemoteVM``): their relay is given, under the name here, what they are called there."""

from __future__ import annotations

from lab.qubesd.system import System
from lab.qubesd.tags import only_of


def relay_started(system: System, vm: str) -> None:
    """Write the keys of the VMs that *vm* is the relay of. Raises Unanswered."""
    for name in system.names():
        if system.reference(name, "relayvm") == vm:
            _write(system, vm, name)


def relay_set(system: System, vm: str) -> None:
    """A VM on another host has another relay. Raises Unanswered."""
    relay = system.reference(vm, "relayvm")
    only_of(system, vm, "relayvm-", relay)
    if relay and system.qubes[relay].running:
        _write(system, relay, vm)


def _write(system: System, relay: str, vm: str) -> None:
    system.write(relay, f"remote/{vm}", system.value(vm, "remote_name") or vm)
