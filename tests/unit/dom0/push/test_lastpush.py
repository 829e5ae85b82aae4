"""What is kept of the last push to each VM: the words for it, the moments, and a file that nobody has to rely on."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.virtualtime import Clock
from vminterface import runtime
from vminterface.dom0.push import lastpush
from vminterface.dom0.push.lastpush import LastPush, note, reason_of, update
from vminterface.dom0.push.lockfile import LockFile
from vminterface.dom0.push.outcome import Outcome
from vminterface.dom0.push.unaccepted import Unaccepted
from vminterface.errors import (
    ConnectionLost,
    DeadlineExceeded,
    Interrupted,
    LockUnavailable,
    SettingRefused,
    StoreError,
    VMInterfaceError,
    VMNotRunning,
)
from vminterface.values.announcement import Announcement
from vminterface.values.change import Change

ZONE: dict[str, Change[Any]] = {"timezone": Change(None, "UTC")}
AGENT = Announcement("1.0", frozenset({"timezone"}))
REFUSAL = {"timezone": Unaccepted("timezone", "refuse", "decided by its owner", False)}
KEPT = LastPush(500, 400, 500, "Converged", "", {"Pushed": ("Converged", 300), "Agent": ("Present", 600)})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(time, "time", lambda: 1000.9)
    return str(tmp_path / "locks")


def held(folder: str) -> dict[str, LastPush]:
    return update(lambda held: None, folder)


def after(folder: str, **outcome: Any) -> LastPush:
    """What is kept of ``work`` after a push that came to *outcome*, where KEPT was kept of the one before."""
    update(lambda held: held.update(work=KEPT), folder)
    note([Outcome("work", **outcome)], folder)
    return held(folder)["work"]


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (None, "Converged"),
        (SettingRefused("no"), "Refused"),
        (DeadlineExceeded("late"), "Hung"),
        (Interrupted("ended"), "Interrupted"),
        (VMNotRunning("halted"), "NotRunning"),
        (ConnectionLost("gone"), "Failed"),
    ],
)
def test_each_kind_of_error_has_its_word(error: VMInterfaceError | None, word: str) -> None:
    assert reason_of(error) == word


def test_a_good_push_is_kept_with_the_moment_since_when_all_is_well(folder: str) -> None:
    kept = after(folder)
    assert (kept.pushed, kept.acknowledged, kept.tried) == (1000, 400, 1000)
    assert (kept.reason, kept.message) == ("Converged", "")
    assert kept.since == {"Pushed": ("Converged", 300), "Agent": ("Present", 600)}


@pytest.mark.parametrize(
    ("outcome", "acknowledged"),
    [
        ({"changes": ZONE, "awaited": True, "agent": AGENT}, 1000),
        ({"changes": ZONE, "awaited": False, "agent": AGENT}, 400),
        ({"changes": ZONE, "awaited": True, "agent": None}, 400),
        ({"changes": {}, "awaited": True, "agent": AGENT}, 400),
        ({"changes": {"persistent:netvm": Change("a", "b")}, "awaited": True, "agent": AGENT}, 400),
        ({"changes": ZONE, "awaited": True, "agent": AGENT, "error": SettingRefused("no")}, 400),
    ],
)
def test_an_acknowledgement_is_one_of_keys_by_an_agent_that_was_waited_for(
    folder: str, outcome: dict[str, Any], acknowledged: int
) -> None:
    assert after(folder, **outcome).acknowledged == acknowledged


@pytest.mark.parametrize(
    ("outcome", "word", "message"),
    [
        ({"error": DeadlineExceeded("work: no reply")}, "Hung", "work: no reply"),
        ({"error": ConnectionLost("x" * 500)}, "Failed", f"{'x' * 397}..."),
        (
            {"unaccepted": REFUSAL},
            "Refused",
            "work does not accept timezone: decided by its owner; work is otherwise as configured",
        ),
        ({"error": ConnectionLost("gone"), "unaccepted": REFUSAL}, "Failed", "gone"),
        (
            {"running": False},
            "NotRunning",
            "work is not running: its settings need a push after the next start",
        ),
        ({"running": False, "error": DeadlineExceeded("late")}, "Hung", "late"),
    ],
)
def test_what_is_not_as_configured_is_kept_with_its_word_and_sentence(
    folder: str, outcome: dict[str, Any], word: str, message: str
) -> None:
    kept = after(folder, **outcome)
    assert (kept.reason, kept.message) == (word, message)
    assert (kept.pushed, kept.tried) == (500, 1000)
    assert kept.since == {"Pushed": (word, 1000), "Agent": ("Present", 600)}


def test_what_a_later_push_came_to_stays_where_the_earlier_one_waited_for_other_vms(folder: str, clock: Clock) -> None:
    clock.now = 50.0
    runtime.use(clock)
    refused = SettingRefused("work refused timezone: no such zone")
    earlier, later = Outcome("work", ended=20.0), Outcome("work", error=refused, ended=20.5)
    note([later], folder)
    note([earlier, Outcome("mail", ended=50.0)], folder)
    kept = held(folder)
    assert (kept["work"].reason, kept["work"].message) == ("Refused", str(refused))
    # Both ended half a minute before the first of them could be noted.
    assert (kept["work"].pushed, kept["work"].tried, kept["mail"].tried) == (970, 971, 1000)
    assert kept["work"].since == {"Pushed": ("Refused", 971)}


def test_an_acknowledgement_of_the_earlier_one_counts_all_the_same(folder: str, clock: Clock) -> None:
    clock.now = 50.0
    runtime.use(clock)
    note([Outcome("work", error=DeadlineExceeded("late"), ended=20.5)], folder)
    assert held(folder)["work"].acknowledged is None
    note([Outcome("work", ZONE, awaited=True, agent=AGENT, ended=20.0)], folder)
    assert held(folder)["work"].acknowledged == 970
    note([Outcome("work", ZONE, awaited=True, agent=AGENT, ended=10.0)], folder)
    assert held(folder)["work"].acknowledged == 970
    # One that failed, or that nobody acknowledged, adds nothing.
    before = held(folder)["work"]
    for outcome in ({"error": StoreError("no")}, {"awaited": False}):
        note([Outcome("work", ended=20.2, **outcome)], folder)
        assert held(folder)["work"].acknowledged == 970
    assert before.pushed == 970
    note([Outcome("mail", error=StoreError("no"), ended=30.0)], folder)
    note([Outcome("mail", error=StoreError("no"), ended=20.0)], folder)
    assert held(folder)["mail"].pushed is None


def test_what_was_kept_before_the_host_started_again_does_not_stay(folder: str, clock: Clock) -> None:
    clock.now = 50.0
    runtime.use(clock)
    update(lambda held: held.update(work=LastPush(900, 900, 900, "Hung", "late", ended=7000.0)), folder)
    note([Outcome("work", ended=20.0)], folder)
    assert (held(folder)["work"].reason, held(folder)["work"].ended) == ("Converged", 20.0)


def test_nothing_is_known_of_a_vm_before_its_first_push(folder: str) -> None:
    assert LastPush() == LastPush(None, None, None, "", "", {})
    note([Outcome("new", error=DeadlineExceeded("late"))], folder)
    kept = held(folder)["new"]
    assert kept == LastPush(None, None, 1000, "Hung", "late", {"Pushed": ("Hung", 1000)}, kept.ended)


def test_what_stays_the_same_keeps_the_moment_at_which_it_began() -> None:
    first = LastPush().seen("Agent", "Present", 5)
    assert first.since == {"Agent": ("Present", 5)}
    assert first.seen("Agent", "Present", 9) is first
    assert first.seen("Agent", "Absent", 9).since == {"Agent": ("Absent", 9)}
    assert first.seen("Store", "Present", 9).since == {"Agent": ("Present", 5), "Store": ("Present", 9)}


def test_the_file_has_a_plain_form(folder: str) -> None:
    update(lambda held: held.update(work=KEPT), folder)
    text = Path(folder, "pushes.json").read_text(encoding="ascii")
    assert " " not in text
    assert json.loads(text) == {
        "work": {
            "pushed": 500,
            "acknowledged": 400,
            "tried": 500,
            "reason": "Converged",
            "message": "",
            "since": {"Pushed": ["Converged", 300], "Agent": ["Present", 600]},
            "ended": 0.0,
        }
    }
    assert held(folder) == {"work": KEPT}


def test_the_vms_that_were_seen_last_are_kept_where_there_are_too_many(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lastpush, "VMS_MAX", 3)
    many = {
        "never": LastPush(),
        "old": LastPush(tried=100),
        "tried": LastPush(tried=300, since={"Agent": ("Present", 50)}),
        "seen": LastPush(tried=1, since={"Agent": ("Present", 200), "Pushed": ("Hung", 20)}),
        "both": LastPush(tried=400),
    }
    update(lambda held: held.update(many), folder)
    assert list(held(folder)) == ["both", "tried", "seen"]


def test_a_file_that_stays_as_it_is_is_not_written(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    update(lambda held: held.update(work=KEPT), folder)
    monkeypatch.setattr(LockFile, "replace", lambda *_: pytest.fail("it is written"))
    assert held(folder) == {"work": KEPT}


@pytest.mark.parametrize(
    "left",
    [
        b"",
        b"{",
        b"[]",
        b'{"work": 5}',
        b'{"work": {}}',
        b"\xff",
        b"[" * 100_000,
        b'{"work": {"pushed": "soon", "acknowledged": null, "tried": 1, "reason": "", "message": "", "since": {}}}',
    ],
)
def test_what_is_not_of_the_files_form_is_nothing(folder: str, left: bytes) -> None:
    note([], folder)
    Path(folder, "pushes.json").write_bytes(left)
    assert held(folder) == {}


def test_what_is_there_in_another_type_is_read_as_what_it_is_to_be(folder: str) -> None:
    one = {"pushed": 5.5, "acknowledged": None, "tried": "7", "reason": 1, "message": 2, "since": {"Agent": [3, "4"]}}
    note([], folder)
    Path(folder, "pushes.json").write_text(json.dumps({"work": one}))
    assert held(folder) == {"work": LastPush(5, None, 7, "1", "2", {"Agent": ("3", 4)})}


def test_a_file_that_another_program_holds_is_read_and_not_written(folder: str, clock: Clock) -> None:
    update(lambda held: held.update(work=KEPT), folder)
    other = LockFile(folder, "pushes.json")
    assert other.lock(0, 1)
    slept: list[float] = []
    sleep = clock.sleep

    def note_sleep(seconds: float) -> None:
        slept.append(seconds)
        sleep(seconds)

    clock.sleep = note_sleep  # type: ignore[method-assign]
    runtime.use(clock)
    found = update(lambda held: held.update(mail=LastPush()), folder)
    assert found == {"work": KEPT, "mail": LastPush()}
    assert clock.now == pytest.approx(1.0)
    # Growing, and bounded.
    assert slept[:6] == pytest.approx([0.002, 0.004, 0.008, 0.016, 0.032, 0.05])
    assert max(slept) <= 0.05
    other.close()
    assert held(folder) == {"work": KEPT}


def test_a_file_that_is_free_again_is_waited_for(folder: str, clock: Clock) -> None:
    other = LockFile(folder, "pushes.json")
    assert other.lock(0, 1)
    sleep = clock.sleep

    def end(seconds: float) -> None:
        sleep(seconds)
        other.close()

    clock.sleep = end  # type: ignore[method-assign]
    runtime.use(clock)
    update(lambda held: held.update(work=KEPT), folder)
    assert held(folder) == {"work": KEPT}
    assert clock.now == pytest.approx(0.002)


def test_where_there_can_be_no_file_the_change_is_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert update(lambda held: held.update(work=KEPT), str(tmp_path / "file")) == {"work": KEPT}


@pytest.mark.parametrize("error", [OSError("broken"), LockUnavailable("full")])
def test_a_disk_that_is_full_fails_no_push(folder: str, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    closed: list[bool] = []
    close = LockFile.close

    def replace(*_: object) -> None:
        raise error

    def note_close(file: LockFile) -> None:
        closed.append(True)
        close(file)

    monkeypatch.setattr(LockFile, "replace", replace)
    monkeypatch.setattr(LockFile, "close", note_close)
    assert update(lambda held: held.update(work=KEPT), folder) == {"work": KEPT}
    assert closed == [True]
