"""What a VM had, when: what a push reports is held against exactly that time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.soak.agent import TRACE
from tests.soak.history import History, is_held


def effect(zone: str = "UTC", services: tuple[str, ...] = (), keyboard: str = "") -> dict[str, Any]:
    return {"timezone": zone, "services": list(services), "keyboard": keyboard}


@pytest.fixture
def history(tmp_path: Path) -> History:
    made = History(tmp_path)
    for at, zone in ((1.0, "UTC"), (5.0, "Asia/Tokyo"), (9.0, "Europe/Warsaw")):
        made.add(at, effect(zone))
    return made


@pytest.mark.parametrize(
    ("begin", "end", "zones"),
    [
        (1.0, 4.9, ["UTC"]),
        (2.0, 5.0, ["UTC", "Asia/Tokyo"]),
        (5.0, 8.0, ["Asia/Tokyo"]),
        (6.0, 7.0, ["Asia/Tokyo"]),
        (0.0, 99.0, ["UTC", "Asia/Tokyo", "Europe/Warsaw"]),
        (10.0, 99.0, ["Europe/Warsaw"]),
        (0.0, 0.5, []),
    ],
)
def test_it_says_what_held_at_any_moment(history: History, begin: float, end: float, zones: list[str]) -> None:
    assert [one["timezone"] for one in history.during(begin, end)] == zones


def test_a_report_of_what_it_had_before_or_after_is_wrong(history: History) -> None:
    assert history.had({"timezone": "Asia/Tokyo"}, 4.0, 6.0) == []
    assert history.had({"timezone": "Asia/Tokyo"}, 2.0, 4.9) == ["timezone"]
    assert history.had({"timezone": "UTC"}, 5.0, 6.0) == ["timezone"]
    assert history.had({"timezone": "Asia/Tokyo"}, 9.0, 99.0) == ["timezone"]


@pytest.mark.parametrize(
    ("field", "value", "there"),
    [
        ("timezone", "Asia/Tokyo", False),
        ("timezone", "UTC", True),
        ("timezone", "default", True),
        ("services:cups", "on", True),
        ("services:cups", "off", False),
        ("services:crond", "on", False),
        ("services:crond", "default", True),
        ("keyboard", "pl+dvorak", True),
        ("keyboard", "pl", False),
        ("keyboard", "default", False),
        ("persistent:timezone", "Asia/Tokyo", True),
    ],
)
def test_each_field_is_held_against_what_the_vm_shows(field: str, value: str, there: bool) -> None:
    assert is_held(field, value, effect("UTC", ("cups", "tracker"), "pl+dvorak+")) == there


def test_a_layout_of_none_is_none_or_that_of_all_vms() -> None:
    assert is_held("keyboard", "default", effect())
    assert is_held("keyboard", "default", effect(keyboard="us++"))


def test_a_trace_is_read_as_it_grows_whole_lines_only(tmp_path: Path) -> None:
    file = tmp_path / TRACE.lstrip("/")
    made = History(tmp_path)
    made.refresh()
    assert made.size() == 0
    file.parent.mkdir(parents=True)
    lines = [
        json.dumps({"at": float(at), "effect": effect(zone)}) + "\n" for at, zone in ((1, "UTC"), (2, "Asia/Tokyo"))
    ]
    file.write_text(lines[0] + lines[1][:20])
    made.refresh()
    assert made.size() == 1
    file.write_text("".join(lines))
    made.refresh()
    made.refresh()
    assert [one["timezone"] for one in made.during(0.0, 9.0)] == ["UTC", "Asia/Tokyo"]
