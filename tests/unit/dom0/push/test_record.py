"""What a push is in the history: each VM's outcome and fields, secrets as digests, the rest as lists of names."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.virtualtime import Clock
from vminterface import runtime
from vminterface.dom0.push import record
from vminterface.dom0.push.outcome import Outcome
from vminterface.dom0.push.record import Record, entry
from vminterface.dom0.push.unaccepted import Unaccepted
from vminterface.errors import ConnectionLost, SettingRefused
from vminterface.keys import read_value
from vminterface.values.change import Change

ZONE: dict[str, Change[Any]] = {"timezone": Change(None, read_value("timezone", "UTC"))}
TOKEN: dict[str, Change[Any]] = {"vm_config:token": Change(None, "opensesame")}
IN_WORDS = {"timezone": {"old": "default", "new": "UTC"}}
REFUSAL = {"timezone": Unaccepted("timezone", "refuse", "decided by its owner", False)}


class Head:
    """The end of a chain whose digests show what they are of."""

    def digest(self, value: Any) -> str:
        return f"digest of {value}"


HEAD: Any = Head()


@pytest.fixture(autouse=True)
def no_plain_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VMINTERFACE_HISTORY_VALUES", raising=False)


def of_one(**outcome: Any) -> dict[str, Any]:
    made: dict[str, Any] = entry([Outcome("work", **outcome)], HEAD)["vms"]["work"]
    return made


class TestEntry:
    def test_vms_with_nothing_to_tell_are_names_in_order(self) -> None:
        outcomes = [Outcome(vm, running=vm not in ("d", "c")) for vm in "bdca"]
        assert entry(outcomes, HEAD) == {"unchanged": ["a", "b"], "not_running": ["c", "d"]}

    def test_a_change_is_told_in_the_pillars_words(self) -> None:
        outcomes = [Outcome("work", changes=ZONE), Outcome("mail")]
        assert entry(outcomes, HEAD) == {
            "vms": {"work": {"outcome": "changed", "changes": IN_WORDS}},
            "unchanged": ["mail"],
        }

    def test_a_vm_that_does_not_run_and_has_changed_is_no_name_in_a_list(self) -> None:
        assert list(entry([Outcome("work", changes=ZONE, running=False)], HEAD)) == ["vms"]

    @pytest.mark.parametrize(
        ("error", "word"), [(ConnectionLost("work: gone"), "failed"), (SettingRefused("work: gone"), "refused")]
    )
    def test_a_failure_is_told_with_what_was_tried(self, error: Exception, word: str) -> None:
        assert of_one(error=error, tried=ZONE, changes=TOKEN) == {
            "outcome": word,
            "changes": IN_WORDS,
            "comment": "work: gone",
        }

    def test_what_the_owner_refuses_is_told_beside_what_has_changed(self) -> None:
        assert of_one(unaccepted=REFUSAL, changes={"debug": Change(None, True)}) == {
            "outcome": "refused",
            "changes": {"debug": {"old": "default", "new": "on"}},
            "comment": "work does not accept timezone: decided by its owner; work: debug set",
            "unaccepted": {"timezone": "refuse"},
        }

    @pytest.mark.parametrize(("ended", "told"), [(None, None), (49.1, None), (49.0, "49"), (20.0, "20")])
    def test_a_vm_that_was_done_long_before_the_push_has_a_time_of_its_own(
        self, clock: Clock, monkeypatch: pytest.MonkeyPatch, ended: float | None, told: str | None
    ) -> None:
        clock.now = 50.0
        runtime.use(clock)
        monkeypatch.setattr(time, "time", lambda: 50.0)
        one = of_one(changes=ZONE, ended=ended)
        assert one.get("time") == (None if told is None else f"1970-01-01T00:00:{told}Z")

    def test_what_is_optional_is_no_refusal(self) -> None:
        optional = {"timezone": Unaccepted("timezone", "refuse", "", True)}
        assert of_one(unaccepted=optional, changes={"debug": Change(None, True)})["outcome"] == "changed"
        assert entry([Outcome("work", unaccepted=optional)], HEAD) == {"unchanged": ["work"]}

    def test_a_failure_beside_a_refusal_of_the_owner_is_a_failure(self) -> None:
        assert of_one(error=ConnectionLost("gone"), unaccepted=REFUSAL)["outcome"] == "failed"

    def test_a_long_comment_is_cut(self) -> None:
        assert of_one(error=ConnectionLost("x" * 600))["comment"] == f"{'x' * 497}..."

    def test_fields_of_several_keys_are_told_whole(self) -> None:
        primary, secondary = (f"network:{which}_dns" for which in ("primary", "secondary"))
        first, second = (read_value(primary, "10.139.1.1"), read_value(secondary, "10.139.1.2"))
        told = of_one(error=ConnectionLost("gone"), tried={primary: Change(None, first)}, same={secondary: second})
        assert told["changes"] == {"network:dns": {"old": ["10.139.1.2"], "new": ["10.139.1.1", "10.139.1.2"]}}


class TestSecrets:
    def test_values_that_may_be_secret_are_digests(self) -> None:
        assert of_one(changes={**TOKEN, **ZONE})["changes"] == {
            **IN_WORDS,
            "vm_config:token": {"old": "default", "new": "digest of opensesame"},
        }

    def test_what_qubesd_keeps_of_them_too(self) -> None:
        changes: dict[str, Change[Any]] = {"persistent:vm_config:token": Change("opensesame", None)}
        assert of_one(changes=changes)["changes"] == {
            "persistent:vm_config:token": {"old": "digest of opensesame", "new": "default"}
        }

    @pytest.mark.parametrize(("word", "new"), [("plain", "opensesame"), ("yes", "digest of opensesame")])
    def test_an_admin_may_want_them_plain(self, monkeypatch: pytest.MonkeyPatch, word: str, new: str) -> None:
        monkeypatch.setenv("VMINTERFACE_HISTORY_VALUES", word)
        assert of_one(changes=TOKEN)["changes"]["vm_config:token"]["new"] == new

    def test_what_a_terminal_would_act_on_is_not_kept(self) -> None:
        changes: dict[str, Change[Any]] = {"default_user": Change("\x1b[2Ja", None)}
        assert of_one(changes=changes)["changes"]["default_user"]["old"].isprintable()


class TestRecord:
    @pytest.fixture
    def kept(self, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
        """The lines of the history; a push begins at 5 s and has ended at 7.26 s."""
        kept: list[dict[str, Any]] = []
        moments = [5.0]

        class History:
            def keep(self, make: Callable[[Head], dict[str, Any]]) -> None:
                kept.append(make(Head()))

        monkeypatch.setattr(record, "History", History)
        monkeypatch.setattr(record, "author", lambda: {"pid": 7})
        monkeypatch.setattr(time, "time", lambda: moments.pop() if moments else 7.26)
        monkeypatch.setattr(time, "gmtime", lambda: time.struct_time((2026, 11, 30, 14, 5, 9, 0, 334, 0)))
        return kept

    def test_a_line_has_the_moment_how_long_it_took_and_who_it_was(self, kept: list[dict[str, Any]]) -> None:
        Record(["work"]).outcomes([Outcome("work")])
        assert kept == [
            {"time": "2026-11-30T14:05:09Z", "seconds": 2.3, "by": {"pid": 7}, "unchanged": ["work"]},
        ]

    def test_what_may_be_secret_is_in_it_as_the_histories_digest(self, kept: list[dict[str, Any]]) -> None:
        Record(["work"]).outcomes([Outcome("work", changes=TOKEN)])
        (line,) = kept
        assert line["vms"]["work"]["changes"]["vm_config:token"]["new"] == "digest of opensesame"

    def test_a_push_that_failed_as_a_whole_names_whom_it_has_not_reached(self, kept: list[dict[str, Any]]) -> None:
        Record(["work", "mail"]).error(ConnectionLost("\x1bgone" + "x" * 600))
        (line,) = kept
        error = line.pop("error")
        assert line == {
            "time": "2026-11-30T14:05:09Z",
            "seconds": 2.3,
            "by": {"pid": 7},
            "not_reached": ["mail", "work"],
        }
        assert (len(error), error.isprintable()) == (500, True)

    def test_a_push_to_nobody_leaves_no_line(self, kept: list[dict[str, Any]]) -> None:
        Record([]).outcomes([])
        assert kept == []
