"""What an agent takes of a store in which dom0 writes while it reads."""

from __future__ import annotations

import threading
from pathlib import Path

from tests.support.memorystore import MemoryStore
from tests.support.virtualtime import Clock
from vminterface.channel.store import Read, WatchEvent
from vminterface.values.acknowledgement import PENDING
from vminterface.vm.agent.agent import Agent
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
