"""How long the agents of VMs are waited for, what each reply means, and what is noted of it, in virtual time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.memorystore import MemoryStore
from tests.support.virtualtime import Clock
from vminterface import keys
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.inventory import observed
from vminterface.dom0.inventory.targets import Target
from vminterface.dom0.push.acknowledgements import (
    INTRODUCTION,
    NOT_AWAITED,
    check,
    contradicted,
    is_unread,
    note,
    to_be_given_anew,
    unacknowledged,
    unsettled,
    wait,
)
from vminterface.dom0.push.interrupt import NOTICED_WITHIN
from vminterface.dom0.push.outcome import Outcome, Work
from vminterface.errors import ConnectionLost, DeadlineExceeded, Interrupted, SettingRefused, StoreError
from vminterface.values.acceptance import REFUSE
from vminterface.values.acknowledgement import UNCHANGED, Acknowledgement, digest
from vminterface.values.change import Change

ZONE, CUPS = {"qubes-timezone": b"UTC"}, {"qubes-service/cups": b"1"}
AGENT = {keys.AGENT: b"1 0.1.0 services timezone"}
INPUTS = {"timezone": {"timezone": "UTC"}, "services": {"services:cups": "1"}}
OTHER = "0" * 16
ZONED: dict[str, Change[Any]] = {"timezone": Change(None, "UTC")}


def ack(setting: str, *, accepted: bool = True, note: str = "", of: str = "", **more: str) -> dict[str, bytes]:
    """Return the key with which the agent acknowledges *setting*, or the keys with the digest *of*."""
    text = Acknowledgement(accepted, of or digest(INPUTS[setting]), note, **more).render()
    return {keys.acknowledgement(setting): text.encode()}


class World:
    """VMs in one store, and a push to each that has written its keys."""

    def __init__(self, clock: Clock, *, per_vm: bool = True) -> None:
        self.clock = clock
        self.store = MemoryStore(per_vm=per_vm, clock=clock)
        self.settled: list[tuple[float, str]] = []
        self.stop = threading.Event()

    def work(
        self, *held: dict[str, bytes], vm: str = "work", named: bool = True, changes: Any = ZONED, **raw: Any
    ) -> Work:
        base = "/" if self.store.per_vm else f"/{vm}/"
        self.hold({"name": b"work"} if named else {}, ZONE, *held, vm=vm)
        target = Target(vm, None, self.store, base)
        settings = VMSettings.parse(vm, {"timezone": "UTC", **raw})
        state = observed.read([target], {vm: settings.desired})[vm]
        return Work(settings, target, state, Outcome(vm, dict(changes)))

    def hold(self, *held: dict[str, bytes], vm: str = "work") -> None:
        base = "/" if self.store.per_vm else f"/{vm}/"
        for keys_ in held:
            self.store.keys |= {f"{base}{name}": value for name, value in keys_.items()}

    def then(self, *held: dict[str, bytes], vm: str = "work") -> None:
        """Let an event come with these keys at the next wait."""
        self.store.meanwhile.append(lambda: self.hold(*held, vm=vm))

    def passes(self, seconds: float, also: Callable[[], object] = lambda: None) -> None:
        """Let so much time pass at the next wait, and an event come then."""

        def meanwhile() -> None:
            self.clock.sleep(seconds)
            also()

        self.store.meanwhile.append(meanwhile)

    def waited(self, *works: Work) -> Outcome:
        """Wait for them; return the outcome of the first."""

        def settled(work: Work) -> None:
            self.settled.append((round(self.clock.now, 3), work.target.vm))

        wait(works, self.stop, settled)
        return works[0].outcome


@pytest.fixture
def world(clock: Clock) -> World:
    return World(clock)


@pytest.fixture
def xen(clock: Clock) -> World:
    return World(clock, per_vm=False)


def error_of(outcome: Outcome) -> tuple[type, str]:
    return type(outcome.error), str(outcome.error)


class TestCheck:
    """What of a push is still to be acknowledged."""

    def test_what_the_agent_has_promised_and_not_acknowledged(self, world: World) -> None:
        assert check(world.work(AGENT)) == {"timezone"}
        assert check(world.work(AGENT, CUPS, services={"cups": "on"})) == {"services", "timezone"}

    def test_what_it_has_acknowledged_is_done(self, world: World) -> None:
        work = world.work(AGENT, ack("timezone"))
        assert check(work) == set()
        assert work.outcome.ok

    def test_all_of_it_is_looked_at(self, world: World) -> None:
        """Services, which come first, have no key and do not change."""
        assert check(world.work(AGENT, services={"cups": "default"})) == {"timezone"}

    def test_what_it_has_seen_otherwise_is_not(self, world: World) -> None:
        assert check(world.work(AGENT, ack("timezone", of=OTHER))) == {"timezone"}

    def test_nobody_is_waited_for_where_nobody_has_promised_anything(self, world: World) -> None:
        assert check(world.work()) == set()
        assert check(world.work({keys.AGENT: b"1 0.1.0 services"})) == set()

    def test_what_is_not_there_is_awaited_only_where_it_changes(self, world: World) -> None:
        services: Any = {"services": {"cups": "default"}}
        assert check(world.work(AGENT, ack("timezone"), **services)) == set()
        gone = {"services:cups": Change("1", None)}
        assert check(world.work(AGENT, ack("timezone"), changes=gone, **services)) == {"services"}
        work = world.work(AGENT, ack("timezone"), changes={}, **services)
        work.by_qubesd = frozenset({"services"})
        assert check(work) == {"services"}

    @pytest.mark.parametrize("agent", [AGENT, {}])
    def test_a_refusal_is_the_vms_error_also_of_an_agent_that_is_gone(
        self, world: World, agent: dict[str, bytes]
    ) -> None:
        work = world.work(agent, ack("timezone", accepted=False, note="no such zone"))
        assert check(work) == set()
        assert error_of(work.outcome) == (SettingRefused, "work refused timezone: no such zone")

    def test_an_older_word_of_the_owner_counts_only_once_it_is_announced(self, world: World) -> None:
        owner = ack("timezone", accepted=False, note="mine", owner=REFUSE)
        work = world.work(AGENT, owner)
        assert check(work) == {"timezone"}
        assert check(world.work({keys.AGENT: b""}, owner)) == set()
        assert work.outcome.ok


class TestUnread:
    def test_an_agent_that_has_not_acknowledged_what_is_there_is_still_at_it(self, world: World) -> None:
        assert is_unread(world.work(AGENT))
        assert is_unread(world.work(AGENT, ack("timezone", of=OTHER)))

    def test_one_that_has_or_that_is_not_there_is_not(self, world: World) -> None:
        assert not is_unread(world.work({keys.AGENT: b"1 0.1.0 services"}))
        assert not is_unread(world.work(AGENT, ack("timezone")))
        assert not is_unread(world.work(AGENT, ack("timezone"), services={"cups": "on"}))
        # A setting that is no part of the push.
        assert not is_unread(world.work(AGENT, CUPS, ack("timezone")))
        assert not is_unread(world.work({keys.AGENT: b""}, {keys.acknowledgement("timezone"): b""}))


class TestUnacknowledged:
    def test_what_has_changed_and_what_nobody_has_replied_to(self, world: World) -> None:
        assert unacknowledged(world.work(AGENT)) == {"timezone"}
        assert unacknowledged(world.work(AGENT, ack("timezone"))) == set()
        assert unacknowledged(world.work(AGENT, ack("timezone", of=OTHER))) == {"timezone"}
        assert unacknowledged(world.work(AGENT, ack("timezone", accepted=False, note="a", owner=REFUSE))) == {
            "timezone"
        }

    def test_what_qubesd_has_changed_too_and_nothing_else(self, world: World) -> None:
        work = world.work(AGENT, CUPS, services={"cups": "on"}, changes={})
        assert unacknowledged(work) == set()
        work.by_qubesd = frozenset({"services"})
        assert unacknowledged(work) == {"services"}


class TestGivenAnew:
    """What a push asks for again: what it changes, and what a reply of before says nothing about."""

    def asked(self, work: Work) -> set[str]:
        return to_be_given_anew(work)

    def test_what_changes_by_its_own_hand_or_qubesds(self, world: World) -> None:
        done = ack("timezone")
        assert self.asked(world.work(AGENT)) == self.asked(world.work(AGENT, done)) == {"timezone"}
        work = world.work(AGENT, CUPS, done, ack("services"), services={"cups": "on"}, changes={})
        assert self.asked(work) == set()
        work.by_qubesd = frozenset({"services"})
        assert self.asked(work) == {"services"}

    def test_what_was_refused_as_it_is(self, world: World) -> None:
        refused = ack("timezone", accepted=False, note="no such zone")
        assert self.asked(world.work(AGENT, refused, changes={})) == {"timezone"}
        assert self.asked(world.work({keys.AGENT: b""}, refused, changes={})) == {"timezone"}
        other = ack("timezone", accepted=False, note="no such zone", of=OTHER)
        assert self.asked(world.work({keys.AGENT: b""}, other, changes={})) == set()

    def test_with_nobody_there_only_what_somebody_has_replied_to(self, world: World) -> None:
        assert self.asked(world.work()) == set()
        assert self.asked(world.work(ack("timezone"))) == {"timezone"}

    def test_what_is_lost_beside_what_changes(self, world: World) -> None:
        gone: Any = {"services": {"cups": "on"}, "debug": "default"}
        work = world.work(AGENT, CUPS, named=False, **gone)
        assert self.asked(work) == {"services", "timezone"}
        work.outcome.changes = {"network:ip": Change(None, None)}
        assert self.asked(work) == {"network", "services", "timezone"}

    def test_what_is_no_part_of_the_push_may_have_been_seen_otherwise(self, world: World) -> None:
        assert contradicted(world.work(AGENT, CUPS, ack("services", of=OTHER))) == set()
        both: Any = {"services": {"cups": "on"}}
        work = world.work(AGENT, CUPS, ack("services", of=OTHER), ack("timezone"), changes={}, **both)
        assert contradicted(work) == self.asked(work) == {"services"}


class TestUnsettled:
    def test_an_agent_is_waited_for_until_it_has_acknowledged_or_refused(self, world: World) -> None:
        assert unsettled(world.work(AGENT))
        assert not unsettled(world.work(AGENT, ack("timezone")))
        refused = ack("timezone", accepted=False, note="no")
        services: Any = {"services": {"cups": "on"}}
        assert not unsettled(world.work(AGENT, CUPS, refused, **services))

    def test_without_confirmation_only_where_it_has_not_read_the_push_before(self, world: World) -> None:
        work = world.work(AGENT, confirm=False, changes={})
        assert not unsettled(work)
        work.unread = True
        assert unsettled(work)

    def test_without_an_agent_only_where_it_is_just_introduced(self, xen: World) -> None:
        work = xen.work()
        assert not unsettled(work)
        work.introduced = True
        assert unsettled(work)
        work.fail(StoreError("no"))
        assert not unsettled(work)


class TestWait:
    def test_who_needs_no_reply_is_done_at_once(self, world: World) -> None:
        world.waited(world.work())
        assert world.settled == [(0.0, "work")]
        assert world.store.watched == []

    def test_a_reply_ends_it(self, world: World) -> None:
        world.passes(0.1)
        world.then(ack("timezone"))
        assert world.waited(world.work(AGENT)).ok
        assert world.settled == [(0.1, "work")]
        assert world.store.watched == ["/vminterface"]
        assert world.store.waits[0] == NOTICED_WITHIN

    def test_one_to_other_keys_does_not(self, world: World) -> None:
        world.then(ack("timezone", of=OTHER))
        outcome = world.waited(world.work(AGENT, timeout=2))
        assert error_of(outcome) == (DeadlineExceeded, "work: the agent did not acknowledge timezone within 2 s")
        assert world.settled == [(2.0, "work")]

    def test_what_is_late_is_named(self, world: World) -> None:
        outcome = world.waited(world.work(AGENT, CUPS, services={"cups": "on"}, timeout=0.5))
        assert error_of(outcome)[1] == "work: the agent did not acknowledge services, timezone within 0.5 s"
        assert world.settled == [(0.5, "work")]

    def test_a_reply_at_the_last_moment_counts(self, world: World) -> None:
        world.clock.meanwhile = lambda: None
        world.passes(5.0, lambda: world.hold(ack("timezone")))
        assert world.waited(world.work(AGENT)).ok

    def test_a_refusal_ends_it(self, world: World) -> None:
        world.then(ack("timezone", accepted=False, note="no such zone"))
        outcome = world.waited(world.work(AGENT, CUPS, services={"cups": "on"}))
        assert error_of(outcome) == (SettingRefused, "work refused timezone: no such zone")
        assert world.settled == [(0.0, "work")]

    def test_where_not_even_the_push_before_was_read_that_is_said(self, world: World) -> None:
        work = world.work(AGENT, confirm=False, timeout=2)
        work.unread = True
        assert error_of(world.waited(work)) == (
            DeadlineExceeded,
            "work: the agent acknowledged neither this push nor the one before within 2 s "
            "(its agent or its QubesDB may be dead)",
        )

    def test_where_the_vm_still_has_what_dom0_has_lost_that_is_said(self, world: World) -> None:
        work = world.work(AGENT, named=False, timeout=2)
        world.then(ack("timezone", of=OTHER))
        assert error_of(world.waited(work)) == (
            DeadlineExceeded,
            "work: the VM still has keys of timezone that dom0 has lost, as the VM's QubesDB daemon in dom0 was "
            "started afresh (expected: the VM is started again)",
        )

    @pytest.mark.parametrize("held", [{}, ack("timezone", of=OTHER)])
    def test_where_it_does_not_reply_to_all_it_is_late(self, world: World, held: dict[str, bytes]) -> None:
        work = world.work(AGENT, CUPS, named=False, services={"cups": "on"}, timeout=2)
        world.then(held)
        assert error_of(world.waited(work))[1].startswith("work: the agent did not acknowledge services, timezone")

    def test_a_store_that_is_lost_is_the_error_of_who_is_waited_for(self, world: World) -> None:
        def lose() -> None:
            raise ConnectionLost("gone")

        world.store.meanwhile.append(lose)
        assert error_of(world.waited(world.work(AGENT))) == (ConnectionLost, "gone")
        assert world.settled == [(0.0, "work")]

    def test_what_cannot_be_read_is_the_vms_error(self, world: World) -> None:
        work = world.work(AGENT)
        world.store.fails["/vminterface/ack/timezone"] = StoreError("no")
        world.then()
        assert error_of(world.waited(work)) == (StoreError, "no")

    def test_an_agent_that_goes_meanwhile_is_waited_for_no_longer(self, world: World) -> None:
        work = world.work(AGENT)
        work.introduced = False
        world.store.meanwhile.append(lambda: world.store.keys.update({"/vminterface/agent": b""}))
        world.waited(work)
        assert world.settled == [(2.0, "work")]
        assert work.outcome.ok


class TestInterrupted:
    def test_what_it_waited_for_is_named(self, world: World) -> None:
        world.store.meanwhile.append(world.stop.set)
        outcome = world.waited(world.work(AGENT, CUPS, services={"cups": "on"}))
        assert error_of(outcome) == (
            Interrupted,
            "work: interrupted before the agent acknowledged services, timezone",
        )
        assert world.settled == [(0.0, "work")]

    def test_without_an_event_it_is_noticed_too(self, world: World) -> None:
        world.stop.set()
        world.waited(world.work(AGENT))
        assert world.settled == [(NOTICED_WITHIN, "work")]

    def test_what_has_come_by_then_counts(self, world: World) -> None:
        world.stop.set()
        world.then(ack("timezone"))
        assert world.waited(world.work(AGENT)).ok

    def test_without_an_agent_it_was_for_all_of_it(self, xen: World) -> None:
        work = xen.work()
        work.introduced = True
        xen.stop.set()
        assert str(xen.waited(work).error) == "work: interrupted before the agent acknowledged its settings"


class TestIntroduction:
    """dom0 has just made the node for the agent's replies: one that was there before announces itself."""

    def introduced(self, xen: World, **raw: Any) -> Work:
        work = xen.work(vm="work", **raw)
        work.introduced = True
        return work

    def test_it_has_a_part_of_the_time(self, xen: World) -> None:
        assert xen.waited(self.introduced(xen, timeout=10)).ok
        assert xen.settled == [(10 * INTRODUCTION, "work")]

    def test_one_that_announces_itself_has_all_of_it(self, xen: World) -> None:
        xen.then(AGENT)
        outcome = xen.waited(self.introduced(xen, timeout=10))
        assert isinstance(outcome.error, DeadlineExceeded)
        assert xen.settled == [(10.0, "work")]

    def test_what_no_agent_applies_goes_well_without_one(self, xen: World) -> None:
        changes = {"vm_config:mode": Change(None, "quiet")}
        work = self.introduced(xen, timezone=None, vm_config={"mode": "quiet"}, changes=changes)
        assert xen.waited(work).ok
        assert xen.settled == [(0.0, "work")]
        assert xen.store.watched == []

    def test_one_that_has_replied_to_all_need_not_announce_itself(self, xen: World) -> None:
        xen.then(ack("timezone"))
        assert xen.waited(self.introduced(xen)).ok
        assert xen.settled == [(0.0, "work")]


class TestSeveral:
    def test_each_is_settled_as_soon_as_it_has_replied(self, xen: World) -> None:
        there = {"vminterface": b"", **AGENT}
        first, second, third = (xen.work(there, vm=vm, timeout=3) for vm in ("a", "b", "c"))
        done = xen.work(there, ack("timezone"), vm="d")
        xen.passes(0.5, lambda: xen.hold(ack("timezone"), vm="b"))
        xen.passes(0.5, lambda: xen.hold(ack("timezone"), vm="a"))
        xen.waited(first, second, third, done)
        assert xen.settled == [(0.0, "d"), (0.5, "b"), (1.0, "a"), (3.0, "c")]
        assert [one.outcome.ok for one in (first, second, third, done)] == [True, True, False, True]
        assert xen.store.watched == [f"/{vm}/vminterface" for vm in ("a", "b", "c")]

    def test_each_has_its_own_time(self, xen: World) -> None:
        there = {"vminterface": b"", **AGENT}
        xen.waited(xen.work(there, vm="a", timeout=3), xen.work(there, vm="b", timeout=1))
        assert xen.settled == [(1.0, "b"), (3.0, "a")]

    def test_an_event_of_one_that_is_done_is_passed_over(self, xen: World) -> None:
        there = {"vminterface": b"", **AGENT}
        first, second = xen.work(there, vm="a", timeout=1), xen.work(there, vm="b", timeout=3)
        xen.passes(1.0)
        xen.passes(0.5, lambda: xen.hold(ack("timezone"), vm="a"))
        xen.waited(first, second)
        assert isinstance(first.outcome.error, DeadlineExceeded)
        assert xen.settled == [(1.0, "a"), (3.0, "b")]


class TestNote:
    def noted(self, work: Work) -> Outcome:
        note([work])
        return work.outcome

    def test_an_agent_that_was_waited_for_is_named(self, world: World) -> None:
        outcome = self.noted(world.work(AGENT, ack("timezone")))
        assert (outcome.awaited, outcome.unheard, outcome.note) == (True, False, "")
        assert outcome.agent is not None
        assert outcome.agent.version == "0.1.0"

    def test_without_one_nobody_could_be_heard(self, world: World) -> None:
        outcome = self.noted(world.work())
        assert (outcome.awaited, outcome.unheard, outcome.agent) == (True, True, None)

    def test_where_there_is_nothing_for_an_agent_nobody_was_to_be_heard(self, world: World) -> None:
        settings: Any = {"timezone": None, "vm_config": {"mode": "quiet"}}
        outcome = self.noted(world.work(changes={}, **settings))
        assert not outcome.unheard

    def test_one_that_has_replied_and_is_gone_was_not_waited_for_in_vain(self, world: World) -> None:
        outcome = self.noted(world.work(ack("timezone")))
        assert (outcome.awaited, outcome.unheard) == (False, True)

    def test_without_confirmation_that_is_said_of_what_has_changed(self, world: World) -> None:
        assert self.noted(world.work(AGENT, confirm=False)).note == NOT_AWAITED
        assert self.noted(world.work(AGENT, confirm=False, changes={})).note == ""
        work = world.work(AGENT, confirm=False, changes={})
        work.by_qubesd = frozenset({"timezone"})
        outcome = self.noted(work)
        assert (outcome.note, outcome.awaited, outcome.unheard) == (NOT_AWAITED, False, False)
        failed = world.work(AGENT, confirm=False)
        failed.fail(StoreError("no"))
        assert self.noted(failed).note == ""

    def test_where_it_had_not_read_the_push_before_it_was_waited_for_all_the_same(self, world: World) -> None:
        work = world.work(AGENT, confirm=False)
        work.unread = True
        outcome = self.noted(work)
        assert (outcome.note, outcome.awaited) == ("", True)

    def test_what_the_agent_has_let_be_is_named_with_its_reason(self, world: World) -> None:
        left = f"{UNCHANGED}/etc/localtime is protected"
        assert self.noted(world.work(AGENT, ack("timezone", note=left))).unchanged == (f"timezone: {left}",)

    @pytest.mark.parametrize(
        "held",
        [
            ack("timezone"),
            ack("timezone", note="set"),
            ack("timezone", note=f"{UNCHANGED}a", of=OTHER),
            ack("timezone", accepted=False, note=f"{UNCHANGED}a"),
        ],
    )
    def test_nothing_else_is(self, world: World, held: dict[str, bytes]) -> None:
        assert self.noted(world.work(AGENT, held)).unchanged == ()
