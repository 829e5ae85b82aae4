"""The rule of a rollout, over units that are numbers in a mapping: 200 of them, with a refusing one at every position.

One over the VMs of real stores is in tests/functional/dom0/fleet/test_vmrollout.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from vminterface.dom0.fleet import journal as journal_module
from vminterface.dom0.fleet import rollout, waves
from vminterface.dom0.fleet.journal import Journal, NoSuchRollout, RolloutExists, Unit
from vminterface.errors import InvalidValue, LockUnavailable, VMInterfaceError

UNITS = [f"vm{number:03}" for number in range(200)]
CANARY, SIZES = ["vm100", "vm003"], [5, "10%", "40%"]
OLD, NEW = "old", "new"


class Killed(BaseException):
    """The program is killed: nothing of it runs any more."""


class World:
    """Units that have OLD and are to have NEW; those of *refusing* take nothing, and a kill comes after *steps*."""

    def __init__(self, refusing: Sequence[str] = (), steps: int | None = None) -> None:
        self.held = dict.fromkeys(UNITS, OLD)
        self.refusing, self.steps = set(refusing), steps
        #: Units that have had NEW at any time.
        self.touched: set[str] = set()
        self.unreachable: set[str] = set()
        #: Units that take what they are given and do not reply.
        self.mute: set[str] = set()

    def step(self) -> None:
        if self.steps is not None:
            if self.steps == 0:
                raise Killed
            self.steps -= 1

    def observe(self, wave: Sequence[str]) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        self.step()
        former = {unit: {"was": self.held[unit]} for unit in wave if self.held[unit] != NEW}
        return former, {unit: f"{unit}: no reply" for unit in wave if unit in self.unreachable}

    def give(self, wave: Sequence[str]) -> Mapping[str, Unit]:
        results = {}
        for unit in wave:
            self.step()
            if unit in self.refusing:
                results[unit] = Unit("failed", "refused")
                continue
            self.held[unit] = NEW
            self.touched.add(unit)
            results[unit] = Unit("unsure", "no reply") if unit in self.mute else Unit("done", "set")
        self.step()
        return results

    def take(self, former: Mapping[str, Any]) -> Mapping[str, str]:
        for unit, data in former.items():
            self.step()
            self.held[unit] = data["was"]
        return {}

    def new(self) -> set[str]:
        return {unit for unit, has in self.held.items() if has == NEW}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VMINTERFACE_ROLLOUTS", str(tmp_path))
    return tmp_path


PLAN = waves.plan(UNITS, CANARY, SIZES)


def begin(world: World, name: str = "one", failures: int = 1) -> Journal:
    with Journal.begin(name, PLAN) as journal:
        rollout.run(journal, world.observe, world.give, world.take, failures=failures)
        return journal


def resume(world: World, name: str = "one", failures: int = 1) -> Journal:
    with Journal.open(name) as journal:
        rollout.resume(journal, world.observe, world.give, world.take, failures=failures)
        return journal


def wave_of(unit: str) -> int:
    return next(at for at, wave in enumerate(PLAN) if unit in wave)


def test_where_nobody_refuses_every_unit_has_it_in_the_end(folder: Path) -> None:
    world = World()
    journal = begin(world)
    assert journal.ended == "complete"
    assert world.new() == set(UNITS)
    assert {one.state for one in journal.units.values()} == {"done"}


def test_a_refusing_unit_at_any_position_touches_no_other_wave_and_leaves_its_own_as_it_was(folder: Path) -> None:
    for at, unit in enumerate(UNITS):
        world = World([unit])
        journal = begin(world, f"r{at}")
        before = {one for wave in PLAN[: wave_of(unit)] for one in wave}
        assert journal.ended == "stopped"
        assert world.new() == before
        assert world.touched <= before | set(PLAN[wave_of(unit)])
        assert journal.of("failed") == [unit]
        assert set(journal.of("restored")) == set(PLAN[wave_of(unit)]) - {unit}
        assert set(journal.of("waiting")) == {one for wave in PLAN[wave_of(unit) + 1 :] for one in wave}
        # Its cause is mended: the rest follows.
        world.refusing.clear()
        assert resume(world, f"r{at}").ended == "complete"
        assert world.new() == set(UNITS)


def test_killed_at_any_step_it_is_resumed_or_taken_back_and_no_later_wave_was_touched(folder: Path) -> None:
    refusing = PLAN[2][3]
    for steps in range(80):
        for way in ("resume", "restore"):
            name = f"{way}{steps}"
            world = World([refusing], steps)
            try:
                begin(world, name)
            except Killed:
                pass
            else:
                assert steps > 40
            assert world.touched <= {one for wave in PLAN[:3] for one in wave}
            world.steps = None
            if way == "restore":
                with Journal.open(name) as journal:
                    rollout.restore(journal, world.take)
                assert world.new() == set()
            else:
                resume(world, name)
                assert world.new() == {one for wave in PLAN[:2] for one in wave}


def test_a_kill_while_it_is_taken_back_loses_nothing(folder: Path) -> None:
    world = World()
    begin(world)
    world.steps = 50
    with pytest.raises(Killed), Journal.open("one") as journal:
        rollout.restore(journal, world.take)
    assert world.new()
    world.steps = None
    with Journal.open("one") as journal:
        rollout.restore(journal, world.take)
    assert world.new() == set()


def test_fewer_failures_than_are_too_many_stop_nothing(folder: Path) -> None:
    world = World([PLAN[1][0], PLAN[3][1], PLAN[3][2]])
    journal = begin(world, failures=3)
    assert (journal.ended, journal.failures) == ("stopped", 3)
    assert world.new() == {one for wave in PLAN[:3] for one in wave} - world.refusing
    assert begin(World([PLAN[1][0], PLAN[3][1]]), "two", failures=3).ended == "complete"


def test_a_wave_of_which_too_many_cannot_be_reached_is_not_begun(folder: Path) -> None:
    world = World()
    world.unreachable = {PLAN[1][2]}
    journal = begin(world)
    assert journal.ended == "stopped"
    assert world.touched == set(PLAN[0])
    assert journal.units[PLAN[1][2]].message == f"{PLAN[1][2]}: no reply"


def test_a_unit_that_does_not_reply_counts_as_a_failure_and_is_given_back_too(folder: Path) -> None:
    world = World()
    world.mute = {PLAN[1][1]}
    journal = begin(world)
    assert journal.ended == "stopped"
    assert world.new() == set(PLAN[0])
    assert set(journal.of("restored")) == set(PLAN[1])


def test_what_could_not_be_given_back_is_said_and_tried_again(folder: Path) -> None:
    world = World([PLAN[1][0]])
    stubborn = PLAN[1][1]

    def take(former: Mapping[str, Any]) -> Mapping[str, str]:
        return {stubborn: "it hangs"} if stubborn in former else {}

    with Journal.begin("one", PLAN) as journal:
        rollout.run(journal, world.observe, world.give, take)
    assert journal.of("not_restored") == [stubborn]
    assert journal.units[stubborn].message == "it hangs"
    with Journal.open("one") as journal:
        rollout.restore(journal, world.take)
    assert world.held[stubborn] == OLD


def test_a_journal_is_one_programs_at_a_time(folder: Path) -> None:
    with Journal.begin("one", PLAN):
        with pytest.raises(LockUnavailable, match="the rollout one is at work in another program"):
            Journal.open("one")
        with pytest.raises(LockUnavailable, match="the rollout one is at work in another program"):
            Journal.begin("one", PLAN)
    with pytest.raises(RolloutExists, match="a rollout called one was begun before"):
        Journal.begin("one", PLAN)
    Journal.open("one").close()


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".a", "a" * 65, "a b", "é"])
def test_a_name_is_never_a_path(folder: Path, name: str) -> None:
    with pytest.raises(InvalidValue, match="is not a name for a rollout"):
        Journal.begin(name, PLAN)


def test_what_was_never_begun_and_what_is_no_journal_are_errors(folder: Path) -> None:
    with pytest.raises(NoSuchRollout, match="no rollout called other was begun here"):
        Journal.open("other")
    assert list(folder.glob("*")) == []  # nor has looking for it left a lock
    for text in ("", "{", "[]", "{}", '{"waves": 5}'):
        (folder / "odd.json").write_text(text)
        with pytest.raises(VMInterfaceError, match=r"odd.json: is not the journal of a rollout"):
            Journal.open("odd")


def test_old_journals_go_and_those_that_have_not_ended_stay(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "KEPT", 2)
    Journal.begin("unfinished", PLAN).close()
    for number in range(5):
        begin(World(), f"n{number}")
    assert {path.stem for path in folder.glob("*.json")} == {"unfinished", "n3", "n4"}


def test_what_came_of_it_is_plain_data(folder: Path) -> None:
    data = begin(World([PLAN[1][0]])).as_data()
    assert data["comment"] == "one: stopped in wave 2 of 6: 2 done, 1 failed, 4 restored, 193 not reached"
    assert data["ended"] == "stopped"
    assert data["waves"][:2] == [2, 5]
    assert data["units"][PLAN[1][0]] == {"wave": 2, "state": "failed", "message": "refused"}


@pytest.mark.parametrize(
    ("spoilt", "said"),
    [
        ({"units": {}}, "units: vm003 is missing"),
        ({"done": 99}, "done: 99 of 6 waves"),
        ({"done": -1}, "done: -1 of 6 waves"),
        ({"done": 6, "begun": True}, "done: 6 of 6 waves"),
        ({"waves": [["gone"]], "done": 0}, "units: gone is missing"),
        (
            {"units": {unit: ["odd", ""] for unit in UNITS}},
            "units: vm000: 'odd' is not a state (expected one of waiting, ",
        ),
        ({"failures": float("inf")}, "cannot convert float infinity to integer"),
    ],
)
def test_a_file_that_does_not_fit_together_is_one_sentence(folder: Path, spoilt: dict[str, Any], said: str) -> None:
    with begin(World(refusing=["vm003"])):
        pass
    file = folder / "one.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **spoilt}))
    with pytest.raises(VMInterfaceError) as caught:
        Journal.open("one")
    assert str(caught.value).startswith(f"{file}: is not the journal of a rollout: {said}")
