"""The one sentence that an admin reads of each VM, and when there is nothing to add to it."""

from __future__ import annotations

from typing import Any

import pytest

from vminterface.dom0.push.outcome import NO_AGENT, Outcome, Work, at_next_start, count
from vminterface.dom0.push.unaccepted import Unaccepted
from vminterface.errors import ConnectionLost, DeadlineExceeded, StoreError
from vminterface.keys import read_value
from vminterface.values.announcement import Announcement
from vminterface.values.change import Change
from vminterface.values.service import ServiceState

ZONE = {"timezone": Change(None, read_value("timezone", "Europe/Warsaw"))}
CUPS = {"services:cups": Change(None, ServiceState.ON)}
NO_NETWORK: dict[str, Change[Any]] = {"network:ip": Change(read_value("network:ip", "10.137.0.12"), None)}
KEYBOARD = {"keyboard": Change(None, read_value("keyboard", "pl++"))}
LOST = "is lost at the VM's next start unless pushed again (`vminterface watch` does)"
OLD_AGENT = Announcement("0.9", frozenset({"services"}))


def refused(*, optional: bool = False) -> dict[str, Unaccepted]:
    return {"timezone": Unaccepted("timezone", "refuse", "decided by its owner", optional)}


def outcome(**more: Any) -> Outcome:
    return Outcome("work", **more)


@pytest.mark.parametrize(
    ("made", "test", "expected"),
    [
        (outcome(), False, "work is already as configured"),
        (outcome(changes=ZONE), False, "work: timezone set"),
        (outcome(changes=ZONE), True, "work: timezone would be set"),
        (outcome(changes=ZONE, note="its agent is old"), False, "work: timezone set; its agent is old"),
        (outcome(note="its agent is old"), False, "work is already as configured"),
        (outcome(left_out="it is paused"), False, "work is left out: it is paused"),
        (outcome(error=StoreError("work: no"), left_out="it is paused"), False, "work: no"),
        (outcome(error=StoreError("work: no"), restored=True), False, "work: no; former values restored"),
        (outcome(error=StoreError("work: no"), restored=False), False, "work: no"),
        (
            outcome(running=False),
            False,
            "work is not running: its settings need a push after the next start",
        ),
        (
            outcome(running=False, changes=ZONE, note="and so on"),
            False,
            "work is not running: timezone set; and so on; its settings need a push after the next start",
        ),
        (
            outcome(running=False, changes=ZONE, persistent=True),
            True,
            "work is not running: timezone would be set; "
            "qubesd applies the persistent settings at the next start; the rest needs another push",
        ),
        (
            outcome(unaccepted=refused()),
            False,
            "work does not accept timezone: decided by its owner; work is otherwise as configured",
        ),
        (
            outcome(changes=CUPS, unchanged=("work keeps its cups",), remarks=("the rest is left out",)),
            False,
            "work: services:cups set; work keeps its cups; the rest is left out",
        ),
        (
            outcome(waiting=dict(timezone=ZONE["timezone"].new, **{"services:cups": None})),
            False,
            "work is already as configured; "
            "services:cups takes effect at the VM's next start (until then: default); "
            "timezone takes effect at the VM's next start (until then: Europe/Warsaw)",
        ),
        (
            outcome(waiting={"vm_config:note": "x" * 100}),
            False,
            "work is already as configured; "
            f"vm_config:note takes effect at the VM's next start (until then: {'x' * 57}...)",
        ),
    ],
)
def test_the_comment(made: Outcome, test: bool, expected: str) -> None:
    assert made.comment(test=test) == expected


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (outcome(changes=ZONE, awaited=True), f"work: timezone set; {NO_AGENT}: it {LOST}"),
        (outcome(changes=ZONE, awaited=False), "work: timezone set"),
        (
            outcome(changes=ZONE, awaited=True, note="and so on"),
            f"work: timezone set; {NO_AGENT}: it {LOST}; and so on",
        ),
        (
            outcome(changes=ZONE | CUPS, awaited=True, agent=OLD_AGENT),
            f"work: services:cups, timezone set; its agent (version 0.9) does not apply timezone: it {LOST}",
        ),
        (outcome(changes=CUPS, awaited=True, agent=OLD_AGENT), "work: services:cups set"),
        (
            outcome(changes=ZONE | KEYBOARD, awaited=True, agent=OLD_AGENT),
            f"work: keyboard, timezone set; its agent (version 0.9) does not apply keyboard, timezone: it {LOST}",
        ),
        (
            outcome(changes=CUPS, awaited=True, persistent=True),
            f"work: services:cups set; {NO_AGENT}: it takes effect at the VM's next start, for which qubesd stores it",
        ),
        # Of what qubesd alone keeps nothing is to be applied in the VM.
        (
            outcome(changes={"persistent:netvm": Change("sys-net", "")}, awaited=True, persistent=True),
            "work: persistent:netvm set",
        ),
        (outcome(changes=NO_NETWORK, awaited=True, persistent=True), f"work: network set; {NO_AGENT}"),
        (outcome(changes=NO_NETWORK, awaited=True), f"work: network set; {NO_AGENT}: it {LOST}"),
        *(
            (
                outcome(changes={name: change}, awaited=True, persistent=True),
                f"work: {name} set; {NO_AGENT}: it takes effect at the VM's next start, for which qubesd stores it",
            )
            for name, change in (
                ("network:ip", Change(None, read_value("network:ip", "10.137.0.12"))),
                ("timezone", Change(read_value("timezone", "UTC"), None)),
            )
        ),
    ],
)
def test_what_nobody_in_the_vm_applies_is_said_with_what_becomes_of_it(made: Outcome, expected: str) -> None:
    assert made.comment() == expected


@pytest.mark.parametrize(
    ("fields", "persistent", "expected"),
    [
        ([], False, ""),
        (["timezone"], False, f"it {LOST}"),
        (["timezone"], True, "it takes effect at the VM's next start, for which qubesd stores it"),
        (["lasting:timezone"], False, ""),
        (["services:meminfo-writer"], True, ""),
        (["services:meminfo-writer"], False, f"it {LOST}"),
        (["keyboard", "keymap"], True, "it takes effect at the VM's next start, for which qubesd stores it"),
        (
            ["timezone", "services:cups", "network:gateway"],
            True,
            "services:cups, timezone takes effect at the VM's next start, for which qubesd stores it; "
            f"network:gateway {LOST}",
        ),
    ],
)
def test_what_becomes_of_fields_at_the_next_start(fields: list[str], persistent: bool, expected: str) -> None:
    assert at_next_start(fields, persistent=persistent) == expected


def test_up_to_three_fields_are_named_and_more_are_counted() -> None:
    assert count({"c": 1, "a": 1, "b": 1}) == "a, b, c"
    assert count({"c": 1, "a": 1, "b": 1, "d": 1}) == "4 fields"


def test_notes_are_added_one_after_the_other() -> None:
    made = outcome()
    made.add_note("one")
    made.add_note("two")
    assert made.note == "one; two"


@pytest.mark.parametrize(
    ("made", "ok", "as_asked"),
    [
        (outcome(), True, True),
        (outcome(error=StoreError("no")), False, False),
        (outcome(unaccepted=refused()), True, False),
        (outcome(unaccepted=refused(optional=True)), True, True),
        (outcome(error=StoreError("no"), unaccepted=refused(optional=True)), False, False),
    ],
)
def test_what_the_owner_refuses_is_no_error_but_not_as_asked(made: Outcome, ok: bool, as_asked: bool) -> None:
    assert (made.ok, made.as_asked) == (ok, as_asked)


@pytest.mark.parametrize(
    "more",
    [
        {"error": StoreError("no")},
        {"running": False},
        {"remarks": ("one",)},
        {"unchanged": ("one",)},
        {"note": "one"},
        {"left_out": "paused"},
        {"unaccepted": refused()},
        {"waiting": {"timezone": None}},
        {"changes": ZONE, "awaited": True},
    ],
)
def test_an_outcome_is_plain_only_where_nothing_is_left_to_say(more: dict[str, Any]) -> None:
    assert outcome().is_plain
    assert outcome(changes=ZONE).is_plain
    assert not outcome(**more).is_plain


def test_an_outcome_begins_with_a_vm_that_runs_and_nothing_done() -> None:
    made = outcome()
    assert (made.changes, made.same, made.tried, made.error, made.note, made.agent) == ({}, {}, {}, None, "", None)
    assert (made.running, made.persistent, made.awaited, made.unheard, made.restored) == (
        True,
        False,
        False,
        False,
        None,
    )
    assert (made.remarks, made.unchanged, made.waiting, made.unaccepted, made.left_out) == ((), (), {}, {}, "")


def test_the_changes_are_told_as_fields_and_words_of_the_pillar() -> None:
    made = outcome(changes={"network:primary_dns": Change(None, read_value("network:primary_dns", "10.139.1.1"))})
    made.same = {"network:secondary_dns": read_value("network:secondary_dns", "10.139.1.2")}
    assert made.fields == {"network:dns": Change(["10.139.1.2"], ["10.139.1.1", "10.139.1.2"])}


def test_the_first_error_of_a_vm_is_kept() -> None:
    made = outcome()
    work: Any = Work(settings=None, target=None, state=None, outcome=made)  # type: ignore[arg-type]
    first = ConnectionLost("work: gone")
    work.fail(first)
    work.fail(DeadlineExceeded("work: too late"))
    assert made.error is first
    assert (work.by_qubesd, work.texts) == (frozenset(), {})
    assert not any((work.introduced, work.unread, work.restored, work.begun, work.written))
