"""Metrics of a host's record, read by Prometheus' own parser for its text format."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.unit.dom0.fleet.test_record import HOST, WORK
from vminterface.dom0.fleet import prometheus
from vminterface.dom0.fleet.record import Condition, HostRecord


def samples(text: str) -> dict[tuple[str, ...], float]:
    """Return the values by name and labels' values; every family has a help and a type."""
    found: dict[tuple[str, ...], float] = {}
    for family in text_string_to_metric_families(text):
        assert family.type == "gauge"
        assert family.documentation
        for sample in family.samples:
            found[sample.name.removeprefix("vminterface_"), *sample.labels.values()] = sample.value
    return found


def test_a_vm_has_its_state_drift_agent_pushes_and_memory() -> None:
    found = samples(prometheus.render(HOST))
    assert {one[0]: value for one, value in found.items() if one[1:2] == ("work",) and len(one) == 2} == {
        "vm_running": 1,
        "vm_converged": 0,
        "vm_drift_fields": 2,
        "vm_agent_up": 1,
        "vm_last_good_push_timestamp_seconds": 1796000000,
        "vm_last_acknowledgement_timestamp_seconds": 1795000000,
        "vm_memory_used_bytes": 102400,
        "vm_memory_maximum_bytes": 409600,
    }
    assert found["vm_state_info", "work", "drifted"] == found["vm_agent_info", "work", "0.1.0"] == 1
    # What is not known has no sample.
    assert ("vm_memory_used_bytes", "silent") not in found
    assert ("vm_agent_up", "silent") not in found


def test_a_host_has_counts_of_its_vms_by_state() -> None:
    found = samples(prometheus.render(HOST))
    assert {one[1]: value for one, value in found.items() if one[0] == "vms" and value} == {
        "converged": 1,
        "drifted": 1,
        "not_running": 1,
    }
    assert (found[("up",)], found[("pillar_valid",)], found[("record_timestamp_seconds",)]) == (1, 1, HOST.made)
    assert found["build_info", "0.1.0"] == 1


def test_a_host_that_cannot_be_looked_at_is_down_and_has_no_vms() -> None:
    found = samples(prometheus.render(HostRecord(1, "0.1.0", error="lost", pillar_errors=("wrong",))))
    assert found == {("build_info", "0.1.0"): 1, ("up",): 0, ("record_timestamp_seconds",): 1, ("pillar_valid",): 0}


def test_without_a_pillar_nothing_is_said_of_drift() -> None:
    names = {one[0] for one in samples(prometheus.render(HOST, compared=False))}
    assert "vm_memory_used_bytes" in names
    assert names & {"vm_converged", "vm_drift_fields", "vm_state_info", "vms", "pillar_valid"} == set()


def test_a_vms_name_and_version_are_labels_whatever_is_in_them() -> None:
    name = 'a"} 1\nx{y="\\'
    vm = replace(WORK, name=name, agent='"\\n\\"')
    found = samples(prometheus.render(HostRecord(1, 'v"', {name: vm})))
    assert found["vm_running", name] == 1
    assert found["vm_agent_info", name, '"\\n\\"'] == 1
    assert found["build_info", 'v"'] == 1


def test_names_follow_the_conventions() -> None:
    pushed = replace(WORK, swap_used_kb=1, conditions=(*WORK.conditions, Condition("Pushed", False)))
    names = {one[0] for one in samples(prometheus.render(replace(HOST, vms={"work": pushed})))}
    allowed: Any = (
        "_bytes",
        "_seconds",
        "_info",
        "vms",
        "up",
        "_valid",
        "_running",
        "_converged",
        "_fields",
        "_success",
    )
    assert all(name.endswith(allowed) for name in names)
    assert len(names) == 17
