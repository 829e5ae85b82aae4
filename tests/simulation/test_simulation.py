"""The simulation itself: the same seed gives the same run, and what breaks a promise is seen, told and made smaller."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.simulation import invariants
from tests.simulation.invariants import Run
from tests.simulation.run import Result, run
from tests.simulation.scenario import Fault, Scenario
from tests.simulation.shrink import shrink
from tests.simulation.story import tell
from tests.simulation.trace import Applied, Began, Ended, Fact, Started, Wrote

SETTING = {"timezone": "UTC"}
KEY = "qubes-timezone"


def ended(comment: str, *, ok: bool = True, kind: str = "push", at: float = 2.0, restored: bool | None = None) -> Ended:
    return Ended(at, "admin", kind, "work", SETTING, 1.0, ok, comment, ("timezone",), restored)


def begun(kind: str = "push") -> list[Fact]:
    return [Started(0.0, "work"), Began(1.0, "admin", kind, "work", SETTING)]


def wrote(text: str | None, at: float = 1.1, *, who: str = "admin", key: str = KEY) -> Wrote:
    return Wrote(at, who, "work", key, None, None if text is None else text.encode(), 1)


def applied(text: str, at: float = 1.5, *, began: float | None = None) -> Applied:
    return Applied(at, "work", "timezone", {"timezone": text}, True, at if began is None else began)


ACKNOWLEDGED = wrote("ok 0123456789abcdef", 1.6, who="agent of work", key="vminterface/ack/timezone")


@pytest.mark.parametrize("seed", [3, 17, 58, 104])
def test_the_same_seed_is_the_same_run(seed: int) -> None:
    assert tell(run(Scenario.of(seed))) == tell(run(Scenario.of(seed)))


def test_a_run_that_keeps_all_promises_breaks_no_rule() -> None:
    facts = [*begun(), wrote("UTC"), applied("UTC"), ACKNOWLEDGED, ended("work: timezone set")]
    assert invariants.check(Run(facts)) == []


@pytest.mark.parametrize(
    ("facts", "rule"),
    [
        ([*begun(), wrote("UTC"), ACKNOWLEDGED, ended("work: timezone set")], "set means applied"),
        ([*begun(), wrote("UTC"), applied("UTC"), ended("work: timezone set")], "set means applied"),
        (
            [
                *begun(), wrote("UTC"), applied("UTC"), ACKNOWLEDGED, ended("work: timezone set"),
                applied("Europe/Berlin", 3.0, began=1.9),
            ],
            "set means applied",
        ),
        ([*begun(), ended("work is already as configured")], "nothing to do means applied"),
        ([*begun(), wrote("UTC"), ended("work: no", ok=False, restored=True)], "failure leaves nothing"),
        ([*begun(), wrote("UTC"), wrote("Asia/Tokyo", 1.2), ended("work: timezone set; x")], "all or nothing"),
        (
            [wrote("Asia/Tokyo", 0.5, who="another"), *begun()[1:], wrote("Asia/Baku", 1.2)],
            "nothing taken back",
        ),
        ([*begun("diff"), wrote("UTC")], "tests write nothing"),
    ],
)  # fmt: skip
def test_each_broken_promise_is_named(facts: list[Fact], rule: str) -> None:
    assert {text.partition(":")[0] for text in invariants.check(Run(facts))} == {rule}


def test_a_network_of_two_writers_is_named() -> None:
    network = {"network:ip": "10.0.0.1", "network:gateway": "10.0.0.2", "network:netmask": "255.255.255.255"}
    facts: list[Fact] = [
        Began(1.0, "admin", "push", "work", dict(network)),
        Applied(2.0, "work", "network", {**network, "network:ip": "10.9.9.9"}, True, 2.0),
    ]
    assert invariants.check(Run(facts))[0].startswith("networks are whole: ")


def test_what_does_not_matter_is_left_out_of_a_failing_scenario() -> None:
    scenario = replace(Scenario.of(18), faults=(Fault(0.1, "kill", "admin 1"), Fault(0.2, "slow agent", "work", 1.0)))

    def attempt(one: Scenario) -> Result:
        result = run(one)
        bad = any(fault.kind == "slow agent" for fault in one.faults)
        return replace(result, violations=("it is slow: very",) if bad else ())

    smallest = shrink(attempt(scenario), attempt).scenario
    assert [fault.kind for fault in smallest.faults] == ["slow agent"]
    assert len(smallest.actors) == len(smallest.fields) == len(smallest.vms) == 1


def test_a_story_says_who_did_what_when_and_what_is_wrong() -> None:
    told = tell(replace(run(Scenario.of(17)), violations=("that is wrong",)))
    assert "begins a push of work" in told
    assert told.endswith("WRONG: that is wrong")
