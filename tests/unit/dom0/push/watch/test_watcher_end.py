"""How often the watcher looks what runs, what it does while stores or threads are missing, and how it ends."""

from __future__ import annotations

import pytest

from tests.support.watcherworld import CLIENT, MAIL, PROVIDER, WORK, Thread, World
from vminterface.dom0.push.watch import watcher as module
from vminterface.dom0.push.watch.ending import TAKE_BACK
from vminterface.dom0.push.watch.watcher import Watcher
from vminterface.errors import ConnectionLost, StoreError

NEXT = "its settings are pushed at the watcher's next start"
REFUSED = StoreError("work refused timezone")


class TestLooks:
    """How often the running VMs are asked for, and what makes it sooner."""

    def test_once_a_second_and_at_what_is_due(self, world: World) -> None:
        world.run(WORK, until=4.5)
        assert [at for at, _ in world.asked] == pytest.approx([0, 1, 2, 3, 4])
        assert set(world.waits) == {0.25}

    def test_at_an_event_soon_and_often_for_a_while(self, world: World) -> None:
        world.event_at(3.5)
        world.run(WORK, until=7.5)
        times = [at for at, _ in world.asked if at > 3.2]
        assert times[:3] == pytest.approx([3.6, 3.7, 3.8])
        assert times[-2:] == pytest.approx([5.6, 6.6], abs=0.11)
        assert world.watched == [(0.0, ["@introduceDomain", "@releaseDomain"])]

    def test_events_close_together_are_one(self, world: World) -> None:
        world.event_at(3.5, 3.52, 3.55)
        world.run(WORK, until=4)
        assert [at for at, _ in world.asked if at > 3.2][:2] == pytest.approx([3.6, 3.7])

    def test_a_host_without_a_xenstore_is_asked_all_the_same(self, world: World) -> None:
        world.watchless = ConnectionLost("none")
        world.run(WORK, until=4.5)
        assert [at for at, _ in world.asked] == pytest.approx([0, 1, 2, 3, 4])
        assert world.log == ["pillar: settings of 1 VM"]
        assert world.opened == world.closed
        assert world.unwatched == 0
        assert set(world.waits) == {0.25}

    def test_it_is_tried_again_each_second(self, world: World) -> None:
        world.watchless = ConnectionLost("none")
        world.at(2.5, lambda: setattr(world, "watchless", None))
        world.run(WORK, until=4.5)
        assert world.watched == [(3.0, ["@introduceDomain", "@releaseDomain"])]
        # Attempts, and one look a second.
        assert world.opened == 4 + 5

    def test_it_is_tried_no_more_often(self, world: World) -> None:
        world.running["work"] = (1,)
        world.watchless = ConnectionLost("none")
        world.run(WORK, until=0.9)
        # One attempt, two looks and a push.
        assert world.opened == 1 + 2 + 1

    def test_a_xenstore_that_goes_away_may_have_lost_what_was_pushed(self, world: World) -> None:
        world.running["work"] = (1,)
        world.event_at(3.5, error=ConnectionLost("hung up\x1b"))
        world.run(WORK, until=10)
        assert world.times() == pytest.approx([0.3, 3.8])
        assert world.log[1:] == ["hung up\\x1b; waiting for it", "the stores can be reached again"]
        assert world.agents.noted == [("work", True), ("work", True)]
        assert len(world.sessions.given) == 2
        assert (len(world.watched), world.unwatched) == (2, 2)
        assert world.opened == world.closed

    def test_attempts_are_counted_anew_then(self, world: World) -> None:
        world.running["work"] = (1,)
        world.outcomes["work"] = [{"error": REFUSED}]
        world.event_at(8.5, error=ConnectionLost("hung up"))
        world.run(WORK, until=9.5)
        assert world.log[-1].endswith("next attempt in 1 s")

    def test_stores_that_cannot_be_asked_are_named_once_and_when_that_is_over(self, world: World) -> None:
        world.running["work"] = (1,)
        world.unreachable = ConnectionLost("no store")
        world.at(3.5, lambda: setattr(world, "unreachable", None))
        world.run(WORK, until=6)
        assert world.log[1:] == ["no store; waiting for it", "the stores can be reached again"]
        assert world.times() == pytest.approx([4.3])

    def test_what_passes_does_not_end_it(self, world: World) -> None:
        world.broken = OSError(24, "Too many open files")
        world.at(3.5, lambda: setattr(world, "broken", None))
        world.run(WORK, until=6)
        assert world.log[1:] == ["Too many open files; waiting for it", "the stores can be reached again"]
        assert world.waits[:3] == [1.0, 1.0, 1.0]

    def test_an_error_without_its_words_is_shown_as_it_is(self, world: World) -> None:
        world.broken = OSError("odd")
        world.run(WORK, until=0.5)
        assert world.log[1:] == ["odd; waiting for it"]


class TestEnd:
    def test_what_nobody_foresaw_ends_it_and_is_raised(self, world: World) -> None:
        world.broken = ValueError("boom")
        with pytest.raises(ValueError, match=r"^boom$"):
            world.run(WORK, until=100)
        assert world.stop.is_set()
        assert world.now < 1

    def test_it_hangs_up_then(self, world: World) -> None:
        world.at(1.5, lambda: setattr(world, "broken", ValueError("boom")))
        with pytest.raises(ValueError, match=r"^boom$"):
            world.run(WORK, until=100)
        assert world.unwatched == 1
        assert world.opened == world.closed

    def test_all_has_ended_where_nothing_was_under_way(self, world: World) -> None:
        world.running["work"] = (1,)
        assert world.run(WORK, until=2) is True
        assert world.unfinished_within == [TAKE_BACK]
        assert world.pools[0].workers == 8 + 1

    def test_it_ends_within_a_part_of_a_second(self, world: World) -> None:
        world.run(WORK, until=2.1)
        assert world.now <= 2.1 + module.CHECK_SECONDS / 4

    def test_what_has_not_begun_is_said_to_wait_for_its_next_start(self, world: World) -> None:
        world.running |= {"sys-net": (1,), "client": (1,)}
        world.holding = True
        assert world.run(CLIENT, PROVIDER, until=2) is True
        assert world.log[1:] == [f"{vm}: nothing was written yet; {NEXT}" for vm in ("client", "sys-net")]

    def test_what_hangs_is_said_to_be_open(self, world: World) -> None:
        world.running["mail"] = (1,)
        world.at(1.5, world.started("work"))
        world.hanging.add("_push_all")
        assert world.run(WORK, MAIL, until=4) is False
        assert sorted(world.log[1:]) == [
            f"{vm}: its store has not replied yet, so it may have a part of its settings; {NEXT}"
            for vm in ("mail", "work")
        ]

    @pytest.mark.parametrize(("what", "begun"), [("_follow", 1), ("inspect", 3)])
    def test_what_is_about_no_vm_is_not_said_of_one(self, world: World, what: str, begun: int) -> None:
        world.agents.due = True
        world.hanging.add(what)
        assert world.run(WORK, until=2) is False
        assert len(world.log) == 1
        # Nothing is done beside it until the end.
        assert world.waited_for_the_end == 1
        assert len(world.pools[0].begun) == begun

    def test_a_push_that_is_cut_short_is_not_tried_again(self, world: World) -> None:
        world.running["work"] = (1,)
        world.outcomes["work"] = [{"error": REFUSED}]
        world.during = world.stop.set
        assert world.run(WORK, until=10) is True
        assert world.log[1:] == [f"work refused timezone; {NEXT}"]

    def test_nothing_begins_any_more(self, world: World) -> None:
        world.run(WORK, until=1)
        before = len(world.pools[0]._waiting)
        watcher = Watcher(world.pillar, world.targets, world.log.append)
        watcher._end()
        watcher._begin(["work"], lambda: world.log.append("begun"))
        assert (len(world.pools[1]._waiting), before) == (0, 0)
        assert "begun" not in world.log

    def test_threads_beside_it_have_a_moment_all_together(self, world: World) -> None:
        first, second, third = (Thread(world, seconds) for seconds in (0.2, 0.0, 0.05))
        world.listener.thread, world.follower.thread, world.sessions.thread = first, second, third
        assert world.run(WORK, until=1) is True
        assert (first.joined, second.joined, third.joined) == ([0.3], [0.1], [0.1])

    def test_one_that_does_not_end_is_left_behind(self, world: World) -> None:
        world.listener.thread = Thread(world, 5.0)
        assert world.run(WORK, until=1) is False


class TestThreads:
    """Where no thread can be started, the work waits for the next that can be."""

    def test_that_is_said_once_and_the_work_done_later(self, world: World) -> None:
        world.running["work"] = (1,)
        world.at(0.2, lambda: setattr(world, "threads", -1))
        world.run(WORK, until=5)
        assert world.log[1].startswith("this process gets no more memory or threads")
        assert world.log[1].endswith("; waiting for it")
        assert len(world.log) == 2
        (at,) = world.times()
        assert 1.0 <= at <= 3.0

    def test_it_is_said_again_the_next_time(self, world: World) -> None:
        world.running["work"] = (1,)
        world.at(0.2, lambda: setattr(world, "threads", 0))
        world.at(5.0, lambda: setattr(world, "threads", 0), world.started("work", 2))
        world.run(WORK, until=10)
        assert len(world.log) == 3
        assert len(world.times()) == 2

    def test_so_does_all_of_its_work_from_the_first(self, world: World) -> None:
        world.threads = -1
        world.running["work"] = (1,)
        world.run(WORK, until=5)
        # The look each second begins when there is one.
        assert world.waits[:2] == [1.0, 1.0]
        assert world.times() == pytest.approx([2.3])
        assert [line.rpartition("; ")[2] for line in world.log[1:]] == ["waiting for it"]

    def test_another_error_is_raised(self, world: World) -> None:
        world.threads, world.no_thread = 0, RuntimeError("cannot schedule new futures after shutdown")
        with pytest.raises(RuntimeError, match="after shutdown"):
            world.run(WORK, until=5)
