"""What the watcher does of itself, in virtual time: to which VMs it pushes, when, and what it says of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.watcherworld import CLIENT, MAIL, PROVIDER, WORK, Pillar, World
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.push.unaccepted import Unaccepted
from vminterface.errors import InvalidValue, InvalidValues, StoreError
from vminterface.values.change import Change

ZONE: dict[str, Change[Any]] = {"timezone": Change(None, WORK.desired["timezone"])}
REFUSED = StoreError("work refused timezone")


class TestStarts:
    def test_a_vm_is_pushed_to_soon_after_it_was_first_seen_and_once(self, world: World) -> None:
        world.running["work"] = (1,)
        world.run(WORK, MAIL, until=10)
        assert world.pushes == [(0.3, ["work"])]
        ((_, (one,)),) = world.pushed
        assert (one.desired, one.monitors) == (WORK.desired, None)
        assert world.log == ["pillar: settings of 2 VMs"]

    def test_one_vm_is_one(self, world: World) -> None:
        world.run(WORK, until=1)
        assert world.log == ["pillar: settings of 1 VM"]

    def test_what_starts_is_found_within_a_second(self, world: World) -> None:
        world.at(3.5, world.started("work"))
        world.run(WORK, until=10)
        (at,) = world.times()
        assert 3.8 <= at <= 4.9

    def test_one_that_is_another_is_pushed_to_again(self, world: World) -> None:
        world.running["work"] = (1,)
        world.at(3.5, world.started("work", 2))
        world.run(WORK, until=10)
        assert len(world.times()) == 2
        assert world.agents.forgotten == ["work"]

    def test_one_that_stops_and_comes_back_is_pushed_to_again(self, world: World) -> None:
        world.running |= {"work": (1,), "mail": (1,)}
        world.at(3.5, world.stopped("work"))
        world.at(6.5, world.started("work"))
        world.run(WORK, MAIL, until=10)
        assert (len(world.times()), len(world.times("mail"))) == (2, 1)
        assert world.agents.forgotten == ["work"]

    def test_several_are_pushed_to_at_once_by_name(self, world: World) -> None:
        world.running |= {"work": (1,), "other": (1,), "mail": (1,)}
        world.run(WORK, MAIL, until=2)
        assert world.pushes == [(0.3, ["mail", "work"])]

    def test_one_that_the_pillar_does_not_name_is_left_alone(self, world: World) -> None:
        world.running["other"] = (1,)
        world.run(WORK, until=2)
        assert world.pushes == []

    def test_the_settings_say_who_is_met_in_the_xenstore_and_starting_ones_are_passed_on(self, world: World) -> None:
        world.starting["mail"] = 7
        mail = VMSettings.parse("mail", {"channel": "xenstore"})
        world.run(WORK, mail, until=0.5)
        assert {tuple(vms) for _, vms in world.asked} == {("mail",)}
        assert world.agents.starting[0] == ({"work": WORK, "mail": mail}, {"mail": 7})

    def test_what_has_changed_or_is_not_accepted_is_said(self, world: World) -> None:
        world.running |= {"work": (1,), "mail": (1,), "client": (1,)}
        refused = {"timezone": Unaccepted("timezone", "ignore", "decided by its owner", optional=False)}
        world.outcomes = {"work": [{"changes": ZONE}], "mail": [{"unaccepted": refused}]}
        world.run(WORK, MAIL, CLIENT, until=1)
        assert world.log[1:] == [
            "mail ignores timezone: decided by its owner; mail is otherwise as configured",
            "work: timezone set",
        ]

    def test_the_stores_are_hung_up_on_after_each_look_and_each_push(self, world: World) -> None:
        world.running["work"] = (1,)
        world.run(WORK, until=5)
        assert world.opened == world.closed
        assert world.unwatched == 1


class TestFirewalls:
    """A provider that starts has none of its clients' rules."""

    def test_those_of_its_clients_are_pushed_with_its_own_settings(self, world: World) -> None:
        world.running |= {"sys-net": (1,)}
        world.run(CLIENT, PROVIDER, until=2)
        ((at, (provider, client)),) = world.pushed
        assert at == 0.3
        assert (provider.vm, dict(provider.desired)) == ("sys-net", dict(PROVIDER.desired))
        assert (client.vm, dict(client.desired), client.require_running) == ("client", {}, False)
        assert client.firewall == CLIENT.firewall

    def test_a_provider_without_settings_has_them_too(self, world: World) -> None:
        world.running |= {"sys-net": (1,), "client": (1,)}
        world.at(3.0, world.started("sys-net", 2))
        world.run(CLIENT, until=10)
        (first, (whole,)), (_, (rules,)) = world.pushed
        assert (first, dict(whole.desired)) == (0.3, dict(CLIENT.desired))
        assert dict(rules.desired) == {}

    def test_a_client_that_starts_itself_has_all_of_its_settings(self, world: World) -> None:
        world.running |= {"sys-net": (1,), "client": (1,)}
        world.run(CLIENT, PROVIDER, until=2)
        assert world.pushes == [(0.3, ["client", "sys-net"])]

    def test_clients_of_others_are_left_alone(self, world: World) -> None:
        world.running |= {"work": (1,)}
        world.run(CLIENT, WORK, until=2)
        assert world.pushes == [(0.3, ["work"])]

    def test_that_one_failed_is_a_reason_to_push_to_its_provider_again(self, world: World) -> None:
        world.running |= {"sys-net": (1,)}
        world.outcomes["client"] = [{"error": StoreError("client: no")}, {}]
        world.run(CLIENT, PROVIDER, until=5)
        assert len(world.times("client")) == len(world.times("sys-net")) == 2
        assert world.log[1:] == ["client: no; next attempt in 1 s"]
        # Whether there is an agent in the client is another matter.
        assert {vm for vm, _ in world.agents.noted} == {"sys-net"}


class TestFailures:
    def test_a_vm_is_tried_again_with_growing_pauses_and_then_left(self, world: World) -> None:
        world.running["work"] = (1,)
        world.outcomes["work"] = [{"error": REFUSED}]
        world.run(WORK, until=100)
        assert world.times() == pytest.approx([0.3, 1.3, 3.3, 7.3, 15.3, 31.3], abs=0.01)
        assert world.log[1:] == [
            *(f"work refused timezone; next attempt in {pause} s" for pause in (1, 2, 4, 8, 16)),
            "work refused timezone; no further attempt until its next start or a new pillar",
        ]

    def test_one_that_goes_well_at_last_is_left(self, world: World) -> None:
        world.running["work"] = (1,)
        world.outcomes["work"] = [{"error": REFUSED}, {"changes": ZONE}]
        world.run(WORK, until=20)
        assert len(world.times()) == 2
        assert world.log[-1] == "work: timezone set"

    def test_it_holds_up_no_other(self, world: World) -> None:
        world.running |= {"work": (1,), "mail": (1,)}
        world.outcomes["work"] = [{"error": REFUSED}, {}]
        world.run(WORK, MAIL, until=20)
        assert (len(world.times()), len(world.times("mail"))) == (2, 1)

    def test_what_nobody_expected_is_the_error_of_all_that_were_pushed_to(self, world: World) -> None:
        world.running |= {"work": (1,), "mail": (1,)}
        world.fails = [ValueError("boom")]
        world.run(WORK, MAIL, until=10)
        assert world.log[1:] == [
            "mail: unexpected ValueError: boom; next attempt in 1 s",
            "work: unexpected ValueError: boom; next attempt in 1 s",
        ]
        assert len(world.pushed) == 2

    @pytest.mark.parametrize(
        ("error", "words"),
        [
            (StoreError("no"), "no"),
            (MemoryError(), "this process gets no more memory or threads (expected more: see ulimit, MemoryMax=, "),
        ],
    )
    def test_what_is_known_is_put_in_its_words(self, world: World, error: Exception, words: str) -> None:
        world.running["work"] = (1,)
        world.fails = [error]
        world.run(WORK, until=1)
        assert world.log[1].startswith(f"work: {words}")

    def test_what_was_heard_of_a_vm_whose_push_failed_is_forgotten(self, world: World) -> None:
        world.running["work"] = (1,)
        world.outcomes["work"] = [{"error": REFUSED}]
        world.during = lambda: world.heard.note("work")
        world.run(WORK, until=1.2)
        assert world.times() == [0.3]

    def test_of_one_that_has_started_again_meanwhile_that_is_said(self, world: World) -> None:
        world.running["work"] = (1,)
        world.outcomes["work"] = [{"error": REFUSED}, {}]
        world.holding = True
        world.at(0.5, world.started("work", 2))
        world.at(2.0, lambda: setattr(world, "holding", False), lambda: world.pools[0].go_on())
        world.run(WORK, until=10)
        assert world.log[1:] == ["work refused timezone; work has stopped or started again since"]
        # Its new start is pushed to, and what became of the former one is no word about it.
        assert len(world.times()) == 2
        assert world.agents.noted == [("work", True)]

    def test_a_pillar_that_came_meanwhile_is_pushed_at_once(self, world: World) -> None:
        world.running["work"] = (1,)
        world.outcomes["work"] = [{"error": REFUSED}, {}]
        world.pillar = Pillar(WORK)
        world.holding = True
        world.at(0.5, lambda: world.pillar.new.append(WORK))
        world.at(2.0, lambda: setattr(world, "holding", False), lambda: world.pools[0].go_on())
        world.run(until=10)
        first, second = world.times()
        assert first == 2.0
        assert second <= 3.0


class TestAgents:
    def test_a_vm_boots_until_a_push_to_it_has_gone_well(self, world: World) -> None:
        world.running["work"] = (1,)
        world.outcomes["work"] = [{"error": REFUSED}, {}, {"error": REFUSED}, {}]
        world.at(5.0, lambda: world.heard.note("work"))
        world.run(WORK, until=10)
        assert [booting for _, booting in world.agents.noted] == [True, True, False, False]
        assert world.agents.made_of == (world.targets, world.log.append)

    def test_those_that_are_there_by_now_are_pushed_to(self, world: World) -> None:
        world.running["work"] = (1,)
        world.at(3.0, lambda: world.agents.there.update({"work", "gone"}))
        world.run(WORK, until=10)
        assert len(world.times()) == 2

    def test_they_are_looked_for_when_that_is_due(self, world: World) -> None:
        world.at(2.5, lambda: setattr(world.agents, "due", True))
        world.run(WORK, until=10)
        assert world.agents.inspected == 1


class TestEvents:
    def test_what_qubesd_may_have_written_over_is_pushed_again_when_it_is_quiet(self, world: World) -> None:
        world.running["work"] = (1,)
        world.at(3.1, lambda: world.heard.note("work"))
        world.run(WORK, until=10)
        assert world.times() == pytest.approx([0.3, 3.4])

    def test_the_next_attempt_comes_of_it_and_counts_as_a_first(self, world: World) -> None:
        world.running["work"] = (1,)
        world.outcomes["work"] = [{"error": REFUSED}]
        world.at(8.5, lambda: world.heard.note("work"))
        world.run(WORK, until=9.5)
        assert world.log[-2].endswith("next attempt in 8 s")
        assert world.log[-1].endswith("next attempt in 1 s")

    def test_one_that_is_being_pushed_to_waits(self, world: World) -> None:
        world.running["work"] = (1,)
        world.holding = True
        world.at(0.5, lambda: world.heard.note("work"))
        world.at(3.0, lambda: setattr(world, "holding", False), lambda: world.pools[0].go_on())
        world.run(WORK, until=10)
        assert len(world.times()) == 2
        assert {"work"} in world.agents.busy

    def test_the_listener_and_the_follower_know_the_pillar_of_the_moment(self, world: World) -> None:
        world.pillar = Pillar(WORK)
        world.at(2.0, lambda: world.pillar.new.append(MAIL))
        world.run(until=5)
        for one in (world.listener, world.follower):
            assert one.made_of[0]() == {"mail": MAIL}
            assert one.started == [world.stop]
        assert world.follower.made_of[1] == world.targets
        assert world.listener.made_of[2] == world.follower.made_of[2] == world.log.append
        assert world.sessions.made_of == (world.targets, world.log.append)


class TestMonitors:
    def test_a_vm_is_given_its_monitors_once_after_the_first_push(self, world: World) -> None:
        world.running["work"] = (1,)
        world.outcomes["work"] = [{"error": REFUSED}, {}]
        world.run(WORK, until=10)
        ((settings, still),) = world.sessions.given
        assert settings is WORK
        assert still()

    def test_another_start_and_another_pillar_are_each_a_reason(self, world: World) -> None:
        world.running["work"] = (1,)
        world.pillar = Pillar(WORK)
        world.at(2.5, world.started("work", 2))
        world.at(5.5, lambda: world.pillar.new.append(WORK))
        world.run(until=10)
        assert [still() for _, still in world.sessions.given] == [False, True, True]

    def test_once_it_is_to_end_nobody_is_given_any(self, world: World) -> None:
        world.running["work"] = (1,)
        world.during = world.stop.set
        world.run(WORK, until=10)
        assert world.sessions.given == []

    def test_a_vm_that_has_left_the_pillar_is_given_none(self, world: World) -> None:
        world.running["work"] = (1,)
        world.during = lambda: setattr(world.pillar, "settings", {})
        world.run(WORK, until=1)
        assert world.sessions.given == []


class TestPillar:
    def test_another_one_is_pushed_to_all_at_once(self, world: World) -> None:
        world.running |= {"work": (1,), "mail": (1,)}
        world.pillar = Pillar(WORK)
        world.at(2.5, lambda: world.pillar.new.extend([WORK, MAIL]))
        world.run(until=10)
        assert world.pushes == [(0.3, ["work"]), (pytest.approx(3.0, abs=0.5), ["mail", "work"])]
        assert world.log == ["pillar: settings of 1 VM", "pillar: settings of 2 VMs, read again"]

    def test_its_attempts_are_counted_anew(self, world: World) -> None:
        world.running["work"] = (1,)
        world.outcomes["work"] = [{"error": REFUSED}]
        world.pillar = Pillar(WORK)
        world.at(5.5, lambda: world.pillar.new.append(WORK))
        world.run(until=7)
        assert [line.rpartition("; ")[2] for line in world.log[1:]] == [
            "next attempt in 1 s",
            "next attempt in 2 s",
            "next attempt in 4 s",
            "settings of 1 VM, read again".join(("pillar: ", "")),
            "next attempt in 1 s",
        ]

    def test_one_that_is_wrong_is_refused_with_each_error_and_its_place(self, world: World) -> None:
        world.running["work"] = (1,)
        world.pillar = Pillar(WORK)
        wrong = InvalidValues([InvalidValue("is bad", "qubes:vms:work:timezone"), InvalidValue("cannot be read")])
        world.at(2.5, lambda: world.pillar.new.append(wrong))
        world.run(until=5)
        assert world.log[1:] == [
            "qubes:vms:work:timezone: is bad",
            "cannot be read",
            "pillar: refused; the former settings stay in force",
        ]
        assert len(world.pushed) == 1
