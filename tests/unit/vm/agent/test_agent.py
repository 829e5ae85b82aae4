"""What an agent takes of a store in which dom0 writes while it reads."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.memorystore import MemoryStore
from tests.support.virtualtime import Clock
from vminterface.channel.store import Operation, Read, WatchEvent, Write
from vminterface.errors import QuotaExceeded
from vminterface.values.acknowledgement import PENDING
from vminterface.vm.agent.agent import Agent
from vminterface.vm.handlers.runtime.owner import SETTINGS
from vminterface.vm.machine.machine import Machine


class Store(MemoryStore):
    """One whose VM is paused for a minute in the middle of the first reading, while dom0 pushes."""

    paused = False

    def _outcome(self, one: object) -> object:
        if isinstance(one, Read) and one.path == "/qubes-gateway" and not self.paused:
            self.paused = True
            assert self.clock is not None
            self.clock.now += 60.0
            new = {"/qubes-ip": b"10.0.0.9", "/qubes-gateway": b"10.0.0.8", "/vminterface/push": b"written 2"}
            self.keys.update(new)
        return super()._outcome(one)  # type: ignore[arg-type]


def test_a_vm_that_was_paused_while_its_agent_read_does_not_take_half_a_push(clock: Clock, tmp_path: Path) -> None:
    held = {"/qubes-ip": b"10.0.0.1", "/qubes-gateway": b"10.0.0.2", "/vminterface/push": b"written 1"}
    store = Store(held, clock=clock)
    found = Agent(Machine(str(tmp_path)))._read(store, store.watch(["/"]), threading.Event())
    assert {field: found.texts.get(field) for field in ("network:ip", "network:gateway")} == {
        "network:ip": "10.0.0.9",
        "network:gateway": "10.0.0.8",
    }


class BetweenReads(MemoryStore):
    """A XenStore in which dom0 commits a transaction without a mark in the middle of the first reading."""

    channel, transactions, parents = "xenstore", True, True
    committed = False

    def _outcome(self, one: object) -> object:
        if isinstance(one, Read) and one.path == "/qubes-gateway" and not self.committed:
            self.committed = True
            self.keys.update({"/qubes-ip": b"10.0.0.9", "/qubes-gateway": b"10.0.0.8"})
        return super()._outcome(one)  # type: ignore[arg-type]


def test_a_transaction_without_a_mark_is_not_taken_by_half(clock: Clock, tmp_path: Path) -> None:
    store = BetweenReads({"/qubes-ip": b"10.0.0.1", "/qubes-gateway": b"10.0.0.2"}, per_vm=False, clock=clock)
    found = Agent(Machine(str(tmp_path)))._read(store, store.watch(["/"]), threading.Event())
    assert (found.texts["network:ip"], found.texts["network:gateway"]) == ("10.0.0.9", "10.0.0.8")


def test_keys_that_change_at_each_reading_do_not_keep_an_agent(clock: Clock, tmp_path: Path) -> None:
    class Restless(BetweenReads):
        count = 0

        def batch(self, operations: Sequence[Operation], *, timeout: float | None = None) -> list[Any]:
            self.count += 1
            clock.now += 0.2
            self.keys["/qubes-service/clock"] = b"%d" % (self.count % 2)
            self.keys["/qubes-timezone"] = b"Etc/GMT-%d" % self.count
            return super().batch(operations, timeout=timeout)

    store = Restless({"/qubes-ip": b"10.0.0.1"}, per_vm=False, clock=clock)
    found = Agent(Machine(str(tmp_path)))._read(store, store.watch(["/"]), threading.Event())
    assert found.texts["network:ip"] == "10.0.0.9"
    assert clock.now < 2.0


class Full(MemoryStore):
    """One in which the VM has no nodes left."""

    def _outcome(self, one: object) -> object:
        if isinstance(one, Write):
            return QuotaExceeded("no nodes left")
        return super()._outcome(one)  # type: ignore[arg-type]


def test_what_wakes_an_agent_meanwhile_makes_its_pause_no_longer(clock: Clock, tmp_path: Path) -> None:
    """Its nodes are used up, and dom0 pushes again and again before the next attempt is due."""
    store = Full({"/vminterface": b"", "/name": b"work"}, clock=clock)
    agent = Agent(Machine(str(tmp_path)), steps={setting: lambda inputs, machine: "" for setting in SETTINGS})
    watch = store.watch(["/"])
    agent._take_over(store, watch, threading.Event(), first=True)
    pause = agent._unwritten.pause
    for _ in range(6):
        agent._take_over(store, watch, threading.Event())
    assert agent._unwritten.pause == pause
    clock.now += pause
    agent._take_over(store, watch, threading.Event())
    assert agent._unwritten.pause == 2 * pause


def test_an_agent_does_not_read_all_keys_again_for_an_event_of_what_it_has_written(
    clock: Clock, tmp_path: Path
) -> None:
    store = MemoryStore({"/qubes-timezone": b"Nowhere/Land", "/vminterface": b""}, clock=clock)
    agent = Agent(Machine(str(tmp_path)))
    agent._take_over(store, store.watch(["/"]), threading.Event(), first=True)
    own, other = "/vminterface/ack/timezone", "/qubes-timezone"
    written = store.keys[own]

    def are_own(*paths: str) -> bool:
        return agent._are_own(store, [WatchEvent(path, path) for path in paths])

    assert written.startswith(b"refused ")
    assert are_own(own)
    assert are_own(own, "/vminterface/agent")
    assert not are_own(own, other)
    # dom0 asks for it anew, or somebody has removed it.
    store.keys[own] = PENDING.encode()
    assert not are_own(own)
    del store.keys[own]
    assert not are_own(own)
    # Only a whole reading shows what was meant by a value that was there before.
    store.keys[own] = written
    agent._take_over(store, store.watch(["/"]), threading.Event())
    assert not are_own(own)
