"""Whose turn it is, where other programs have some of the VMs: in memory and in virtual time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from tests.support.pushworld import FIREWALL, WARSAW, World, error_of
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.inventory.targets import Targets
from vminterface.dom0.push.outcome import Outcome
from vminterface.dom0.push.push import Push, push
from vminterface.errors import (
    ConnectionLost,
    DeadlineExceeded,
    Interrupted,
)


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

    def test_what_the_free_ones_raise_is_raised_also_where_others_waited(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = Push.run

        def failing(one: Push) -> list[Outcome]:
            if "free" in one._plans:
                raise ConnectionLost("no store")
            return run(one)

        monkeypatch.setattr(Push, "run", failing)
        world.vm("held")
        world.locks.until["held"] = 0.1
        with pytest.raises(ConnectionLost):
            world.all_pushed(*(VMSettings.parse(vm, WARSAW) for vm in ("free", "held")))
        assert {*world.locks.released} == {"free", "held"}

    def test_a_vm_is_let_go_when_it_is_done_and_at_the_latest_at_the_end(self, world: World) -> None:
        world.vm()
        world.pushed(WARSAW)
        assert world.locks.released == ["work", "work"]

    @pytest.mark.parametrize(("raw", "cost"), [(WARSAW, 1), ({**WARSAW, **FIREWALL}, 3)])
    def test_one_with_a_firewall_costs_two_connections_more(
        self, world: World, monkeypatch: pytest.MonkeyPatch, raw: dict[str, Any], cost: int
    ) -> None:
        costs: set[int] = set()
        waves = Targets.waves

        def noted(one: Targets, vms: Iterable[str], cost: int = 1) -> Iterator[list[str]]:
            some = list(vms)
            costs.update({cost} if some else ())
            return waves(one, some, cost)

        monkeypatch.setattr(Targets, "waves", noted)
        world.vm()
        world.vm("sys-net")
        world.pushed(raw)
        assert costs == {cost}

    @pytest.mark.parametrize("agent", ["", "timezone"])
    def test_connections_to_providers_are_hung_up(
        self, world: World, monkeypatch: pytest.MonkeyPatch, agent: str
    ) -> None:
        opened: list[Targets] = []
        closed: list[Targets] = []
        another, close = Targets.another, Targets.close

        def opening(one: Targets) -> Targets:
            opened.append(another(one))
            return opened[-1]

        def closing(one: Targets) -> None:
            closed.append(one)
            close(one)

        monkeypatch.setattr(Targets, "another", opening)
        monkeypatch.setattr(Targets, "close", closing)
        world.vm(agent=agent)
        world.vm("sys-net", agent="")
        for raw in (WARSAW, {**WARSAW, **FIREWALL}):
            world.pushed(raw)
            world.found(raw)
        assert len(opened) == 4
        assert [closed.count(one) for one in opened] == [1] * 4


def test_a_caller_without_a_stop_of_its_own_may_be_interrupted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done then is another part's; it gets the push, the text of what has happened, and the report."""

    def run(do: Any, text: Any, report: Any) -> Any:
        outcomes = do(world.stop)
        report(outcomes)
        assert text(outcomes * 2) == "work: timezone set\nwork: timezone set"
        return outcomes

    monkeypatch.setattr("vminterface.dom0.push.push.interrupt.run", run)
    world.vm()
    locks: Any = world.locks
    with world.targets() as targets:
        settings = [VMSettings.parse("work", WARSAW)]
        outcomes = push(settings, targets, report=world.reported.append, open_locks=locks, keep=world.kept.append)
    assert world.kept == world.reported == [outcomes]


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
