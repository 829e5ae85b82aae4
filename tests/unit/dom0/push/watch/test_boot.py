"""Which VMs the watcher waits for after a start: an agent that is there once is no reason to push again and again."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from vminterface import runtime
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.push.outcome import Outcome
from vminterface.dom0.push.watch.boot import AWAITED, BOOT, TIMEOUT, Boots
from vminterface.errors import ConnectionLost, KeyNotFound
from vminterface.values.announcement import Announcement

SETTINGS = VMSettings.parse("work", {"timezone": "UTC"})
#: Settings of a VM that is given five seconds, and what the log has of it.
STARTING = {"work": VMSettings.parse("work", {"timezone": "UTC", "timeout": 5})}
LINE = "work is starting: it does not have a QubesDB after 5 s; its settings are pushed once it has one"
AGENT = Announcement("0.1.0", frozenset({"timezone"}))


class Clock(runtime.Runtime):
    now = 0.0

    def monotonic(self) -> float:
        return self.now


class Host:
    """A dom0 with one VM, in whose store the agent's announcement is *text*."""

    text: bytes | None = None

    def __init__(self) -> None:
        self.log: list[str] = []
        self.boots = Boots(self.targets, self.log.append)

    def targets(self) -> Any:
        target = SimpleNamespace(store=self, path=lambda name: name)

        def find(vms: Any, errors: dict[str, Any], *, access: dict[str, VMSettings]) -> Any:
            assert (errors, {vm: one.timeout for vm, one in access.items()}) == ({}, dict.fromkeys(vms, TIMEOUT))
            return dict.fromkeys(vms, target)

        return nullcontext(SimpleNamespace(find=find))

    def read(self, path: str) -> bytes:
        if self.text is None:
            raise KeyNotFound(path)
        return self.text

    def pushed(self, *, booting: bool = False, **outcome: Any) -> Outcome:
        made = Outcome("work", **outcome)
        self.boots.note(SETTINGS, made, booting=booting)
        return made

    def looked(self) -> set[str]:
        self.boots.inspect()
        return self.boots.take()


@pytest.fixture
def host(clock: Clock) -> Host:
    host = Host()
    host.pushed(booting=True, unheard=True)
    return host


def test_an_agent_that_comes_up_is_found_once(host: Host, clock: Clock) -> None:
    assert host.looked() == set()
    host.text = AGENT.render().encode()
    assert host.looked() == {"work"}
    # The push is under way, and another look finds the agent meanwhile.
    clock.now += 2.0
    host.boots.inspect()
    host.pushed(awaited=True, agent=AGENT)
    assert host.boots.take() == set()
    assert host.log == ["work: its agent has acknowledged its settings"]
    assert not host.boots.due


def test_an_agent_that_a_push_under_way_waits_for_is_no_reason_for_another(host: Host) -> None:
    host.text = AGENT.render().encode()
    host.boots.inspect()
    assert host.boots.take({"work"}) == set()
    host.pushed(agent=AGENT)
    assert host.boots.take() == set()


def test_an_agent_that_a_push_under_way_has_not_heard_is_found_after_it(host: Host) -> None:
    host.text = AGENT.render().encode()
    host.boots.inspect()
    assert host.boots.take({"work"}) == set()
    host.pushed(unheard=True)
    assert host.looked() == {"work"}


def test_what_is_no_announcement_is_no_agent(host: Host) -> None:
    for text in (b"", b"pending", b"\xff" * 2000):
        host.text = text
        assert host.looked() == set()


def test_a_vm_that_announces_an_agent_and_has_none_is_pushed_to_less_and_less_often(host: Host, clock: Clock) -> None:
    host.text = AGENT.render().encode()
    times = []
    while clock.now < BOOT + 60:
        if host.looked():
            times.append(clock.now)
            host.pushed(unheard=True)
        clock.now += 0.5
    assert times[:5] == [0.0, 1.0, 3.0, 7.0, 15.0]
    assert len(times) < 12
    assert not host.boots.due


def test_a_push_that_fails_without_having_heard_of_the_agent_does_not_end_the_wait(host: Host) -> None:
    host.pushed(error=ConnectionLost("work: its store hangs"))
    assert host.boots.due
    host.text = AGENT.render().encode()
    assert host.looked() == {"work"}


@pytest.mark.parametrize(
    "outcome",
    [
        pytest.param({"error": ConnectionLost("refused"), "awaited": True, "agent": AGENT}, id="an agent that refuses"),
        pytest.param({"running": False}, id="a VM that has stopped"),
    ],
)
def test_what_else_ends_the_wait(host: Host, outcome: dict[str, Any]) -> None:
    host.pushed(**outcome)
    assert not host.boots.due
    assert host.log == []


def test_a_push_that_does_not_hear_the_agent_says_what_is_waited_for(host: Host) -> None:
    made = host.pushed(booting=True, unheard=True, awaited=True)
    assert (made.awaited, made.note) == (False, AWAITED)
    assert host.boots.due


def test_of_a_vm_that_nobody_waits_for_nothing_is_said(clock: Clock) -> None:
    host = Host()
    host.pushed(agent=AGENT)
    assert host.pushed(unheard=True, awaited=True).awaited
    assert (host.boots.due, host.log) == (False, [])


def test_an_agent_that_was_seen_before_a_push_heard_it_is_no_reason_for_another(host: Host) -> None:
    host.text = AGENT.render().encode()
    host.boots.inspect()
    host.pushed(agent=AGENT)
    host.pushed(booting=True, unheard=True)
    assert host.boots.take() == set()


def test_one_that_stops_while_it_is_looked_for_is_not_said_to_be_late(host: Host, clock: Clock) -> None:
    clock.now = BOOT + 1

    def read(path: str) -> bytes:
        host.boots.forget("work")
        raise KeyNotFound(path)

    host.read = read  # type: ignore[method-assign]
    host.boots.inspect()
    assert host.log == []


class TestUnmet:
    """VMs that are starting and have no QubesDB yet; *work* has 5 s."""

    def test_one_that_has_none_for_as_long_as_a_push_would_wait_is_named_once(self, clock: Clock) -> None:
        host = Host()
        for now, lines in ((0.0, 0), (4.9, 0), (5.0, 1), (60.0, 1)):
            clock.now = now
            host.boots.unmet(STARTING, {"work": 7, "other": 8})
            assert host.log == [LINE] * lines

    def test_another_start_of_it_has_its_own_time(self, clock: Clock) -> None:
        host = Host()
        host.boots.unmet(STARTING, {"work": 7})
        clock.now = 5.0
        host.boots.unmet(STARTING, {"work": 8})
        assert host.log == []
        clock.now = 10.0
        host.boots.unmet(STARTING, {"work": 8})
        assert host.log == [LINE]

    def test_one_that_has_one_in_between_begins_anew(self, clock: Clock) -> None:
        host = Host()
        host.boots.unmet(STARTING, {"work": 7})
        host.boots.unmet(STARTING, {})
        clock.now = 9.0
        host.boots.unmet(STARTING, {"work": 7})
        assert host.log == []
