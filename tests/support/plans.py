"""What a push has qubesd do for one VM, made of a pillar and a qubesd in memory."""

from __future__ import annotations

import threading
from typing import Any

from tests.support.adminapi import MemoryAPI, MemoryQubesd
from tests.support.memorystore import MemoryStore
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.inventory.targets import Target
from vminterface.dom0.push.outcome import Outcome
from vminterface.dom0.push.persist.plan import Plan
from vminterface.dom0.push.unaccepted import Unaccepted
from vminterface.keys import read_value
from vminterface.values.change import Change
from vminterface.values.service import ServiceState

ON = ServiceState.ON
ZONE = read_value("timezone", "Europe/Warsaw")
IP, OTHER = read_value("network:ip", "10.137.0.12"), read_value("network:ip", "10.137.0.77")
NETWORK = {"ip": "10.137.0.77", "gateway": "10.137.0.5"}
#: A change of what qubesd alone has, one of what a key has too, and both as a VM's.
DEBUG, CUPS = Change(None, True), Change(None, ON)
TWO = {"debug": "on", "services": {"cups": "on"}}
#: What a provider has of a client with another address.
ATTACHED = {
    "/connected-ips": b"10.137.0.77",
    "/qubes-firewall/10.137.0.77": b"",
    "/qubes-firewall/10.137.0.77/policy": b"drop",
    "/mapped-ip/10.137.0.77/visible-ip": b"10.137.0.77",
}
NETVM_AGAIN = [("netvm", "sys-net"), ("netvm", None)]
STOPPED = "nothing is persistent, because qubesd does not run"


def plan_of(api: MemoryAPI, raw: dict[str, Any], *, available: bool = True, expected: bool = True) -> Plan:
    settings = VMSettings.parse("work", raw, where="qubes:vms:work")
    return Plan.of(settings, MemoryQubesd(api, available=available, expected=expected))


class Providers:
    """What finds the providers of network: one, with the keys of *store*."""

    def __init__(self, store: MemoryStore | None = None) -> None:
        self._store = store

    def find(self, vms: list[str], *, timeout: float) -> dict[str, Target]:
        return {} if self._store is None else {vm: self._store.target(vm) for vm in vms}


def kept(plan: Plan, store: MemoryStore | None = None) -> Any:
    targets: Any = Providers(MemoryStore(ATTACHED) if store is None else store)
    return plan.keep(targets, threading.Event())


def refused(setting: str, *, word: str = "refuse") -> Unaccepted:
    return Unaccepted(setting, word, "decided by its owner", optional=False)


def moving(api: MemoryAPI, raw: dict[str, Any] | None = None, *, changed: str = "network:ip") -> Plan:
    """Return the plan for a running VM that gets another address."""
    plan = plan_of(api, {"network": {**NETWORK, "reattach": True}, "timeout": 2, **(raw or {})})
    plan.foresee(Outcome("work", {changed: Change(IP, OTHER)}))
    return plan
