"""A dom0 for the watcher in a test's memory: VMs start when the test says so, and all work is done on one thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import pytest

from tests.support.virtualtime import Clock
from vminterface.deadline import Deadline
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.push.outcome import Outcome
from vminterface.dom0.push.watch import watcher as module
from vminterface.dom0.push.watch.events import Heard
from vminterface.dom0.push.watch.watcher import Watcher
from vminterface.errors import ConnectionLost, DeadlineExceeded, InvalidValue

MONITORS = [{"width": 640, "height": 480, "x": 0, "y": 0}]
WORK = VMSettings.parse("work", {"timezone": "Europe/Warsaw", "monitors": MONITORS})
MAIL = VMSettings.parse("mail", {"timezone": "Asia/Tokyo"})
FIREWALL = {"netvm": "sys-net", "ip": "10.137.0.5", "policy": "drop"}
CLIENT = VMSettings.parse("client", {"timezone": "UTC", "firewall": FIREWALL, "require_running": True})
PROVIDER = VMSettings.parse("sys-net", {"timezone": "UTC"})
#: How often the watcher may wait or look in one test.
STEPS_MOST = 5000


class Stop(threading.Event):
    """What ends the watcher; a wait for it lets time pass."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def wait(self, timeout: float | None = None) -> bool:
        if timeout is None:
            self._world.waited_for_the_end += 1
            while not self.is_set():
                self._world.sleep(1.0)
        elif not self.is_set():
            self._world.waits.append(round(timeout, 3))
            self._world.sleep(timeout)
        return self.is_set()


class Pool:
    """Does the work at once, but for what the test holds back or has no thread for."""

    def __init__(self, world: World, workers: int) -> None:
        self.workers = workers
        self._world = world
        self._waiting: list[tuple[Future[None], Callable[..., None], tuple[object, ...]]] = []
        self.begun: list[Future[None]] = []

    def submit(self, work: Callable[..., None], *arguments: object) -> Future[None]:
        future: Future[None] = Future()
        self.begun.append(future)
        self._waiting.append((future, work, arguments))
        if self._world.threads <= 0:
            self._world.threads += 1
            raise self._world.no_thread
        self.go_on()
        return future

    def go_on(self) -> None:
        """Do what waits, in turn."""
        for one in list(self._waiting):
            future, work, arguments = one
            # What was begun in the middle of another may have done it.
            if one not in self._waiting or (work.__name__ == "_push_all" and self._world.holding):
                continue
            self._waiting.remove(one)
            if work.__name__ in self._world.hanging:
                future.set_running_or_notify_cancel()
                continue
            work(*arguments)
            future.set_result(None)

    def shutdown(self, *, wait: bool, cancel_futures: bool) -> None:
        assert not wait
        for future, _, _ in self._waiting if cancel_futures else ():
            future.cancel()


class Beside:
    """One of the parts that have tests of their own: what it was made of, and its thread."""

    def __init__(self, *made_of: Any) -> None:
        self.made_of = made_of
        self.thread: Any = None
        self.started: list[object] = []
        self.given: list[tuple[VMSettings, Callable[[], bool]]] = []

    def start(self, stop: object) -> Any:
        self.started.append(stop)
        return self.thread

    def give(self, settings: VMSettings, still: Callable[[], bool]) -> None:
        self.given.append((settings, still))

    def end(self) -> list[Any]:
        return [] if self.thread is None else [self.thread]


class Thread:
    """A thread beside the watcher, which ends after so many seconds of waiting for it."""

    def __init__(self, world: World, seconds: float) -> None:
        self._world, self._left = world, seconds
        self.joined: list[float] = []

    def join(self, timeout: float) -> None:
        self.joined.append(round(timeout, 3))
        self._world.sleep(min(timeout, self._left))
        self._left -= min(timeout, self._left)

    def is_alive(self) -> bool:
        return self._left > 0


class Agents:
    """In place of what waits for agents."""

    def __init__(self) -> None:
        self.made_of: tuple[Any, ...] = ()
        self.due = False
        self.inspected = 0
        self.there: set[str] = set()
        self.busy: list[set[str]] = []
        self.forgotten: list[str] = []
        self.noted: list[tuple[str, bool]] = []
        self.starting: list[tuple[dict[str, VMSettings], dict[str, int]]] = []

    def unmet(self, settings: dict[str, VMSettings], starting: dict[str, int]) -> None:
        self.starting.append((dict(settings), dict(starting)))

    def forget(self, vm: str) -> None:
        self.forgotten.append(vm)

    def inspect(self) -> None:
        self.inspected += 1
        self.due = False

    def take(self, busy: set[str]) -> set[str]:
        self.busy.append(set(busy))
        taken, self.there = self.there - busy, self.there & busy
        return taken

    def note(self, settings: VMSettings, outcome: Outcome, *, booting: bool) -> None:
        assert settings.vm == outcome.vm
        self.noted.append((outcome.vm, booting))


class World(Clock):
    """A dom0 in which things happen when the test says so, and a watcher that does all of its work on one thread."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.pillar: Any = None
        #: The running VMs, each with what marks its start, and those without a QubesDB.
        self.running: dict[str, tuple[int, ...]] = {}
        self.starting: dict[str, int] = {}
        self.asked: list[tuple[float, list[str]]] = []
        #: What opening stores, asking for VMs and watching them raise.
        self.broken: Exception | None = None
        self.unreachable: ConnectionLost | None = None
        self.watchless: ConnectionLost | None = None
        self.log: list[str] = []
        self.pushed: list[tuple[float, list[VMSettings]]] = []
        #: What a push of a VM comes to, in turn; the last one again and again.
        self.outcomes: dict[str, list[dict[str, Any]]] = {}
        self.fails: list[Exception] = []
        self.during: Callable[[], None] = lambda: None
        #: Whether pushes wait for their turn, and the names of what hangs.
        self.holding = False
        self.hanging: set[str] = set()
        #: Whether there is a thread; below 1, so many times there is none.
        self.threads = 1
        self.no_thread = RuntimeError("can't start new thread")
        self.unfinished_within: list[float] = []
        self.waited_for_the_end = 0
        self.opened = self.closed = self.unwatched = self._steps = 0
        self.watched: list[tuple[float, list[str]]] = []
        self._actions: list[tuple[float, Callable[[], object]]] = []
        self._events: list[tuple[float, ConnectionLost | None]] = []
        self.stop = Stop(self)
        self.agents = Agents()
        self.listener, self.follower, self.sessions = Beside(), Beside(), Beside()
        self.pools: list[Pool] = []
        for name, one in (("Listener", self.listener), ("MonitorFollower", self.follower)):
            monkeypatch.setattr(module, name, self._maker(one))
        monkeypatch.setattr(module, "SessionMonitors", self._maker(self.sessions))
        monkeypatch.setattr(module, "Boots", self._maker(self.agents))
        monkeypatch.setattr(module, "push", self._push)

    @staticmethod
    def _maker(one: Beside | Agents) -> Callable[..., Beside | Agents]:
        def make(*made_of: Any) -> Beside | Agents:
            one.made_of = made_of
            return one

        return make

    # What the watcher gets of the runtime.

    def event(self) -> threading.Event:
        return self.stop

    def pool(self, workers: int) -> Any:
        self.pools.append(Pool(self, workers))
        return self.pools[-1]

    def lock(self) -> Any:
        # Work begins in the middle of that of the same thread.
        return threading.RLock()

    def unfinished(self, futures: Any, seconds: float) -> Any:
        self.unfinished_within.append(seconds)
        return {one for one in futures if not one.done()}

    def sleep(self, seconds: float) -> None:
        self._step()
        end = self.now + seconds
        while self._actions and self._actions[0][0] <= end + 1e-9:
            self.now, action = self._actions.pop(0)
            action()
        self.now = max(self.now, end)

    # What it gets of dom0.

    def targets(self) -> Any:
        if self.broken is not None:
            raise self.broken
        self.opened += 1
        return self

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.closed += 1

    def _step(self) -> None:
        """Count what the watcher does; one that goes round and round ends here."""
        self._steps += 1
        assert self._steps < STEPS_MOST

    def starts(self, on_xenstore: list[str], starting: dict[str, int]) -> dict[str, tuple[int, ...]]:
        self._step()
        self.asked.append((round(self.now, 3), list(on_xenstore)))
        if self.unreachable is not None:
            raise self.unreachable
        starting.update(self.starting)
        return dict(self.running)

    @property
    def xenstore(self) -> World:
        if self.watchless is not None:
            raise self.watchless
        return self

    def watch(self, paths: Sequence[str]) -> World.Watch:
        self.watched.append((round(self.now, 3), list(paths)))
        return World.Watch(self)

    class Watch:
        def __init__(self, world: World) -> None:
            self._world = world

        def next(self, deadline: Deadline) -> None:
            world = self._world
            world.waits.append(round(deadline.remaining, 3))
            if world._events and world._events[0][0] <= world.now + deadline.remaining:
                at, error = world._events.pop(0)
                world.sleep(max(0.0, at - world.now))
                if error is not None:
                    raise error
                return
            world.sleep(deadline.remaining)
            raise DeadlineExceeded("no event")

        def close(self) -> None:
            self._world.unwatched += 1

    def _push(self, desired: list[VMSettings], targets: object, *, stop: object, open_locks: object) -> list[Outcome]:
        assert targets is self
        assert stop is self.stop
        assert open_locks == "locks"
        self.pushed.append((round(self.now, 3), list(desired)))
        self.during()
        if self.fails:
            raise self.fails.pop(0)
        return [Outcome(one.vm, **self._outcome(one.vm)) for one in desired]

    def _outcome(self, vm: str) -> dict[str, Any]:
        left = self.outcomes.get(vm, [{}])
        return left.pop(0) if len(left) > 1 else left[0]

    # What the test says and sees.

    def at(self, seconds: float, *actions: Callable[[], object]) -> None:
        """Let that happen then."""
        self._actions += [(seconds, action) for action in actions]
        self._actions.sort(key=lambda one: one[0])

    def event_at(self, *times: float, error: ConnectionLost | None = None) -> None:
        """Let an event of the XenStore, or the end of the connection to it, come at these *times*."""
        self._events += [(at, error) for at in times]

    def started(self, vm: str, mark: int = 1) -> Callable[[], None]:
        return lambda: self.running.update({vm: (mark,)})

    def stopped(self, vm: str) -> Callable[[], object]:
        return lambda: self.running.pop(vm)

    @property
    def heard(self) -> Heard:
        """What the watcher has given to the listener."""
        one = self.listener.made_of[1]
        assert isinstance(one, Heard)
        return one

    def run(self, *settings: VMSettings, until: float) -> bool:
        """Let the watcher work for so long with a pillar of *settings*; return whether all has ended then."""
        if settings:
            self.pillar = Pillar(*settings)
        locks: Any = "locks"
        self.at(until, self.stop.set)
        return Watcher(self.pillar, self.targets, self.log.append, open_locks=locks).run(self.stop)

    @property
    def pushes(self) -> list[tuple[float, list[str]]]:
        """When was pushed, and to whom."""
        return [(at, [one.vm for one in some]) for at, some in self.pushed]

    def times(self, vm: str = "work") -> list[float]:
        return [at for at, some in self.pushes if vm in some]


class Pillar:
    """A pillar that changes when the test says so."""

    path = "pillar"

    def __init__(self, *settings: VMSettings) -> None:
        self.settings = {one.vm: one for one in settings}
        self.new: list[VMSettings | InvalidValue] = []

    def renewed(self) -> bool:
        new, self.new = self.new, []
        for one in new:
            if isinstance(one, InvalidValue):
                raise one
        self.settings = {one.vm: one for one in new if isinstance(one, VMSettings)} or self.settings
        return bool(new)
