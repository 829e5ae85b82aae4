"""What a VM's owner does not accept: found in the agent's announcement, divided from the rest, and told."""

from __future__ import annotations

from typing import Any

import pytest

from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.inventory.observed import VMState
from vminterface.dom0.push.unaccepted import Unaccepted, find, leave_out, part, reason_of, sentences, without
from vminterface.values.acknowledgement import Acknowledgement
from vminterface.values.announcement import Announcement
from vminterface.values.change import Change

CHANGES: dict[str, Change[Any]] = {
    "timezone": Change(None, "UTC"),
    "persistent:timezone": Change(None, "UTC"),
    "network:ip": Change(None, "10.137.0.12"),
    "persistent:memory": Change(None, 400),
}


def state(unaccepted: dict[str, str] | None = None, **acknowledgements: Acknowledgement) -> VMState:
    target: Any = None
    found = VMState(target)
    found.agent = None if unaccepted is None else Announcement("1.0", frozenset({"services"}), unaccepted)
    found.acknowledgements = acknowledgements
    return found


def settings(**more: Any) -> VMSettings:
    return VMSettings("work", {"timezone": "UTC", "services:cups": None, "network:ip": "10.137.0.12"}, **more)


def acknowledged(owner: str, note: str) -> Acknowledgement:
    return Acknowledgement(True, "0" * 16, note, owner)


def test_what_the_agent_announces_is_found_with_its_changes() -> None:
    found = find(settings(), state({"timezone": "refuse", "keyboard": "ignore", "network": "ignore"}), CHANGES)
    assert found == {
        "network": Unaccepted(
            "network", "ignore", "decided by its owner", False, {"network:ip": CHANGES["network:ip"]}
        ),
        "timezone": Unaccepted(
            "timezone",
            "refuse",
            "decided by its owner",
            False,
            {"timezone": CHANGES["timezone"], "persistent:timezone": CHANGES["persistent:timezone"]},
        ),
    }
    assert list(found) == ["network", "timezone"]
    refused = state({"timezone": "refuse"}, timezone=acknowledged("refuse", "agent.conf:1"))
    assert find(settings(), refused, {})["timezone"] == Unaccepted("timezone", "refuse", "agent.conf:1", False)


def test_the_pillar_may_call_it_optional() -> None:
    found = find(settings(optional=frozenset({"timezone"})), state({"timezone": "refuse", "network": "refuse"}), {})
    assert {name: one.optional for name, one in found.items()} == {"network": False, "timezone": True}


def test_without_an_agent_nobody_refuses_anything() -> None:
    assert find(settings(), state(), CHANGES) == {}


@pytest.mark.parametrize(
    ("word", "optional", "error"),
    [("refuse", False, True), ("refuse", True, False), ("ignore", False, False), ("ignore", True, False)],
)
def test_only_what_is_refused_and_not_optional_is_an_error(word: str, optional: bool, error: bool) -> None:
    one = Unaccepted("timezone", word, "", optional)
    assert (one.is_error, one.changes) == (error, {})


def test_the_reason_is_that_of_the_acknowledgement_where_it_is_of_the_owner() -> None:
    assert reason_of(state({}, timezone=acknowledged("refuse", "agent.conf:1")), "timezone") == "agent.conf:1"
    assert reason_of(state({}, timezone=acknowledged("accept", "applied")), "timezone") == "decided by its owner"
    assert reason_of(state({}), "timezone") == "decided by its owner"


def test_changes_are_divided_by_the_settings_that_they_are_of() -> None:
    names = {"timezone", "network"}
    assert list(part(CHANGES, names)) == ["timezone", "persistent:timezone", "network:ip"]
    assert list(without(CHANGES, names)) == ["persistent:memory"]
    assert part(CHANGES, {"keyboard"}) == {}
    assert without(CHANGES, {"keyboard"}) == CHANGES


def test_fields_of_settings_are_left_out_of_what_is_desired() -> None:
    asked = settings(timeout=7.0)
    left = leave_out(asked, {"timezone", "network"})
    assert (dict(left.desired), left.timeout) == ({"services:cups": None}, 7.0)
    assert leave_out(asked, ()) is asked


def test_settings_with_one_reason_are_told_together() -> None:
    found = [
        Unaccepted("network", "refuse", "agent.conf:1", False),
        Unaccepted("timezone", "refuse", "agent.conf:1", False),
        Unaccepted("services", "refuse", "agent.conf:1", True),
        Unaccepted("keyboard", "refuse", "agent.conf:9", False),
        Unaccepted("debug", "ignore", "agent.conf:1", False),
    ]
    assert sentences("work", found) == [
        "work does not accept network, timezone: agent.conf:1",
        "work does not accept services (optional): agent.conf:1",
        "work does not accept keyboard: agent.conf:9",
        "work ignores debug: agent.conf:1",
    ]
