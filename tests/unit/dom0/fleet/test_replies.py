"""What many hosts have replied to one function: sums and lists, and by host why nothing is known of it."""

from __future__ import annotations

import json
from typing import Any

from vminterface.dom0.fleet import lines, replies

STICK = {"port": "work:sda", "desc": "Stick \x1b[2J", "size": 1, "mode": "w"}
MOUSE = {"port": "work:2-1", "description": "Mouse", "ids": "046d:c52b"}


def said(used: int | None, most: int | None, **more: Any) -> dict[str, Any]:
    numbers = {"used_kb": used, "swap_used_kb": None, "maximum_kb": most}
    return {"memory": numbers, "block_devices": {}, "usb_devices": {}, "warnings": [], **more}


HOSTS: dict[str, Any] = {
    "paris": {
        "work": said(300, 400, block_devices={"sda": STICK}, usb_devices={"2-1": MOUSE}, warnings=["work: a\x07"]),
        "personal": said(None, 400),
    },
    "warsaw": {"work": said(390, 400)},
    "old": "'qubes_vm.report' is not available.",
    "odd": {"work": {"memory": 5}},
}
SILENT = {"mute": "no reply within 15 s"}


def test_a_report_has_sums_by_host_and_the_fullest_vms_of_all() -> None:
    found = replies.report(HOSTS, SILENT, 1)
    assert found["hosts"]["paris"] == {
        "vms": 2, "used_kb": 300, "maximum_kb": 800, "block": 1, "usb": 1, "error": ""
    }  # fmt: skip
    assert found["memory"] == [{"host": "warsaw", "vm": "work", "used_kb": 390, "maximum_kb": 400, "percent": 97.5}]
    assert [(one["host"], one["kind"], one["description"]) for one in found["devices"]] == [
        ("paris", "block", "Stick \\x1b[2J"), ("paris", "usb", "Mouse")
    ]  # fmt: skip
    assert found["warnings"] == [{"host": "paris", "warning": "work: a\\x07"}]
    assert found["unknown"] == {
        "mute": "no reply within 15 s",
        "old": "'qubes_vm.report' is not available.",
        "odd": "the reply cannot be read: work:memory: is of type int (expected a mapping)",
    }
    shown = lines.render(json.loads(json.dumps(found))).splitlines()
    assert shown[:4] == [
        "host    VMs     used       of  block  usb",
        "paris     2  300 KiB  800 KiB      1    1",
        "warsaw    1  390 KiB  400 KiB      0    0",
        "warsaw/work: 98 %, 390 KiB of 400 KiB",
    ]


def test_clocks_list_those_that_are_wrong_and_count_the_others() -> None:
    right = {"ok": True, "running": True, "changes": {}, "comment": "a is right"}
    wrong = {"ok": True, "running": True, "changes": {"clock": {}}, "comment": "b: the clock was 5.0 s behind"}
    lost = {"ok": False, "running": True, "changes": {}, "comment": "c: no reply"}
    whonix = {
        "ok": True,
        "running": True,
        "changes": {},
        "comment": "d: left out",
        "left_out": "dom0's policy denies it",
    }
    hosts = {"paris": {"a": right, "b": wrong, "c": lost, "d": whonix}, "odd": {"a": {}}}
    found = replies.clocks(hosts, SILENT)
    assert [(one["vm"], one["ok"]) for one in found["clocks"]] == [("b", True), ("c", False)]
    assert (found["right"], found["left_out"]) == (1, 1)
    assert set(found["unknown"]) == {"mute", "odd"}
    assert lines.render(found).splitlines()[:4] == [
        "paris/b: b: the clock was 5.0 s behind", "paris/c: c: no reply", "1 VM right", "1 VM left out by dom0's policy"
    ]  # fmt: skip
