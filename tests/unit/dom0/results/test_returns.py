"""The result of a state about many VMs: who has a sentence of its own in the comment, and who is only counted."""

from typing import Any

import pytest

from vminterface.dom0.push.outcome import NO_AGENT, Outcome
from vminterface.dom0.results import returns
from vminterface.errors import SettingRefused
from vminterface.values.change import Change

ZONE = {"timezone": Change("UTC", "Europe/Warsaw")}
PLAIN = [Outcome("same"), Outcome("set", dict(ZONE))]


@pytest.mark.parametrize(
    ("outcome", "sentence"),
    [
        (
            Outcome("vm", error=SettingRefused("vm refused timezone: no"), restored=True),
            "vm refused timezone: no; former",
        ),
        (Outcome("vm", running=False), "vm is not running: "),
        (Outcome("vm", dict(ZONE), awaited=True), f"vm: timezone set; {NO_AGENT}: "),
        (
            Outcome("vm", dict(ZONE), note="no firewall there"),
            "vm: timezone set; no firewall there",
        ),
        (Outcome("vm", remarks=("memory is left out",)), "vm is already as configured; memory is left out"),
        (Outcome("vm", waiting={"network:ip": "10.0.0.1"}), "vm is already as configured; network:ip takes effect at"),
        (Outcome("vm", left_out="dom0's policy denies it"), "vm is left out: dom0's policy denies it"),
    ],
)
def test_a_vm_of_which_there_is_more_to_know_has_a_sentence(outcome: Outcome, sentence: str) -> None:
    whole, *lines = returns.state_of_all("push", [*PLAIN, outcome], test=False)["comment"].splitlines()
    assert whole.startswith("3 VMs: ")
    assert len(lines) == 1
    assert lines[0].startswith(sentence)


def test_others_are_counted_and_what_changed_is_there_by_name() -> None:
    found: dict[str, Any] = returns.state_of_all("push", PLAIN, test=False)
    assert found["comment"] == "2 VMs: 1 changed, 1 already as configured"
    assert found["changes"] == {"set": {"timezone": {"old": "UTC", "new": "Europe/Warsaw"}}}
    assert returns.state_of_all("push", PLAIN, test=True)["result"] is None


def test_of_one_vm_the_comment_is_its_sentence() -> None:
    assert returns.state_of_all("push", PLAIN[1:], test=False)["comment"] == "set: timezone set"
    assert returns.state_of_all("push", [], test=False)["comment"] == "0 VMs: nothing to do"
