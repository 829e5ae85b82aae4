"""The record of a host as Prometheus reads it: its text exposition format, version 0.0.4.

Source: Prometheus' documentation, "Exposition formats" and "Metric and label naming": base units, a unit as suffix, one
HELP and TYPE for each name; in labels backslash, quote and newline are escaped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from vminterface.dom0.fleet.record import AGENT, APPLIED, PUSHED, STATES, HostRecord, VMRecord

#: What names begin with.
_PREFIX = "vminterface_"


@dataclass(frozen=True, slots=True)
class _Gauge:
    """A metric of a VM: *value* of its record, None for no sample."""

    name: str
    help: str
    value: Callable[[VMRecord], float | None]
    #: Whether it is about what the pillar gives the VM.
    compared: bool = False


_GAUGES = (
    _Gauge("vm_running", "Whether the VM runs.", lambda vm: vm.running),
    _Gauge(
        "vm_converged", "Whether the VM has what the pillar gives it; none for a VM that it does not name.",
        lambda vm: _status(vm, APPLIED), compared=True,
    ),
    _Gauge("vm_drift_fields", "Fields that differ from the pillar.", lambda vm: len(vm.drift), compared=True),
    _Gauge("vm_agent_up", "Whether an agent is running in the VM.", lambda vm: _status(vm, AGENT)),
    _Gauge("vm_last_push_success", "Whether the last push did what it was to do.", lambda vm: _status(vm, PUSHED)),
    _Gauge(
        "vm_last_good_push_timestamp_seconds", "When a push last brought the VM to the pillar's"
                                               " settings.", lambda vm: vm.pushed,
    ),
    _Gauge(
        "vm_last_acknowledgement_timestamp_seconds", "When the VM's agent last acknowledged a push.",
        lambda vm: vm.acknowledged,
    ),
    _Gauge("vm_memory_used_bytes", "Memory that the VM reports as used, with swap.", lambda vm: _bytes(vm.used_kb)),
    _Gauge("vm_swap_used_bytes", "Swap that the VM reports as used.", lambda vm: _bytes(vm.swap_used_kb)),
    _Gauge("vm_memory_maximum_bytes", "The most memory that the VM may have.", lambda vm: _bytes(vm.maximum_kb)),
)  # fmt: skip


def render(record: HostRecord, *, compared: bool = True) -> str:
    """Return *record* as a whole file; *compared*: whether there was a pillar that its VMs are compared with."""
    lines: list[str] = []
    vms = list(record.vms.values())

    def add(name: str, text: str, samples: Iterable[tuple[Mapping[str, str], float | None]]) -> None:
        found = [(labels, value) for labels, value in samples if value is not None]
        if found:
            lines.extend([f"# HELP {_PREFIX}{name} {text}", f"# TYPE {_PREFIX}{name} gauge"])
            lines.extend(f"{_PREFIX}{name}{_labels(labels)} {_number(value)}" for labels, value in found)

    add("build_info", "The version of vminterface in dom0.", [({"version": record.version}, 1)])
    add("up", "Whether the VMs of the host could be read.", [({}, not record.error)])
    add("record_timestamp_seconds", "When these metrics were collected.", [({}, record.made)])
    if compared:
        add("pillar_valid", "Whether the pillar of the host is valid.", [({}, not record.pillar_errors)])
        counts = record.counts
        add("vms", "VMs by state.", [({"state": state}, counts[state]) for state in STATES if not record.error])
        add("vm_state_info", "The state of the VM.", [({"vm": vm.name, "state": vm.state}, 1) for vm in vms])
    agents = [({"vm": vm.name, "version": vm.agent}, 1) for vm in vms if vm.agent is not None]
    add("vm_agent_info", "The version of the VM's agent.", agents)
    for gauge in _GAUGES:
        if compared or not gauge.compared:
            add(gauge.name, gauge.help, _samples(gauge, vms))
    return "\n".join(lines) + "\n"


def _samples(gauge: _Gauge, vms: Iterable[VMRecord]) -> Iterator[tuple[Mapping[str, str], float | None]]:
    for vm in vms:
        yield {"vm": vm.name}, gauge.value(vm)


def _status(vm: VMRecord, type_: str) -> float | None:
    """Return whether a condition is so; None where that is not known."""
    condition = vm.condition(type_)
    return None if condition is None else condition.status


def _bytes(kilobytes: int | None) -> float | None:
    return None if kilobytes is None else kilobytes * 1024


def _number(value: float) -> str:
    # No exponent, so that what a person reads has all digits.
    return str(int(value))


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
