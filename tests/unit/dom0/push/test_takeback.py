"""What a VM had before a push, as it is kept and given back: texts of keys and of qubesd, words of the rest."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest

from tests.support.adminapi import MemoryAPI, MemoryQubesd
from tests.support.memoryhost import Host
from tests.support.virtualtime import Clock
from vminterface.dom0.desired.firewall import ClientFirewall
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.desired.shownfirewall import ShownFirewall
from vminterface.dom0.push import takeback
from vminterface.dom0.push.outcome import Outcome
from vminterface.dom0.push.takeback import Former, take_back
from vminterface.errors import DeadlineExceeded, StoreError, VerificationFailed, VMInterfaceError
from vminterface.keys import read_value
from vminterface.values.change import Change
from vminterface.values.memorysize import MemorySize
from vminterface.values.monitor import MonitorLayout
from vminterface.values.service import ServiceState

UTC, WARSAW = read_value("timezone", "UTC"), read_value("timezone", "Europe/Warsaw")
DROP, ACCEPT = {"policy": "drop", "rules": []}, {"policy": "accept", "rules": []}
ONE = [{"width": 1920, "height": 1080, "x": 0, "y": 0, "width_mm": 508, "height_mm": 285}]
OTHER = [{**ONE[0], "width": 1280}]


def shown(words: Any) -> ShownFirewall:
    return ShownFirewall(words, {})


class TestFormer:
    def test_keys_and_what_qubesd_keeps_are_texts(self) -> None:
        would = Outcome(
            "work",
            {
                "timezone": Change(UTC, WARSAW),
                "services:cups": Change(None, ServiceState.ON),
                "persistent:memory": Change(MemorySize.parse(400), None),
                "persistent:services:cups": Change(None, ServiceState.ON),
            },
        )
        assert Former.of(would) == Former(
            "work",
            {"timezone": Change("UTC", "Europe/Warsaw"), "services:cups": Change(None, "1")},
            {"memory": Change("400", None), "services:cups": Change(None, "1")},
            {},
        )

    def test_firewall_and_monitors_are_in_the_pillars_words(self) -> None:
        would = Outcome("work", {"firewall": Change(shown(DROP), shown(ACCEPT)), "monitors": Change(ONE, OTHER)})
        assert Former.of(would) == Former("work", {}, {}, {"firewall": DROP, "monitors": ONE})

    def test_what_qubesd_holds_as_the_firewall_says_more_than_the_providers_keys(self) -> None:
        held, keys = Change(shown(DROP), shown(ACCEPT)), Change(shown("none"), shown(ACCEPT))
        for changes in (
            {"persistent:firewall": held, "firewall": keys},
            {"firewall": keys, "persistent:firewall": held},
        ):
            assert Former.of(Outcome("work", changes)).words == {"firewall": DROP}

    def test_what_has_no_place_is_left_out(self) -> None:
        assert Former.of(Outcome("work", {"persistent:nosuch": Change(1, 2)})) == Former("work")

    def test_the_plain_form_is_read_as_it_was_written(self) -> None:
        former = Former(
            "work",
            {"timezone": Change("UTC", None)},
            {"memory": Change(None, "800")},
            {"firewall": DROP},
        )
        data = json.loads(json.dumps(former.as_data()))
        assert data == {
            "keys": {"timezone": ["UTC", None]},
            "persistent": {"memory": [None, "800"]},
            "words": {"firewall": DROP},
        }
        assert Former.parse("work", data) == former

    @pytest.mark.parametrize("data", [{}, {"keys": {}, "persistent": {}}, {"keys": {"a": ["b"]}, "persistent": {}}, 5])
    def test_another_form_is_an_error(self, data: Any) -> None:
        with pytest.raises((LookupError, TypeError, ValueError)):
            Former.parse("work", data)

    def test_giving_it_back_is_the_change_the_other_way_round(self) -> None:
        kept = {"memory": Change("400", "800"), "maxmem": Change(None, "800")}
        former = Former("work", {"timezone": Change("UTC", None)}, kept)
        assert former.undone == {
            "timezone": Change(None, UTC),
            "persistent:memory": Change(MemorySize.parse(800), MemorySize.parse(400)),
            "persistent:maxmem": Change(MemorySize.parse(800), None),
        }


class Locks:
    """The locks of VMs: nobody else wants one."""

    def __init__(self) -> None:
        self.taken: list[tuple[list[str], float]] = []

    def __enter__(self) -> Locks:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is held."""

    def take_all(self, vms: Any, deadline: Any, stop: threading.Event) -> None:
        assert isinstance(stop, threading.Event)
        self.taken.append((list(vms), deadline.seconds))


class World:
    """What the parts of a push that have tests of their own are asked for, and what they come to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.api = MemoryAPI()
        self.locks = Locks()
        #: Of VMs whose keys are given back.
        self.keys_back: list[str] = []
        self.errors: dict[str, VMInterfaceError] = {}
        #: Errors of the push in the pillar's words.
        self.late: dict[str, VMInterfaceError] = {}
        #: What a diff finds, and what was pushed in the pillar's words.
        self.differing: list[Outcome] = []
        self.pushed: list[VMSettings] = []
        self.compared: list[VMSettings] = []
        self.recorded: list[Outcome] = []
        self.stop = threading.Event()
        world = self

        class Record:
            def __init__(self, vms: Any) -> None:
                self.vms = list(vms)

            def outcomes(self, outcomes: list[Outcome]) -> None:
                world.recorded += outcomes

        def keys_back(formers: Sequence[Former], settings: Any, targets: Any) -> dict[str, VMInterfaceError]:
            assert targets == world
            world.keys_back += [one.vm for one in formers]
            return world.errors

        def push(settings: Sequence[VMSettings], targets: Any, *, stop: threading.Event) -> list[Outcome]:
            assert (targets, stop) == (world, world.stop)
            world.pushed += settings
            return [Outcome(one.vm, error=world.late.get(one.vm)) for one in settings]

        def diff(settings: Sequence[VMSettings], targets: Any) -> list[Outcome]:
            assert targets == world
            world.compared += settings
            return world.differing

        monkeypatch.setattr("vminterface.dom0.push.record.Record", Record)
        monkeypatch.setattr(takeback, "_keys_back", keys_back)
        monkeypatch.setattr(takeback, "push", push)
        monkeypatch.setattr(takeback, "diff", diff)
        monkeypatch.setattr(takeback, "VMLocks", lambda: nullcontext(self.locks))

    def qubesd(self) -> MemoryQubesd:
        return MemoryQubesd(self.api)

    def back(self, *formers: Former, settings: dict[str, VMSettings] | None = None) -> dict[str, str | None]:
        targets: Any = self
        found = take_back(formers, settings or {}, targets, stop=self.stop)
        return {vm: None if error is None else str(error) for vm, error in found.items()}


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


class TestTakeBack:
    KEYS = Former("work", {"timezone": Change("UTC", "Europe/Warsaw")})
    MEMORY = Former("mail", {}, {"memory": Change("400", "800")})

    def test_keys_and_what_qubesd_keeps_are_given_back_under_the_locks(self, world: World) -> None:
        world.api.properties["memory"] = "800"
        assert world.back(self.KEYS, self.MEMORY) == {"work": None, "mail": None}
        assert world.locks.taken == [(["work", "mail"], 10.0)]
        assert world.keys_back == ["work"]
        assert world.api.calls == [("memory", "400")]
        assert world.recorded == [Outcome("work", self.KEYS.undone), Outcome("mail", self.MEMORY.undone)]
        assert (world.pushed, world.compared) == ([], [])

    def test_locks_that_somebody_holds_already_are_used(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(takeback, "VMLocks", lambda: pytest.fail("it takes others"))
        locks: Any = Locks()
        targets: Any = world
        assert take_back([self.KEYS], {}, targets, stop=world.stop, locks=locks) == {"work": None}
        assert locks.taken == [(["work"], 10.0)]

    def test_what_cannot_be_given_back_is_the_vms_error_and_no_change(self, world: World) -> None:
        world.api.properties["memory"] = "900"
        world.errors["work"] = StoreError("work: gone")
        found = world.back(self.KEYS, self.MEMORY)
        assert found == {
            "work": "work: gone",
            "mail": "mail: taken back; not restored in qubesd: "
            "memory (property memory) was set to '900' by another program meanwhile, and stays",
        }
        assert [(one.changes, str(one.error)) for one in world.recorded] == [({}, found["work"]), ({}, found["mail"])]

    def test_the_first_error_of_a_vm_counts(self, world: World) -> None:
        world.api.properties["memory"] = "900"
        world.errors["mail"] = StoreError("second")
        both = Former("mail", self.KEYS.keys, self.MEMORY.persistent)
        assert "second" not in str(world.back(both)["mail"])

    def test_what_is_as_before_already_is_no_error(self, world: World) -> None:
        world.api.properties["memory"] = "400"
        assert world.back(self.MEMORY) == {"mail": None}

    def test_nothing_of_a_vm_that_had_no_change_is_recorded(self, world: World) -> None:
        assert world.back(Former("work")) == {"work": None}
        assert (world.recorded, world.keys_back) == ([], [])


class TestKeys:
    """What becomes of the keys themselves, in the VMs' stores."""

    FORMER = Former("work", {"timezone": Change("UTC", "Europe/Warsaw"), "services:cups": Change(None, "1")})
    PUSHED = VMSettings.parse("work", {"timezone": "Europe/Warsaw", "services": {"cups": "on"}, "timeout": 7})

    @pytest.fixture
    def host(self, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Host:
        monkeypatch.setattr("vminterface.dom0.push.record.History.keep", lambda *_: None)
        return Host(clock)

    def back(self, host: Host, *formers: Former) -> dict[str, str | None]:
        locks: Any = Locks()
        with host.targets() as targets:
            found = take_back(formers, {"work": self.PUSHED}, targets, stop=threading.Event(), locks=locks)
        return {vm: None if error is None else str(error) for vm, error in found.items()}

    def test_they_have_their_former_texts_and_the_agent_is_asked_to_apply_them(self, host: Host) -> None:
        guest = host.vm(qubes_timezone=b"Europe/Warsaw")
        guest.keys["/qubes-service/cups"] = b"1"
        assert self.back(host, self.FORMER) == {"work": None}
        assert guest.keys["/qubes-timezone"] == b"UTC"
        assert "/qubes-service/cups" not in guest.keys
        assert guest.keys["/vminterface/ack/timezone"] == b"pending"
        # The VM is met as its settings say.
        assert ("work", 7.0) in host.opened

    def test_what_another_program_has_set_since_is_named_and_stays(self, host: Host) -> None:
        guest = host.vm(qubes_timezone=b"Asia/Tokyo")
        guest.keys["/qubes-service/cups"] = b"1"
        assert self.back(host, self.FORMER) == {
            "work": "work: timezone was set by another program meanwhile and is kept"
        }
        assert guest.keys["/qubes-timezone"] == b"Asia/Tokyo"
        assert "/qubes-service/cups" not in guest.keys

    def test_a_vm_that_does_not_run_has_none(self, host: Host) -> None:
        assert self.back(host, self.FORMER) == {"work": None}

    def test_one_whose_daemon_is_dead_is_named(self, host: Host) -> None:
        host.xen.vms["work"] = 1
        host.dead.add("work")
        assert "its QubesDB in dom0 is dead" in str(self.back(host, self.FORMER)["work"])

    def test_what_cannot_be_read_or_written_is_the_vms_error(self, host: Host) -> None:
        host.vm(qubes_timezone=b"Europe/Warsaw").fails["/qubes-timezone"] = StoreError("no")
        host.vm("mail").fails["/"] = StoreError("closed")
        host.vm("web", qubes_timezone=b"Europe/Warsaw")
        others = [replace(self.FORMER, vm=vm) for vm in ("mail", "web")]
        assert self.back(host, self.FORMER, *others) == {"work": "work: no", "mail": "mail: closed", "web": None}
        assert host.stores["web"].keys["/qubes-timezone"] == b"UTC"


class TestWords:
    FIREWALL = ClientFirewall.parse({"netvm": "sys-net", "ip": "10.137.0.12", **ACCEPT})
    PUSHED = VMSettings.parse("work", {"monitors": OTHER, "timezone": "UTC"})

    def settings(self, *, firewall: bool = True) -> dict[str, VMSettings]:
        return {"work": replace(self.PUSHED, firewall=self.FIREWALL) if firewall else self.PUSHED}

    def test_the_former_firewall_is_pushed_where_the_other_one_went(self, world: World) -> None:
        assert world.back(Former("work", words={"firewall": DROP}), settings=self.settings()) == {"work": None}
        (one,) = world.pushed
        assert one.firewall is not None
        assert (one.firewall.in_words(), one.firewall.netvm, str(one.firewall.ip)) == (DROP, "sys-net", "10.137.0.12")
        assert (one.monitors, dict(one.desired)) == (None, {})

    def test_so_are_the_former_monitors(self, world: World) -> None:
        assert world.back(Former("work", words={"monitors": ONE}), settings=self.settings()) == {"work": None}
        (one,) = world.pushed
        assert one.firewall is None
        assert isinstance(one.monitors, MonitorLayout)
        assert one.monitors.mappings() == ONE
        assert [(other.vm, dict(other.desired)) for other in world.compared] == [("work", {})]

    @pytest.mark.parametrize("words", [{"firewall": "none"}, {"firewall": {"policy": "maybe"}}, {"monitors": "none"}])
    def test_what_no_pillar_can_have_stays_as_it_was_pushed(self, world: World, words: dict[str, Any]) -> None:
        (name,) = words
        assert world.back(Former("work", words=words), settings=self.settings()) == {
            "work": f"work: {name}: what it had before cannot be pushed, so the new one stays"
        }
        assert world.pushed == []

    def test_both_are_named_in_one_error(self, world: World) -> None:
        words = {"monitors": "none", "firewall": "none"}
        assert world.back(Former("work", words=words), settings=self.settings()) == {
            "work": "work: firewall and monitors: what it had before cannot be pushed, so the new one stays"
        }

    def test_a_vm_of_which_nothing_was_pushed_cannot_be_reached(self, world: World) -> None:
        for settings in ({}, self.settings(firewall=False)):
            found = world.back(Former("work", words={"firewall": DROP}), settings=settings)
            assert found == {"work": "work: firewall: what it had before cannot be pushed, so the new one stays"}

    def test_monitors_that_another_program_has_set_stay_and_the_rest_is_given_back(self, world: World) -> None:
        third = [{**ONE[0], "width": 800}]
        world.differing = [Outcome("work", {"monitors": Change(third, OTHER)})]
        words = {"monitors": ONE, "firewall": DROP}
        assert world.back(Former("work", words=words), settings=self.settings()) == {
            "work": "work: monitors was set by another program meanwhile and is kept"
        }
        (one,) = world.pushed
        assert one.monitors is None
        assert one.firewall is not None

    @pytest.mark.parametrize("old", ["none", ONE])
    def test_monitors_that_are_gone_or_are_the_former_ones_are_not_another_programs(
        self, world: World, old: Any
    ) -> None:
        world.differing = [Outcome("work", {"monitors": Change(old, OTHER)})]
        assert world.back(Former("work", words={"monitors": ONE}), settings=self.settings()) == {"work": None}

    def test_the_error_of_that_push_is_the_vms(self, world: World) -> None:
        world.late["work"] = DeadlineExceeded("work: late")
        found = world.back(Former("work", words={"monitors": ONE}), settings=self.settings())
        assert found == {"work": "work: late"}

    def test_an_error_before_it_counts_more(self, world: World) -> None:
        world.late["work"] = DeadlineExceeded("work: late")
        world.errors["work"] = VerificationFailed("work: first")
        former = Former("work", TestTakeBack.KEYS.keys, words={"monitors": ONE})
        assert world.back(former, settings=self.settings()) == {"work": "work: first"}
