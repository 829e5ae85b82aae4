"""What many hosts have replied to one function, put together for the runner ``qubes_fleet``: plain data, fit for JSON.

Each result has its ``kind``, by which it is shown as lines, and ``unknown``: by host why nothing is known of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vminterface.dom0.fleet import groups, untrusted
from vminterface.dom0.fleet.fleet import Fleet, Host
from vminterface.errors import InvalidValue

#: The kinds of devices of a report, and how each is called.
_DEVICES = {"block_devices": "block", "usb_devices": "usb"}


def fleet(made: float, replies: Mapping[str, object], silent: Mapping[str, str]) -> Fleet:
    """Return the fleet of what ``qubes_vm.summary`` returned on each host; *silent* has why others did not reply."""
    hosts = [Host.of_return(name, one) for name, one in replies.items()]
    hosts += [Host(untrusted.shown_name(name), error=why, silent=True) for name, why in silent.items()]
    return Fleet.of(made, hosts)


def status(one: Fleet) -> dict[str, Any]:
    """Return *one* as plain data with what an admin asks for first."""
    return {
        "kind": "status",
        **one.as_data(),
        "troubles": groups.troubles(one),
        "drift": groups.drift(one),
        "agents": groups.agents(one),
        "memory": groups.memory(one),
        "unknown": unknown(one),
    }


def drift(one: Fleet) -> dict[str, Any]:
    """Return the fields that differ on VMs of the fleet, grouped."""
    return {"kind": "drift", "drift": groups.drift(one), "counts": one.counts, "unknown": unknown(one)}


def report(replies: Mapping[str, object], silent: Mapping[str, str], most: int) -> dict[str, Any]:
    """Return what ``qubes_vm.report`` returned on each host: sums of memory, devices, and the *most* used VMs."""
    hosts: dict[str, dict[str, Any]] = {}
    unknown = {untrusted.shown_name(name): why for name, why in silent.items()}
    memory: list[dict[str, Any]] = []
    devices: list[dict[str, Any]] = []
    warnings: list[dict[str, str]] = []
    for name, one in sorted(replies.items()):
        host = untrusted.shown_name(name)
        try:
            vms = [_VM(host, vm, reply) for vm, reply in _by_vm(one).items()]
        except InvalidValue as error:
            unknown[host] = untrusted.why_unread(one, error)
            continue
        own = [device for vm in vms for device in vm.devices]
        hosts[host] = {
            "vms": len(vms),
            "used_kb": sum(vm.used_kb or 0 for vm in vms),
            "maximum_kb": sum(vm.maximum_kb or 0 for vm in vms),
            **{kind: sum(device["kind"] == kind for device in own) for kind in _DEVICES.values()},
            "error": "",
        }
        memory += [vm.memory for vm in vms if vm.used_kb is not None and vm.maximum_kb]
        devices += own
        warnings += [{"host": host, "warning": text} for vm in vms for text in vm.warnings]
    memory.sort(key=lambda vm: (-vm["percent"], vm["host"], vm["vm"]))
    shown = {"hosts": hosts, "memory": memory[:most], "devices": devices, "warnings": warnings}
    return {"kind": "report", **shown, "unknown": unknown}


def clocks(replies: Mapping[str, object], silent: Mapping[str, str]) -> dict[str, Any]:
    """Return what ``qubes_vm.sync_clocks`` returned on each host: VMs whose clocks are wrong, how many are right.

    Neither are those that a host's policy leaves out; they are counted for themselves.
    """
    unknown = {untrusted.shown_name(name): why for name, why in silent.items()}
    wrong: list[dict[str, Any]] = []
    right = left_out = 0
    for name, one in sorted(replies.items()):
        host = untrusted.shown_name(name)
        try:
            for vm, reply in _by_vm(one).items():
                data = untrusted.mapping(reply, vm)
                if data.get("left_out"):
                    left_out += 1
                    continue
                ok = untrusted.truth(data.get("ok"), f"{vm}:ok")
                if ok and not untrusted.mapping(data.get("changes"), f"{vm}:changes"):
                    right += 1
                else:
                    comment = untrusted.text(data.get("comment"), f"{vm}:comment")
                    wrong.append({"host": host, "vm": vm, "ok": ok, "comment": comment})
        except InvalidValue as error:
            unknown[host] = untrusted.why_unread(one, error)
    return {"kind": "clocks", "clocks": wrong, "right": right, "left_out": left_out, "unknown": unknown}


class _VM:
    """What one VM reports, read with bounds."""

    def __init__(self, host: str, vm: str, reply: object) -> None:
        data = untrusted.mapping(reply, vm)
        numbers = untrusted.mapping(data.get("memory"), f"{vm}:memory")
        used, most = (
            untrusted.optional(numbers.get(key), f"{vm}:memory:{key}", untrusted.number)
            for key in ("used_kb", "maximum_kb")
        )
        self.used_kb, self.maximum_kb = used, most
        percent = round(min(100.0, 100 * used / most), 1) if used is not None and most else 0.0
        self.memory = {"host": host, "vm": vm, "used_kb": used, "maximum_kb": most, "percent": percent}
        self.devices = [
            {
                "host": host,
                "vm": vm,
                "kind": kind,
                "port": untrusted.text(device.get("port"), f"{vm}:{part}:{name}:port"),
                "description": untrusted.text(
                    device.get("desc", device.get("description")), f"{vm}:{part}:{name}:description"
                ),
            }
            for part, kind in _DEVICES.items()
            for name, device in _devices(data.get(part), f"{vm}:{part}")
        ]
        self.warnings = [untrusted.text(one, f"{vm}:warnings") for one in untrusted.listed(data.get("warnings"), vm)]


def _devices(reply: object, where: str) -> Sequence[tuple[str, Mapping[Any, Any]]]:
    return [
        (untrusted.name(name, where), untrusted.mapping(one, where))
        for name, one in untrusted.mapping(reply, where).items()
    ]


def _by_vm(reply: object) -> dict[str, object]:
    return {untrusted.name(vm, "vms"): one for vm, one in untrusted.mapping(reply, "", untrusted.VMS_MAX).items()}


def unknown(one: Fleet) -> dict[str, str]:
    return {name: host.message for name, host in one.hosts.items() if host.message}
