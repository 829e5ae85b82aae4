"""Whose turn it is, where other programs have some of the VMs: in memory and in virtual time."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.pushworld import WARSAW, World, error_of
from tests.support.virtualtime import Clock
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.inventory.targets import Targets
from vminterface.dom0.push.outcome import Outcome
from vminterface.dom0.push.push import Push
from vminterface.errors import (
    ConnectionLost,
    DeadlineExceeded,
    Interrupted,
)


@pytest.fixture
def world(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(clock, monkeypatch)


class TestTurns:
    """Of VMs that another program has: each in its turn, with what is left of its time."""

    def test_the_free_ones_go_first(self, world: World) -> None:
        world.vm("held").reply = lambda setting: None
        world.vm("free")
        world.locks.until["held"] = 2.0
        held, free = world.all_pushed(
            VMSettings.parse("held", {**WARSAW, "timeout": 10}), VMSettings.parse("free", WARSAW)
        )
        assert free.ok
        assert str(held.error).startswith("held: the agent did not acknowledge timezone within 7.9")
        assert {*world.locks.released} == {"held", "free"}

    def test_one_that_stays_held_is_late(self, world: World) -> None:
        guest = world.vm()
        world.locks.until["work"] = 100.0
        outcome = world.pushed({**WARSAW, "timeout": 6})
        assert error_of(outcome) == (
            DeadlineExceeded,
            "work: another program is writing to it and did not end within 3 s",
        )
        assert world.locks.given_up == ["work"]
        assert outcome.vm == "work"
        assert 3.0 <= world.clock.now <= 3.1
        assert guest.done == []

    def test_once_it_is_to_end_nobody_is_waited_for(self, world: World) -> None:
        world.vm()
        world.locks.until["work"] = 100.0
        world.stop.set()
        assert error_of(world.pushed(WARSAW)) == (Interrupted, "work: interrupted before anything was written")
        assert world.locks.given_up == ["work"]

    def test_without_settings_there_is_nothing_to_lock(self, world: World) -> None:
        assert world.all_pushed() == []
        assert world.locks.opened == 0

    def test_what_nobody_foresaw_lets_all_go(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        error = ConnectionLost("no store")

        def run(one: Push) -> list[Outcome]:
            raise error

        monkeypatch.setattr(Push, "run", run)
        with pytest.raises(ConnectionLost):
            world.pushed(WARSAW)
        assert world.locks.released == ["work"]
        assert world.recorded == [(["work"], error)]
        assert world.kept == world.reported == []


class TestLock:
    def taken(self, world: World, *settings: VMSettings) -> tuple[list[tuple[float, list[VMSettings]]], dict[str, Any]]:
        late: dict[str, Outcome] = {}
        locks: Any = world.locks
        turns = Push.lock(settings, locks, world.stop, late)
        return [(round(world.clock.now, 2), some) for some in turns], late

    def test_those_that_come_free_have_what_is_left_of_their_time(self, world: World) -> None:
        world.locks.until |= {"b": 1.0, "c": 2.0, "d": 9.0}
        turns, late = self.taken(world, *(VMSettings.parse(vm, {"timeout": 6}) for vm in "abcd"))
        assert [[one.vm for one in some] for _, some in turns] == [["a"], ["b"], ["c"]]
        assert [some[0].timeout for _, some in turns] == pytest.approx([6.0, 5.0, 4.0], abs=0.06)
        assert list(late) == ["d"]

    def test_the_pauses_grow_to_the_longest(self, world: World) -> None:
        world.locks.until["a"] = 0.3
        self.taken(world, VMSettings.parse("a", {}))
        waits = world.clock.waits
        assert waits[:5] == pytest.approx([0.002, 0.004, 0.008, 0.016, 0.032])
        assert set(waits[5:]) == {0.05}

    def test_one_that_is_free_at_once_is_not_waited_for(self, world: World) -> None:
        turns, late = self.taken(world, VMSettings.parse("a", {}))
        assert (len(turns), late, world.clock.waits) == (1, {}, [])


def test_an_own_connection_is_opened_for_those_who_waited(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    others: list[Targets] = []
    another = Targets.another

    def noted(one: Targets) -> Targets:
        others.append(another(one))
        return others[-1]

    monkeypatch.setattr(Targets, "another", noted)
    world.vm()
    world.locks.until["work"] = 0.1
    assert world.pushed(WARSAW).ok
    # One for the firewalls' providers, too.
    assert len(others) == 2
