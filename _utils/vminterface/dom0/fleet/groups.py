"""What an admin of many hosts asks for first: the VMs of a fleet by what is wrong, by field, by agent and by memory.

All of it is plain data, fit for JSON. A VM is always ``{"host": …, "vm": …}``.
"""

from __future__ import annotations

import json
import re
from typing import Any

from vminterface.dom0.fleet import record
from vminterface.dom0.fleet.fleet import Fleet, Host
from vminterface.dom0.fleet.record import VMRecord

#: What stands for the VM's name in a reason that many VMs share.
_VM = "VM"


def troubles(fleet: Fleet) -> list[dict[str, Any]]:
    """Return why VMs are refused, hung, failed or not compared: ``state``, ``reason`` and ``vms``, most VMs first.

    The reason is the sentence about the VM, with ``VM`` in place of its name.
    """
    found: dict[tuple[str, str], list[dict[str, str]]] = {}
    for host, vm in fleet.vms():
        if vm.state in record.TROUBLED and vm.state != record.DRIFTED:
            found.setdefault((vm.state, _without_name(vm)), []).append(_named(host, vm))
    return [
        {"state": state, "reason": reason, "vms": vms}
        for (state, reason), vms in sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))
    ]


def drift(fleet: Fleet) -> list[dict[str, Any]]:
    """Return the fields that differ, most VMs first: ``field``, how many ``vms`` and ``hosts``, and ``values``.

    Each of the values is what the ``store`` has and what the ``pillar``, with the ``vms`` of which that is so, and
    ``owner`` where it stays so because of the VMs' owners.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for host, vm in fleet.vms():
        for field, sides in vm.drift.items():
            mark = json.dumps(sides, sort_keys=True)
            one = found.setdefault(field, {}).setdefault(mark, {**sides, "vms": []})
            one["vms"].append(_named(host, vm))
    fields = []
    for field, by_value in found.items():
        values = sorted(by_value.values(), key=lambda one: -len(one["vms"]))
        vms = [vm for one in values for vm in one["vms"]]
        hosts = len({vm["host"] for vm in vms})
        fields.append({"field": field, "vms": len(vms), "hosts": hosts, "values": values})
    return sorted(fields, key=lambda one: (-one["vms"], one["field"]))


def agents(fleet: Fleet) -> dict[str, int]:
    """Return how many VMs have an agent of each version; those that run without one are under the empty text."""
    found: dict[str, int] = {}
    for _, vm in fleet.vms():
        if vm.running:
            found[vm.agent or ""] = found.get(vm.agent or "", 0) + 1
    return dict(sorted(found.items()))


def memory(fleet: Fleet, most: int = 10) -> list[dict[str, Any]]:
    """Return the *most* VMs that use the largest part of their memory: ``used_kb``, ``maximum_kb``, ``percent``."""
    known = [(share, host, vm) for host, vm in fleet.vms() if (share := vm.used_share) is not None]
    known.sort(key=lambda item: (-item[0], item[1].name, item[2].name))
    return [
        {
            **_named(host, vm),
            "used_kb": vm.used_kb,
            "maximum_kb": vm.maximum_kb,
            "percent": round(100 * share, 1),
        }
        for share, host, vm in known[:most]
    ]


def _named(host: Host, vm: VMRecord) -> dict[str, str]:
    return {"host": host.name, "vm": vm.name}


def _without_name(vm: VMRecord) -> str:
    return re.sub(rf"(?<![\w.-]){re.escape(vm.name)}(?![\w.-])", _VM, vm.message) or "no reason was given"
