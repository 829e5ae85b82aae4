"""Many VMs that come and go while highstates run, on a real Xen host."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from itertools import pairwise
from typing import Any

from lab.dom0.saltdir import by_vm
from tests.xen.conftest import wait_until

#: As small as a VM can be: its kernel sleeps (lab.xen.tinykernel), and no agent answers.
TINY = """
name = "{}"
type = "pv"
kernel = "/boot/tiny"
memory = 16
on_crash = "preserve"
"""
START = "cat >/run/{0}.cfg && xl create -e -q /run/{0}.cfg"
GUESTS = [f"guest-{number:02}" for number in range(20)]
VMS = [*GUESTS, "sys-net", "work", "personal"]
ZONE = "Asia/Tokyo"
#: Highstates that run meanwhile.
ROUNDS = 3
SECONDS = 720


class Lives:
    """When each VM was ``on``, ``off``, or ``changing`` in between."""

    def __init__(self, **now: Any) -> None:
        self._noted = {vm: [(0.0, state)] for vm, state in now.items()}

    def note(self, vm: Any, state: Any) -> None:
        self._noted[vm].append((time.monotonic(), state))

    def during(self, vm: Any, began: Any, ended: Any) -> Any:
        """All that a VM was from *began* to *ended*."""
        spans = pairwise([*self._noted[vm], (float("inf"), "")])
        return {state for (since, state), (until, _) in spans if since <= ended and until >= began}


class Highstates(threading.Thread):
    """Runs one highstate after the other until told to stop; has what came of each with its two times."""

    def __init__(self, host: Any) -> None:
        super().__init__()
        self._host = host
        self.enough = threading.Event()
        self.done: list[tuple[float, float, dict[str, Any]]] = []
        self.error: Exception | None = None
        self._another = threading.Condition()

    def run(self) -> None:
        try:
            while not self.enough.is_set():
                began = time.monotonic()
                _, report = self._host.highstate()
                with self._another:
                    self.done.append((began, time.monotonic(), by_vm(report, VMS)))
                    self._another.notify_all()
        except Exception as error:  # raised again by the test
            self.error = error
            with self._another:
                self._another.notify_all()

    def wait_for(self, count: Any) -> None:
        """Wait until that many have ended, or one has failed."""
        with self._another:
            ended = self._another.wait_for(lambda: len(self.done) >= count or self.error, SECONDS)
        assert ended, f"{len(self.done)} of {count} highstates have ended within {SECONDS} s"


def come_and_go(host: Any, lives: Any, chance: Any, highstates: Any) -> None:
    """Start all guests and stop them again, in an order by *chance*, and one VM with an agent in between.

    Each highstate sees its share of that, so that it finds some VMs that stay as they are and some that do not.
    """
    waiting = chance.sample(GUESTS, len(GUESTS))
    running: list[str] = []
    while waiting or running:
        gone = len(GUESTS) - len(waiting) - len(running)
        highstates.wait_for((len(GUESTS) - len(waiting) + gone) * ROUNDS // (2 * len(GUESTS)))
        if len(waiting) == len(GUESTS) // 2 and "personal" in host.domids:
            lives.note("personal", "changing")
            host.destroy("personal")
            lives.note("personal", "off")
            states = {line.split()[0]: line.split()[4] for line in host.dom0("xl", "list").splitlines()[1:]}
            assert all(set(states[guest]) <= {"r", "b", "-"} for guest in running), states
        starts = waiting and (not running or chance.random() < 0.8)
        guest = waiting.pop() if starts else running.pop(chance.randrange(len(running)))
        lives.note(guest, "changing")
        if starts:
            host.dom0("sh", "-c", START.format(guest), text=TINY.format(guest))
            running.append(guest)
        else:
            host.dom0("xl", "destroy", guest)
        lives.note(guest, "on" if starts else "off")


def assert_true(lives: Any, began: Any, ended: Any, lines: Any) -> Any:
    """What a highstate reports of each VM is what was true of it while the highstate ran; return what guests were."""
    for vm, line in lines.items():
        was = lives.during(vm, began, ended)
        says_off = f"{vm} is not running" in line.comment
        if was == {"on"}:
            assert line.ok is True, line.comment
            assert not says_off
            assert vm not in GUESTS or not line.changes or "no agent is running" in line.comment
        elif was == {"off"}:
            assert line.ok is True, line.comment
            assert says_off
            assert line.changes == {}
        else:
            # A VM that goes in the middle is named.
            gone = vm in line.comment
            assert line.ok is True or (gone and line.changes == {}), line.comment
    return [frozenset(lives.during(vm, began, ended)) for vm in GUESTS]


def nodes(host: Any) -> Any:
    return [line.split(" = ")[0] for line in host.dom0("xenstore-ls", "-f", "/").splitlines()]


def left_behind(host: Any, before: Any) -> Any:
    """Nodes that there were not before, but for those of VMs that still run; and domids of VMs that do not."""
    alive = {"0", *(str(domid) for domid in host.domids.values())}
    own = tuple(f"/local/domain/{domid}/" for domid in alive - {"0"})
    new = [path for path in nodes(host) if path not in before and not path.startswith(own)]
    folders = ["/local/domain", "/libxl", *(f"/local/domain/{domid}/backend/vif" for domid in sorted(alive))]
    listed = host.dom0("sh", "-c", "".join(f"xenstore-list {folder} 2>/dev/null; " for folder in folders) + "true")
    return new, set(listed.split()) - alive


def test_guests_that_come_and_go_are_reported_as_they_are_and_leave_nothing_behind(host: Any, say: Any) -> None:
    seed = int(os.environ.get("XEN_SEED") or random.randrange(1 << 32))
    say(f"guests come and go by XEN_SEED={seed}")
    host.pillar({vm: {"timezone": ZONE, "timeout": 5} for vm in GUESTS})
    before = {*nodes(host)}
    lives = Lives(**dict.fromkeys(GUESTS, "off"), **dict.fromkeys(host.domids, "on"))
    highstates = Highstates(host)
    highstates.start()
    try:
        come_and_go(host, lives, random.Random(seed), highstates)
    finally:
        highstates.enough.set()
        highstates.join()
    if highstates.error is not None:
        raise highstates.error
    were = Counter(one for done in highstates.done for one in assert_true(lives, *done))
    counts = ", ".join(f"{'/'.join(sorted(one))} {count}" for one, count in were.most_common())
    say(f"{len(GUESTS)} guests came and went during {len(highstates.done)} highstates, in which they were: {counts}")
    assert len(highstates.done) >= ROUNDS
    on, off = were[frozenset({"on"})], were[frozenset({"off"})]
    assert on
    assert off
    assert were.total() > on + off
    wait_until(lambda: left_behind(host, before) == ([], set()), 60, lambda: f"an end of {left_behind(host, before)}")
