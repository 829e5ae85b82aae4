"""``vminterface history``: what pushes have changed, for people and programs; and whether its chain is whole."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from vminterface.cli import main
from vminterface.dom0.history.log import History

BY = {"user": "root", "sudo": "alice", "program": "vminterface push", "pid": 7}
JOB = {"user": "root", "program": "salt-minion", "job": "20261130010203040506", "job_user": "sudo_bob"}


def change(old: str, new: str) -> dict[str, Any]:
    return {"timezone": {"old": old, "new": new}}


ENTRIES: list[dict[str, Any]] = [
    {"time": "2026-11-30T01:00:00Z", "by": BY, "vms": {
        "work": {"outcome": "changed", "changes": change("UTC", "Asia/Tokyo"), "time": "2026-11-30T00:59:40Z"},
        "mail": {"outcome": "failed", "changes": {}, "comment": "mail: its QubesDB is dead"},
    }, "unchanged": ["idle"]},
    {"time": "2026-11-30T02:00:00Z", "by": BY, "unchanged": ["idle", "mail", "work"]},
    {"time": "2026-11-30T03:00:00Z", "by": JOB, "vms": {
        "work": {"outcome": "changed", "changes": change("Asia/Tokyo", "\x1b[31mUTC")},
    }},
    {"time": "2026-11-30T04:00:00Z", "by": BY, "error": "the XenStore cannot be reached", "not_reached": ["idle"]},
]  # fmt: skip


@pytest.fixture(autouse=True)
def history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> History:
    monkeypatch.setenv("VMINTERFACE_LOG_DIR", str(tmp_path / "log"))
    one = History()
    for entry in ENTRIES:
        one.append(lambda head, entry=entry: entry)  # type: ignore[misc]
    return one


def test_what_has_changed_is_shown_with_who_did_it_the_newest_last(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["history"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "2026-11-30T01:00:00Z alice as root, vminterface push",
        "  mail: failed: mail: its QubesDB is dead",
        "  work: changed at 2026-11-30T00:59:40Z",
        "    timezone: UTC -> Asia/Tokyo",
        "  unchanged: idle",
        "2026-11-30T03:00:00Z root, salt-minion, job 20261130010203040506 by sudo_bob",
        "  work: changed",
        "    timezone: Asia/Tokyo -> \\x1b[31mUTC",
        "2026-11-30T04:00:00Z alice as root, vminterface push",
        "  failed: the XenStore cannot be reached",
        "  not reached: idle",
    ]


def test_one_vm_is_shown_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["history", "mail"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "2026-11-30T01:00:00Z alice as root, vminterface push",
        "  mail: failed: mail: its QubesDB is dead",
    ]
    assert main.main(["history", "mail", "--all"]) == 0
    assert capsys.readouterr().out.splitlines()[2:] == [
        "2026-11-30T02:00:00Z alice as root, vminterface push",
        "  unchanged: mail",
    ]


def test_json_has_the_entries_and_a_count_bounds_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["history", "work", "--json", "--count", "1"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert entry["vms"] == ENTRIES[2]["vms"]
    assert main.main(["history", "--json", "--all", "--count", "0"]) == 0
    assert [one["time"][12] for one in json.loads(capsys.readouterr().out)] == ["1", "2", "3", "4"]


def test_verify_notices_what_is_missing_and_knows_a_hash_that_was_noted(
    capsys: pytest.CaptureFixture[str], history: History
) -> None:
    assert main.main(["history", "--verify"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    found = re.fullmatch("lines 1 to 4: none is missing, none was changed; last (4:[0-9a-f]{64})", line)
    assert found is not None
    assert main.main(["history", "--verify", "--known", found[1]]) == 0
    capsys.readouterr()
    other = found[1].replace(found[1][-1], "0" if found[1][-1] != "0" else "1")
    assert main.main(["history", "--verify", "--known", other]) == 1
    capsys.readouterr()
    lines = Path(history.path).read_bytes().splitlines(keepends=True)
    Path(history.path).write_bytes(b"".join(lines[:1] + lines[2:]))
    assert main.main(["history", "--verify"]) == 1
    assert capsys.readouterr().out.splitlines()[0] == ("push.jsonl:2: line 3 stands behind line 1: line 2 is missing")
    assert main.main(["history", "--verify", "--json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert (data["ok"], data["lines"], len(data["errors"])) == (False, 3, 1)


def test_a_host_without_pushes_has_an_empty_history(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VMINTERFACE_LOG_DIR", str(tmp_path / "none"))
    assert main.main(["history"]) == main.main(["history", "--verify"]) == 0
    assert capsys.readouterr().out == "no push has been made on this host yet\n"
    assert not os.path.exists(tmp_path / "none")


def test_a_hash_that_is_not_valid_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["history", "--known", "4:xyz"]) == 1
    assert capsys.readouterr().err == ("vminterface: --known: '4:xyz' is not a line and its hash (expected N:HASH)\n")


def test_any_number_of_pushes_may_be_asked_for_but_none_below_zero(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["history", "--json", "--count", "9" * 30]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 3
    assert main.main(["history", "--count", "-1"]) == 2
    assert capsys.readouterr() == ("", "vminterface: --count: expected a number from 0, got -1\n")
