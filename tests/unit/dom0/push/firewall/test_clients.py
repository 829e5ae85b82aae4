"""Firewalls as a part of their clients' pushes: who gets one, whose error is whose, and what a lost provider costs."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

import pytest

from tests.support.memorystore import MemoryStore
from tests.support.virtualtime import Clock
from vminterface.channel.store import Remove
from vminterface.deadline import Deadline
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.inventory.targets import Target
from vminterface.dom0.push.firewall.clients import Firewalls
from vminterface.dom0.push.outcome import Outcome
from vminterface.dom0.push.persist.routed import Routed
from vminterface.errors import (
    ConnectionLost,
    DeadlineExceeded,
    Interrupted,
    InvalidValue,
    StoreError,
    VerificationFailed,
    VMInterfaceError,
    VMNotRunning,
    VMStarting,
)
from vminterface.values.change import Change

DNS = "action=accept specialtarget=dns"
IP = {"work": "10.137.0.12", "mail": "10.137.0.13", "web": "10.137.0.14"}
STARTING = VMStarting("sys-net is starting: it does not have a QubesDB yet")


def top(vm: str) -> str:
    return f"/qubes-firewall/{IP[vm]}"


def count(vm: str) -> str:
    return f"/qubes-firewall-handled/{IP[vm]}"


def right(vm: str) -> dict[str, bytes]:
    """What the provider's store is to hold for *vm*."""
    return {top(vm): b"", f"{top(vm)}/policy": b"drop", f"{top(vm)}/0000": DNS.encode()}


def settings(vm: str, *, netvm: str = "sys-net", timeout: float = 5.0, **more: Any) -> VMSettings:
    firewall = {"netvm": netvm, "ip": IP[vm], "policy": "drop", "rules": [DNS]}
    return VMSettings.parse(vm, {"firewall": firewall, "timeout": timeout, **more})


class Stored:
    """What qubesd holds, in place of the connection to it."""

    def __init__(self, *errors: VMInterfaceError | None) -> None:
        #: What setting it, and then putting it back, come to.
        self.errors = [*errors, None, None]
        self.done: list[str] = []
        self.change = Change("old", "new")

    def set(self) -> None:
        self._do("set")

    def put_back(self) -> None:
        self._do("put back")

    def _do(self, what: str) -> None:
        self.done.append(what)
        if (error := self.errors.pop(0)) is not None:
            raise error


class World:
    """Providers of network with their stores, and the pushes of their clients up to their firewalls."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.stores: dict[str, MemoryStore] = {"sys-net": MemoryStore(clock=clock)}
        #: Why one cannot be met; the last one again and again.
        self.errors: dict[str, VMInterfaceError] = {}
        self.asked: list[tuple[str, str, float]] = []
        self.waited: list[tuple[str, float, float]] = []
        self.closed = 0
        self.lost: dict[str, VMInterfaceError] = {}
        self.outcomes: dict[str, Outcome] = {}
        self.stored: dict[str, Any] = {}
        self.stop = threading.Event()

    @property
    def store(self) -> MemoryStore:
        return self.stores["sys-net"]

    def another(self) -> World:
        return self

    def close(self) -> None:
        self.closed += 1

    def find(self, vms: list[str], errors: dict[str, Any], *, channel: str, timeout: float) -> dict[str, Target]:
        (vm,) = vms
        self.asked.append((vm, channel, timeout))
        if vm in self.errors:
            errors[vm] = self.errors[vm]
        return {vm: self.stores[vm].target(vm)} if vm in self.stores and vm not in errors else {}

    def wait_for(self, vm: str, stop: threading.Event, deadline: Deadline, *, timeout: float) -> Target:
        assert stop is self.stop
        self.waited.append((vm, deadline.seconds, timeout))
        if vm not in self.stores:
            raise STARTING
        return self.stores[vm].target(vm)

    def observed(self, *desired: VMSettings, running: bool = True) -> Firewalls:
        by_vm = {one.vm: one for one in desired}
        self.outcomes = {vm: self.outcomes.get(vm) or Outcome(vm, running=running) for vm in by_vm}
        routed = {vm: Routed(stored=self.stored.get(vm)) for vm in by_vm}
        targets: Any = self
        return Firewalls(list(by_vm), by_vm, self.outcomes, targets, self.lost, routed, self.stop)

    def pushed(self, *desired: VMSettings, running: bool = True) -> Outcome:
        """Push the firewalls; return the outcome of the first."""
        self.observed(*desired, running=running).push()
        return self.outcomes[desired[0].vm]

    def service(self, *vms: str, netvm: str = "sys-net", times: int = 1) -> None:
        """Let the firewall service of *netvm* count each of *vms* up, so often."""
        keys = self.stores[netvm].keys
        for number in range(times):
            self.stores[netvm].meanwhile += [partial(keys.update, {count(vm): b"%d" % number}) for vm in vms]


@pytest.fixture
def world(clock: Clock) -> World:
    return World(clock)


def error_of(outcome: Outcome) -> tuple[type, str]:
    return type(outcome.error), str(outcome.error)


class TestObserved:
    def test_those_that_differ_are_the_clients(self, world: World) -> None:
        world.store.keys |= right("mail")
        firewalls = world.observed(settings("work"), settings("mail"), VMSettings.parse("sys-net", {}))
        assert [(one.settings.vm, one.netvm) for one in firewalls.clients] == [("work", "sys-net")]
        assert all(outcome.ok for outcome in world.outcomes.values())

    def test_what_qubesd_holds_differs_too(self, world: World) -> None:
        world.store.keys |= right("work")
        world.stored["work"] = Stored()
        (client,) = world.observed(settings("work")).clients
        assert client.stored is world.stored["work"]

    def test_a_vm_that_has_failed_is_passed_over(self, world: World) -> None:
        world.outcomes["work"] = Outcome("work", error=StoreError("no"))
        firewalls = world.observed(settings("work"), settings("mail"))
        assert [one.settings.vm for one in firewalls.clients] == ["mail"]

    def test_a_provider_is_met_with_the_time_of_its_most_patient_client(self, world: World) -> None:
        world.observed(settings("work", timeout=2), settings("mail", timeout=7), settings("web", timeout=3))
        assert set(world.asked) == {("sys-net", "auto", 7.0)}

    def test_its_own_settings_say_on_which_channel(self, world: World) -> None:
        world.observed(settings("work"), VMSettings.parse("sys-net", {"channel": "qubesdb"}))
        assert world.asked == [("sys-net", "qubesdb", 5.0)]

    def test_each_provider_is_asked_for_its_own_clients(self, world: World) -> None:
        world.stores["sys-vpn"] = MemoryStore()
        firewalls = world.observed(settings("work"), settings("mail", netvm="sys-vpn"))
        assert {one.settings.vm: one.netvm for one in firewalls.clients} == {"work": "sys-net", "mail": "sys-vpn"}

    def test_one_that_is_not_running_is_an_error_of_a_client_that_is(self, world: World) -> None:
        world.stores.clear()
        assert world.observed(settings("work")).clients == []
        assert error_of(world.outcomes["work"]) == (
            VMNotRunning,
            "work: sys-net, which applies its firewall, is not running",
        )
        assert world.lost == {}

    def test_a_client_that_is_not_running_does_without(self, world: World) -> None:
        world.stores.clear()
        assert world.observed(settings("work"), running=False).clients == []
        assert world.outcomes["work"].ok

    def test_one_that_starts_is_waited_for_as_long_as_its_most_patient_client_has(self, world: World) -> None:
        world.errors["sys-net"] = STARTING
        firewalls = world.observed(settings("work", timeout=2), settings("mail", timeout=8))
        assert world.waited == [("sys-net", 4.0, 8.0)] * 2
        assert len(firewalls.clients) == 2

    def test_one_that_does_not_come_up_costs_that_once(self, world: World) -> None:
        world.errors["sys-net"] = STARTING
        world.stores.clear()
        world.observed(settings("work"), settings("mail"))
        assert len(world.waited) == 1
        for vm in ("work", "mail"):
            assert error_of(world.outcomes[vm]) == (VMStarting, f"{vm}: its firewall in sys-net: {STARTING}")
        assert world.lost == {"sys-net": STARTING}

    @pytest.mark.parametrize("error", [ConnectionLost("gone"), DeadlineExceeded("late")])
    def test_one_that_is_lost_is_asked_no_more(self, world: World, error: VMInterfaceError) -> None:
        world.store.fails[top("work")] = error
        assert world.observed(settings("work"), settings("mail")).clients == []
        for vm in ("work", "mail"):
            assert error_of(world.outcomes[vm]) == (type(error), f"{vm}: its firewall in sys-net: {error}")
        assert len(world.asked) == 1
        assert world.lost == {"sys-net": error}

    def test_what_was_lost_before_is_known(self, world: World) -> None:
        world.lost["sys-net"] = DeadlineExceeded("late")
        assert world.observed(settings("work")).clients == []
        assert error_of(world.outcomes["work"])[0] is DeadlineExceeded
        assert world.asked == []

    def test_another_error_is_of_that_client_alone(self, world: World) -> None:
        world.store.fails[top("work")] = StoreError("no")
        (client,) = world.observed(settings("work"), settings("mail")).clients
        assert client.settings.vm == "mail"
        assert error_of(world.outcomes["work"]) == (StoreError, "work: its firewall in sys-net: no")
        assert world.lost == {}

    def test_one_that_cannot_be_met_is_an_error(self, world: World) -> None:
        world.errors["sys-net"] = ConnectionLost("refused")
        world.observed(settings("work"), running=False)
        assert error_of(world.outcomes["work"]) == (ConnectionLost, "work: its firewall in sys-net: refused")

    def test_what_names_both_already_stays_as_it_is(self, world: World) -> None:
        world.stores["sys-net"] = MemoryStore(per_vm=False)
        world.observed(settings("work"))
        kind, text = error_of(world.outcomes["work"])
        assert kind is InvalidValue
        assert text.startswith("work: firewall rules are keys of QubesDB, which sys-net does not have")
        error = VMNotRunning("work stopped")
        world.stores["sys-net"] = MemoryStore()
        world.store.fails[top("mail")] = error
        world.observed(settings("mail"))
        assert world.outcomes["mail"].error is error


class TestNote:
    def test_what_would_change_is_added(self, world: World) -> None:
        firewalls = world.observed(settings("work"), settings("mail"), settings("web"))
        world.outcomes["mail"].error = StoreError("meanwhile")
        world.outcomes["web"].changes["debug"] = Change(None, True)
        firewalls.note()
        assert {vm: list(one.changes) for vm, one in world.outcomes.items()} == {
            "work": ["firewall"],
            "mail": [],
            "web": ["debug", "firewall"],
        }
        assert world.store.done == []


class TestPushed:
    def test_it_is_written_and_the_provider_notified_twice(self, world: World) -> None:
        world.service("work", times=2)
        outcome = world.pushed(settings("work"))
        assert list(outcome.changes) == ["firewall"]
        assert (outcome.error, outcome.note, outcome.restored) == (None, "", None)
        assert {path: world.store.keys[path] for path in right("work")} == right("work")
        assert [one.path for one in world.store.done].count(top("work")) == 2

    def test_a_vm_that_has_failed_meanwhile_is_passed_over(self, world: World) -> None:
        firewalls = world.observed(settings("work"), settings("mail", confirm=False))
        world.outcomes["work"].error = StoreError("meanwhile")
        firewalls.push()
        assert top("work") not in world.store.keys
        assert top("mail") in world.store.keys
        assert str(world.outcomes["work"].error) == "meanwhile"

    def test_once_it_is_to_end_nothing_is_written(self, world: World) -> None:
        firewalls = world.observed(settings("work"), settings("mail"))
        world.stop.set()
        firewalls.push()
        for vm in ("work", "mail"):
            assert error_of(world.outcomes[vm]) == (
                Interrupted,
                f"{vm}: interrupted before its firewall in sys-net was written",
            )
        assert world.store.done == []

    def test_what_somebody_else_has_set_right_meanwhile_is_no_change(self, world: World) -> None:
        firewalls = world.observed(settings("work"))
        world.store.keys |= right("work")
        firewalls.push()
        assert (world.outcomes["work"].changes, world.store.done, world.store.watched) == ({}, [], [])

    def test_a_provider_that_is_lost_meanwhile_is_asked_no_more(self, world: World) -> None:
        firewalls = world.observed(settings("work"), settings("mail"))
        world.store.fails[top("work")] = ConnectionLost("gone")
        firewalls.push()
        for vm in ("work", "mail"):
            assert error_of(world.outcomes[vm])[1].startswith(f"{vm}: its firewall in sys-net: gone")
        assert world.store.done == []

    def test_another_error_leaves_the_others_alone(self, world: World) -> None:
        firewalls = world.observed(settings("work"), settings("mail", confirm=False))
        world.store.fails[top("work")] = StoreError("no")
        firewalls.push()
        assert str(world.outcomes["work"].error) == "work: its firewall in sys-net: no"
        assert list(world.outcomes["mail"].changes) == ["firewall"]

    def test_what_cannot_be_written_whole_is_put_back_without_a_word_to_the_provider(self, world: World) -> None:
        former = {f"{top('work')}/policy": b"accept"}
        world.store.keys |= former
        firewalls = world.observed(settings("work"))
        world.store.fails[f"{top('work')}/0000"] = StoreError("no room")
        firewalls.push()
        outcome = world.outcomes["work"]
        assert outcome.comment() == "work: its firewall in sys-net: no room; former values restored"
        assert (outcome.changes, world.store.keys) == ({}, former)
        assert top("work") not in [one.path for one in world.store.done]

    def test_what_others_keep_writing_is_left_to_them(self, world: World) -> None:
        firewalls = world.observed(settings("work"))
        world.store.then = lambda: world.store.keys.update({f"{top('work')}/0007": b"action=drop"})
        firewalls.push()
        outcome = world.outcomes["work"]
        assert isinstance(outcome.error, VerificationFailed)
        assert outcome.comment() == (
            "work: its firewall in sys-net does not hold the written rules after 3 attempts; "
            "changes made there by another program meanwhile are kept"
        )
        assert outcome.restored is None

    def test_what_cannot_be_notified_is_put_back_and_notified_again(self, world: World) -> None:
        firewalls = world.observed(settings("work"))
        world.store.fails[top("work")] = StoreError("no")
        world.store.tree = lambda path, **more: MemoryStore(world.store.keys).tree(path, **more)  # type: ignore[method-assign]
        firewalls.push()
        outcome = world.outcomes["work"]
        assert str(outcome.error) == "work: its firewall in sys-net: no; the former rules could not be restored"
        assert outcome.restored is False
        assert world.store.keys == {}

    def test_why_it_could_not_be_put_back_is_said_where_it_is_another_reason(self, world: World) -> None:
        firewalls = world.observed(settings("work"))
        world.store.fails[f"{top('work')}/0000"] = StoreError("no room")
        world.store.then = lambda: world.store.fails.update({top("work"): StoreError("no time")})
        firewalls.push()
        assert str(world.outcomes["work"].error) == (
            "work: its firewall in sys-net: no room; the former rules could not be restored: no time"
        )


class TestKeptByQubesd:
    @pytest.fixture(autouse=True)
    def stored(self, world: World) -> Stored:
        world.stored["work"] = stored = Stored()
        return stored

    def test_it_comes_first_and_both_are_told(self, world: World, stored: Stored) -> None:
        firewalls = world.observed(settings("work", confirm=False))
        world.store.then = lambda: stored.done.append("written")
        firewalls.push()
        assert stored.done[:2] == ["set", "written"]
        assert list(world.outcomes["work"].changes) == ["persistent:firewall", "firewall"]

    def test_where_the_provider_does_not_run_that_is_all(self, world: World, stored: Stored) -> None:
        world.stores.clear()
        outcome = world.pushed(settings("work"), running=False)
        assert (outcome.error, list(outcome.changes), stored.done) == (None, ["persistent:firewall"], ["set"])

    def test_a_lost_provider_does_not_keep_it_from_one_that_has_none(self, world: World, stored: Stored) -> None:
        world.stores.clear()
        firewalls = world.observed(settings("work"), running=False)
        world.lost["sys-net"] = DeadlineExceeded("late")
        firewalls.push()
        assert stored.done == ["set"]

    def test_where_the_keys_are_right_already_nobody_is_waited_for(self, world: World, stored: Stored) -> None:
        world.store.keys |= right("work")
        outcome = world.pushed(settings("work"))
        assert (list(outcome.changes), stored.done, world.store.done) == (["persistent:firewall"], ["set"], [])
        assert (world.store.watched, outcome.note) == ([], "")

    def test_what_it_refuses_is_an_error_and_nothing_is_written(self, world: World, stored: Stored) -> None:
        stored.errors.insert(0, StoreError("work: firewall: not now"))
        outcome = world.pushed(settings("work"))
        assert error_of(outcome) == (StoreError, "work: firewall: not now")
        assert (outcome.restored, stored.done, outcome.changes) == (True, ["set", "put back"], {})
        # Putting it back notifies the provider of nothing but what is there.
        assert top("work") not in world.store.keys
        assert f"{top('work')}/policy" not in world.store.keys

    def test_what_it_does_not_let_go_of_is_added(self, world: World, stored: Stored) -> None:
        stored.errors = [StoreError("work: not now"), StoreError("work: never")]
        outcome = world.pushed(settings("work"))
        assert error_of(outcome) == (
            StoreError,
            "work: not now; the former rules could not be restored: work: never",
        )
        assert outcome.restored is False

    def test_the_same_error_is_not_said_twice(self, world: World, stored: Stored) -> None:
        stored.errors = [StoreError("work: not now"), StoreError("work: not now")]
        assert str(world.pushed(settings("work")).error) == "work: not now; the former rules could not be restored"

    def test_keys_that_cannot_be_written_have_it_put_back(self, world: World, stored: Stored) -> None:
        firewalls = world.observed(settings("work"))
        world.store.fails[f"{top('work')}/0000"] = StoreError("no room")
        firewalls.push()
        assert stored.done == ["set", "put back"]
        assert world.outcomes["work"].changes == {}


class TestAwaited:
    def test_a_provider_that_does_not_reply_in_time_has_its_former_rules_again(self, world: World) -> None:
        world.store.keys |= {count("mail"): b"4", f"{top('work')}/policy": b"accept", top("work"): b""}
        outcome = world.pushed(settings("work", timeout=2))
        assert error_of(outcome) == (
            DeadlineExceeded,
            "work: the firewall service of sys-net did not handle its rules within 2 s",
        )
        assert (outcome.restored, outcome.changes) == (True, {})
        assert world.store.keys[f"{top('work')}/policy"] == b"accept"
        # It was notified of the new ones, and then of the old ones.
        assert [one.path for one in world.store.done].count(top("work")) == 2

    def test_other_changes_of_the_vm_are_no_concern_of_it(self, world: World) -> None:
        world.store.keys[count("mail")] = b"4"
        world.outcomes["work"] = Outcome("work", {"debug": Change(None, True)})
        assert list(world.pushed(settings("work")).changes) == ["debug"]

    def test_one_who_counts_once_has_not_handled_them(self, world: World) -> None:
        world.service("work")
        assert isinstance(world.pushed(settings("work")).error, DeadlineExceeded)

    def test_one_that_has_never_counted_has_no_firewall_service(self, world: World) -> None:
        outcome = world.pushed(settings("work", timeout=2))
        assert (outcome.error, list(outcome.changes)) == (None, ["firewall"])
        assert outcome.note == (
            "no firewall service in sys-net replied within 2 s, so the rules take effect when one starts there"
        )

    def test_where_nobody_is_to_wait_that_is_said(self, world: World) -> None:
        outcome = world.pushed(settings("work", confirm=False))
        assert (outcome.note, outcome.error) == ("the acknowledgement of sys-net was not waited for", None)
        assert (world.store.watched, list(outcome.changes)) == ([], ["firewall"])

    def test_each_client_has_its_own_end(self, world: World) -> None:
        world.store.keys[count("web")] = b"4"
        world.service("mail", times=2)
        world.pushed(settings("work", timeout=2), settings("mail", timeout=2), settings("web", confirm=False))
        assert isinstance(world.outcomes["work"].error, DeadlineExceeded)
        assert world.outcomes["mail"].ok
        assert world.outcomes["web"].note

    def test_each_provider_is_waited_for_by_itself(self, world: World) -> None:
        world.stores["sys-vpn"] = MemoryStore(clock=world.clock)
        world.service("work", times=2)
        world.service("mail", netvm="sys-vpn", times=2)
        world.pushed(settings("work"), settings("mail", netvm="sys-vpn"))
        assert [(one.ok, one.note) for one in world.outcomes.values()] == [(True, "")] * 2
        assert {path: world.stores["sys-vpn"].keys[path] for path in right("mail")} == right("mail")

    def test_a_store_that_is_lost_is_named(self, world: World) -> None:
        def lose() -> None:
            world.store.fails |= dict.fromkeys((top("work"), count("work")), ConnectionLost("gone"))

        world.store.meanwhile.append(lose)
        outcome = world.pushed(settings("work"))
        assert error_of(outcome) == (
            ConnectionLost,
            "work: its firewall in sys-net: gone; the former rules could not be restored",
        )
        assert (outcome.restored, outcome.changes) == (False, {})
        assert set(world.lost) == {"sys-net"}

    def test_once_it_is_to_end_it_is_put_back(self, world: World) -> None:
        world.store.meanwhile.append(world.stop.set)
        outcome = world.pushed(settings("work"))
        assert error_of(outcome) == (Interrupted, "work: interrupted before sys-net handled its firewall")
        assert outcome.restored is True
        assert world.store.keys == {}
        assert isinstance(world.store.done[-1], Remove)

    def test_the_providers_are_hung_up_on_at_the_end(self, world: World) -> None:
        firewalls = world.observed(settings("work"))
        assert world.closed == 0
        firewalls.close()
        assert world.closed == 1


def test_clients_of_one_provider_are_written_before_any_is_waited_for(world: World) -> None:
    states: list[bool] = []
    world.store.meanwhile.append(lambda: states.extend(top(vm) in world.store.keys for vm in ("work", "mail")))
    world.pushed(settings("work"), settings("mail"))
    assert states == [True, True]
