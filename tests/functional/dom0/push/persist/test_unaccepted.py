"""On Qubes R4 qubesd keeps nothing of what the owner of a running VM does not accept, and all the rest."""

from __future__ import annotations

from typing import Any

from tests.support.qubesr4 import QubesR4
from vminterface.dom0.results import returns
from vminterface.values.announcement import Announcement

RAW: dict[str, Any] = {"timezone": "Europe/Warsaw", "services": {"cups": True}, "keyboard": "pl", "timeout": 20}
REFUSED = "work does not accept keyboard, services: decided by its owner"
UNACCEPTED = {"keyboard": "refuse", "services": "refuse"}


def test_what_is_refused_is_kept_nowhere_and_the_rest_is(r4: QubesR4) -> None:
    r4.host.agent("work", unaccepted=UNACCEPTED)
    (outcome,) = r4.push(r4.settings(**RAW))
    assert outcome.error is None
    assert outcome.comment().startswith(f"{REFUSED}; work: ")
    assert {name.removeprefix("persistent:") for name in returns.changes_of(outcome)} == {"timezone"}
    assert r4.changed() == [("admin.vm.feature.Set", "vm-config.vminterface-timezone")]
    assert r4.host.read("work", "qubes-service/cups") is None


def test_a_diff_foresees_the_same_and_asks_for_no_change(r4: QubesR4) -> None:
    r4.host.agent("work", unaccepted=UNACCEPTED)
    (foreseen,) = r4.diff(r4.settings(**RAW))
    assert r4.changed() == []
    (outcome,) = r4.push(r4.settings(**RAW))
    assert returns.changes_of(foreseen) == returns.changes_of(outcome)
    assert foreseen.comment(test=True).startswith(f"{REFUSED}; ")


def test_a_second_push_changes_nothing(r4: QubesR4) -> None:
    r4.host.agent("work", unaccepted=UNACCEPTED)
    r4.push(r4.settings(**RAW))
    r4.changed()
    (again,) = r4.push(r4.settings(**RAW))
    assert again.comment() == f"{REFUSED}; work is otherwise as configured"
    assert r4.changed() == []


def test_a_vm_that_does_not_run_refuses_nothing(r4: QubesR4) -> None:
    (outcome,) = r4.push(r4.settings("personal", **RAW))
    assert outcome.as_asked
    assert ("admin.vm.feature.Set", "service.cups") in r4.changed()


def test_what_turns_out_to_be_refused_is_taken_back_in_qubesd_and_nothing_else(r4: QubesR4) -> None:
    def changing_his_mind(setting: str) -> str | None:
        if setting not in UNACCEPTED:
            return ""
        with r4.host.guest_store("work") as store:
            words = Announcement("0", frozenset({"timezone"}), UNACCEPTED)
            store.write("vminterface/agent", words.render().encode())
        return None

    r4.host.agent("work", lambda setting, inputs: changing_his_mind(setting))
    (outcome,) = r4.push(r4.settings(**RAW))
    assert outcome.error is None, outcome.comment()
    assert outcome.comment().startswith(f"{REFUSED}; work: ")
    assert {name.removeprefix("persistent:") for name in outcome.changes} == {"timezone"}
    work = r4.qubesd.qubes["work"]
    assert work.features == {"vm-config.vminterface-timezone": "Europe/Warsaw"}
    assert "keyboard_layout" not in work.properties
    assert r4.host.read("work", "qubes-service/cups") is None
