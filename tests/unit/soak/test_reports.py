"""Reports of pushes and lines of the watcher: what is counted, and what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.soak.reports import Reports, kind

DESIRED = {"vm1": {"timezone": "Asia/Tokyo"}}
HAD = {"timezone": "Asia/Tokyo", "services": [], "keyboard": ""}
HAS = {"timezone": "Etc/UTC", "services": [], "keyboard": ""}


def report(comment: str = "vm1: timezone set", **more: Any) -> dict[str, Any]:
    return {"ok": True, "running": True, "changes": {"timezone": {}}, "comment": comment, **more}


@pytest.fixture
def reports(tmp_path: Path) -> Reports:
    """Of a VM that had one zone from second 10 on, and another from second 20 on."""
    made = Reports(lambda vm: tmp_path / vm)
    made.history("vm1").add(10.0, HAD)
    made.history("vm1").add(20.0, HAS)
    return made


@pytest.mark.parametrize(
    ("told", "word"),
    [
        (report(), "set"),
        (report(changes={}), "already set"),
        (report(ok=False), "failed"),
        (report(running=False), "not running"),
        (report("vm1: timezone set; no agent is running in the VM: it is gone"), "set without an agent"),
    ],
)
def test_a_report_is_one_of_five(told: dict[str, Any], word: str) -> None:
    assert kind(told) == word


@pytest.mark.parametrize("told", [report(), report(changes={})])
def test_a_success_is_true_only_in_the_time_of_its_push(reports: Reports, told: dict[str, Any]) -> None:
    reports.take("a", DESIRED, {"vm1": told}, 9.0, 11.0)
    reports.take("a", DESIRED, {"vm1": told}, 15.0, 25.0)
    assert reports.wrong == []
    reports.take("a", DESIRED, {"vm1": told}, 21.0, 25.0)
    assert len(reports.wrong) == 1
    assert "the VM never had timezone=Asia/Tokyo" in reports.wrong[0]


@pytest.mark.parametrize("told", [report(ok=False), report(running=False)])
def test_what_is_no_success_claims_nothing(reports: Reports, told: dict[str, Any]) -> None:
    reports.take("a", DESIRED, {"vm1": told}, 21.0, 25.0)
    assert reports.wrong == []


def test_a_vm_of_which_nothing_is_reported_is_wrong(reports: Reports) -> None:
    reports.take("a", DESIRED, {"vm2": report()}, 9.0, 11.0)
    assert reports.wrong == ["a: vm1: is in the pillar, and nothing is reported of it"]


OTHER = {"vm1": {"timezone": "Pacific/Auckland"}}


@pytest.mark.parametrize(
    ("line", "versions", "begin", "end", "wrong"),
    [
        ("vm1: timezone set", [(0.0, DESIRED)], 12.0, 15.0, 0),
        ("vm1: 4 fields set", [(0.0, DESIRED)], 12.0, 15.0, 0),
        ("vm1: timezone set", [(0.0, DESIRED)], 21.0, 25.0, 1),
        ("vm1: services:cups, timezone set; vm1 has one more remark", [(0.0, DESIRED)], 21.0, 25.0, 1),
        # The pillar of the time before, or the one that came meanwhile.
        ("vm1: timezone set", [(0.0, DESIRED), (13.0, OTHER)], 12.0, 15.0, 0),
        ("vm1: timezone set", [(0.0, OTHER), (13.0, DESIRED)], 12.0, 15.0, 0),
        # Neither of them.
        ("vm1: timezone set", [(0.0, DESIRED), (11.0, OTHER)], 12.0, 15.0, 1),
        ("vm1: timezone set", [(0.0, OTHER), (16.0, DESIRED)], 12.0, 15.0, 1),
    ],
)
def test_a_line_of_the_watcher_is_held_against_its_pillars(
    reports: Reports, line: str, versions: list[Any], begin: float, end: float, wrong: int
) -> None:
    reports.take_watcher_line(f"vminterface watch: {line}\n", versions, begin, end)
    assert reports.counts["set by the watcher"] == 1
    assert len(reports.wrong) == wrong


@pytest.mark.parametrize(
    "line",
    [
        "vm1: the agent did not acknowledge timezone within 6 s; former values restored; next attempt in 1 s",
        "vm1: the connection is lost; timezone was set by another program meanwhile and is kept; next attempt in 2 s",
        "/tmp/watcher.json: settings of 50 VMs, read again",
        "vm1: its agent has acknowledged its settings",
    ],
)
def test_other_lines_of_the_watcher_claim_nothing(reports: Reports, line: str) -> None:
    reports.take_watcher_line(f"vminterface watch: {line}\n", [(0.0, OTHER)], 21.0, 25.0)
    assert reports.wrong == []
    assert reports.counts["other line of the watcher"] == 1


@pytest.mark.parametrize(
    "rest", ["no agent is running in the VM: it is gone", "waiting for its agent, which is not running yet"]
)
def test_a_watcher_that_found_no_agent_claims_nothing(reports: Reports, rest: str) -> None:
    line = f"vminterface watch: vm1: timezone set; {rest}\n"
    reports.take_watcher_line(line, [(0.0, OTHER)], 21.0, 25.0)
    assert reports.wrong == []
