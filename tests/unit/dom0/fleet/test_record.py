"""The record of one host: what is written is read again, and what a host may not say is refused with its place."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vminterface.dom0.fleet.record import Condition, HostRecord, VMRecord, of_hosts
from vminterface.errors import InvalidValue
from vminterface.values.monitor import Monitor, MonitorLayout

WORK = VMRecord(
    "work",
    "drifted",
    domid=3,
    conditions=(
        Condition("Running", True, 1796000000),
        Condition("Applied", False, 1796000100, "Drifted", "timezone differs"),
        Condition("AgentUp", True),
    ),
    drift={"timezone": {"store": "UTC", "pillar": "Europe/Warsaw"}, "network:dns": {"store": None, "pillar": ["1"]}},
    agent="0.1.0",
    pushed=1796000000,
    acknowledged=1795000000,
    used_kb=100,
    maximum_kb=400,
    monitors=MonitorLayout((Monitor(1920, 1080, 0, 0, 508, 285),)),
)
HOST = HostRecord(
    1796000709,
    "0.1.0",
    {
        "halted": VMRecord("halted", "not_running", conditions=(Condition("Running", False),)),
        "silent": VMRecord("silent", "converged", domid=4, conditions=(Condition("Running", True),), pushed=1796000500),
        "work": WORK,
    },
)


def said() -> dict[str, Any]:
    return copy.deepcopy(HOST.as_data())


def test_what_is_written_is_read_again_also_by_way_of_json() -> None:
    assert HostRecord.parse(said()) == HOST
    assert HostRecord.parse(json.loads(json.dumps(said()))) == HOST
    failed = HostRecord(1, "0", error="the XenStore did not reply", pillar_errors=("qubes:vms:work: wrong",))
    assert HostRecord.parse(failed.as_data()) == failed


def test_names_that_are_one_as_far_as_they_are_read_are_one_vm() -> None:
    vms = {"x" * 90 + end: WORK.as_data() for end in ("a", "b")}
    assert list(HostRecord.parse({**said(), "vms": vms}).vms) == ["x" * 77 + "..."]


def test_a_host_counts_its_vms_by_state_and_those_without_an_agent() -> None:
    counts = {name: count for name, count in HOST.counts.items() if count}
    assert counts == {"converged": 1, "drifted": 1, "not_running": 1, "no_agent": 1}
    total = {name: count for name, count in of_hosts([HOST, HOST]).items() if count}
    assert total == {"vms": 6, "converged": 2, "drifted": 2, "not_running": 2, "no_agent": 2}


def test_the_last_good_push_of_a_host_is_that_of_any_of_its_vms() -> None:
    assert HOST.pushed == 1796000500
    assert HostRecord(1, "0").pushed is None


@pytest.mark.parametrize(
    ("host", "well"),
    [
        (HostRecord(1, "0", {"a": VMRecord("a", "converged"), "b": VMRecord("b", "not_running")}), True),
        (HOST, False),
        (HostRecord(1, "0", error="no store"), False),
        (HostRecord(1, "0", pillar_errors=("wrong",)), False),
    ],
)
def test_a_host_is_well_while_nothing_of_it_asks_for_somebody(host: HostRecord, well: bool) -> None:
    assert host.well is well


def test_what_a_later_version_adds_is_passed_over() -> None:
    data = said()
    data["later"] = data["vms"]["work"]["later"] = data["vms"]["work"]["conditions"][0]["later"] = {"a": [1]}
    assert HostRecord.parse(data) == HOST


def test_texts_and_names_are_made_printable_and_cut() -> None:
    data = said()
    vm = data["vms"].pop("work")
    vm["conditions"][1]["message"] = "\x1b[2J\u202e<script>" + "x" * 5000
    vm["drift"] = {"time\nzone": {"store": {"a\x07": ["\x00", float("inf"), 10**5000]}, "pillar": [[[[[[[[1]]]]]]]]}}
    data["vms"]["w\x1bork"] = vm
    one = HostRecord.parse(data).vms["w\\x1bork"]
    assert one.message.startswith("\\x1b[2J\\u202e<script>xxx")
    assert len(one.message) <= 400
    assert one.drift["time\\nzone"]["store"]["a\\x07"][0] == "\\x00"
    json.dumps(one.as_data(), allow_nan=False).encode("ascii")


@pytest.mark.parametrize(
    ("change", "where", "message"),
    [
        (lambda data: data.update(format=2), "", "format 2 "),
        (lambda data: data.update(made="today"), "made", "not a moment"),
        (lambda data: data.update(vms=[]), "vms", "is of type list .expected a mapping"),
        (lambda data: data.update(vms=dict.fromkeys(range(10_001))), "vms", "10001 entries"),
        (lambda data: data.update(pillar={"errors": "x"}), "pillar:errors", "(expected a list)"),
        (lambda data: data["vms"].update({1: {}}), "vms", "(expected text)"),
        (lambda data: data["vms"]["work"].update(state="fine"), "vms:work", "'fine' is not a state"),
        (lambda data: data["vms"]["work"].update(state=[]), "vms:work", "is not a state"),
        (lambda data: data["vms"]["work"].update(domid="3"), "vms:work:domid", "not a whole number"),
        (lambda data: data["vms"]["work"].update(memory={"used_kb": -1}), "vms:work:memory:used_kb", "whole number"),
        (lambda data: data["vms"]["work"].update(agent=1), "vms:work:agent", "(expected text)"),
        (lambda data: data["vms"]["work"].update(monitors=[{"width": 1}]), "vms:work:monitors", "0:height"),
        (lambda data: data["vms"]["work"].update(conditions=[1]), "vms:work:conditions:0", "mapping"),
        (
            lambda data: data["vms"]["work"]["conditions"][0].update(status="yes"),
            "vms:work:conditions:0:status",
            "true, false or null",
        ),
        (lambda data: data["vms"]["work"].update(drift={"a": 1}), "vms:work:drift:a", "mapping"),
    ],
)
def test_what_a_host_may_not_say_is_refused_with_its_place(change: Any, where: str, message: str) -> None:
    data = said()
    change(data)
    with pytest.raises(InvalidValue, match=message) as raised:
        HostRecord.parse(data)
    assert raised.value.where == where


@pytest.mark.parametrize("data", [None, "Traceback", [], 5, {}])
def test_what_is_no_record_at_all_is_refused(data: object) -> None:
    with pytest.raises(InvalidValue):
        HostRecord.parse(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
PLACES = ("format", "made", "version", "error", "pillar", "vms")
OF_A_VM = ("state", "domid", "conditions", "drift", "agent", "pushed", "acknowledged", "memory", "monitors")


@given(JSON, st.sampled_from(PLACES), st.sampled_from(OF_A_VM))
def test_whatever_a_host_returns_is_a_record_or_refused(value: Any, place: str, of_vm: str) -> None:
    for data in (value, {**said(), place: value}, {**said(), "vms": {"work": {**said()["vms"]["work"], of_vm: value}}}):
        try:
            record = HostRecord.parse(data)
        except InvalidValue:
            continue
        text = json.dumps(record.as_data(), allow_nan=False)
        assert text.isascii()
        assert HostRecord.parse(json.loads(text)) == record
