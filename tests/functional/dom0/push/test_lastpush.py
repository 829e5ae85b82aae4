"""What is kept of the last push to each VM, through real pushes to both kinds of store."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.dom0 import Dom0
from tests.support.lab_store import wait_until as until
from tests.support.qubesdb import QubesHost
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.push import lastpush
from vminterface.dom0.push.lastpush import LastPush
from vminterface.dom0.push.outcome import Outcome
from vminterface.dom0.push.push import push
from vminterface.errors import DeadlineExceeded, SettingRefused

WARSAW = VMSettings.parse("work", {"timezone": "Europe/Warsaw", "timeout": 1})


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VMINTERFACE_LOCK_DIR", str(tmp_path / "locks"))
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    return tmp_path / "locks"


def held(vm: str = "work") -> LastPush:
    return lastpush.update(lambda held: None)[vm]


def test_a_good_push_is_kept_with_its_acknowledgement(host: Dom0 | QubesHost, monkeypatch: pytest.MonkeyPatch) -> None:
    host.agent("work")
    with host.targets() as targets:
        push([WARSAW], targets)
    since = {"Pushed": ("Converged", 1000)}
    one = LastPush(pushed=1000, acknowledged=1000, tried=1000, reason="Converged", since=since)
    assert replace(held(), ended=0.0) == one
    monkeypatch.setattr(time, "time", lambda: 2000.0)
    with host.targets() as targets:
        push([WARSAW], targets)
    # Nothing was written, so nothing was acknowledged; and it has been so for as long as before.
    assert replace(held(), ended=0.0) == replace(one, pushed=2000, tried=2000)


def test_a_refusal_is_kept_beside_the_last_good_push(host: Dom0 | QubesHost, monkeypatch: pytest.MonkeyPatch) -> None:
    host.agent("work", reply=lambda setting, inputs: "not here" if "Europe/Paris" in inputs.values() else "")
    with host.targets() as targets:
        push([WARSAW], targets)
        monkeypatch.setattr(time, "time", lambda: 3000.0)
        push([VMSettings.parse("work", {"timezone": "Europe/Paris"})], targets)
    one = held()
    assert (one.pushed, one.tried, one.reason) == (1000, 3000, "Refused")
    assert one.message.startswith("work refused timezone: not here")
    assert one.since["Pushed"] == ("Refused", 3000)


def test_a_vm_that_does_not_run_has_not_been_pushed_to(host: Dom0 | QubesHost) -> None:
    with host.targets() as targets:
        push([VMSettings.parse("halted", {"timezone": "Europe/Warsaw"})], targets)
    assert (held("halted").pushed, held("halted").reason) == (None, "NotRunning")


@pytest.mark.parametrize(
    ("error", "reason"), [(SettingRefused("a refused x"), "Refused"), (DeadlineExceeded("a: no reply"), "Hung")]
)
def test_each_kind_of_failure_has_its_word(error: Exception, reason: str) -> None:
    lastpush.note([Outcome("a", error=error)])  # type: ignore[arg-type]
    assert (held("a").reason, held("a").message) == (reason, str(error))


@pytest.mark.parametrize("left", [b"", b"{", b"[]", b'{"work": {}}', b'{"work": 5}', b"\xff", b"[" * 100_000])
def test_what_a_killed_program_left_in_the_file_is_begun_anew(folder: Path, left: bytes) -> None:
    lastpush.note([])
    (folder / "pushes.json").write_bytes(left)
    lastpush.note([Outcome("work")])
    assert held().pushed == 1000
    json.loads((folder / "pushes.json").read_bytes())


def test_pushes_at_the_same_time_lose_nothing_of_each_other() -> None:
    threads = [threading.Thread(target=lastpush.note, args=([Outcome(f"vm{n}")],)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(lastpush.update(lambda held: None)) == {f"vm{n}" for n in range(20)}


def test_the_file_has_a_bound_and_keeps_the_latest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lastpush, "VMS_MAX", 3)
    for second in range(5):
        monkeypatch.setattr(time, "time", lambda second=second: float(second))
        lastpush.note([Outcome(f"vm{second}")])
    assert set(lastpush.update(lambda held: None)) == {"vm2", "vm3", "vm4"}


def test_where_nothing_can_be_written_no_push_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VMINTERFACE_LOCK_DIR", str(tmp_path / "file"))
    lastpush.note([Outcome("work")])
    assert lastpush.update(lambda held: None) == {}


def test_what_a_later_push_came_to_stays_when_an_earlier_one_ends_after_it(host: Dom0 | QubesHost) -> None:
    host.start_vm("hung")
    hung = host.agent("hung")
    work = host.agent("work", reply=lambda setting, inputs: "not here" if "Europe/Paris" in inputs.values() else "")
    first = [VMSettings.parse(vm, {"timezone": "UTC", "timeout": 60}) for vm in ("hung", "work")]
    with host.targets() as targets:
        assert all(outcome.ok for outcome in push(first, targets))
    assert until(lambda: hung.announced.is_set() and work.announced.is_set(), 60)
    hung.reply = lambda setting, inputs: None
    outcomes: list[Outcome] = []

    def both() -> None:
        desired = [VMSettings.parse(vm, {"timezone": "Asia/Tokyo", "timeout": 60}) for vm in ("hung", "work")]
        with host.targets() as targets:
            outcomes.extend(push(desired, targets, stop=threading.Event()))

    thread = threading.Thread(target=both)
    thread.start()
    assert until(lambda: host.read("hung", "qubes-timezone") == "Asia/Tokyo", 60)
    with host.targets() as targets:
        (later,) = push([VMSettings.parse("work", {"timezone": "Europe/Paris", "timeout": 60})], targets)
    assert isinstance(later.error, SettingRefused)
    hung.reply = lambda setting, inputs: ""
    thread.join()
    assert [outcome.ok for outcome in outcomes] == [True, True]
    assert (held("hung").reason, held("work").reason) == ("Converged", "Refused")
