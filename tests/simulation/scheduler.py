"""One seeded scheduler, virtual time, and the processes that run in it: every wait of theirs is a switch to it.

A task is a greenlet, so that synchronous code runs as it is, and nothing else runs until it waits. Whatever is to
happen is an event at a virtual time; of those at the same time a number from the seed decides. Nothing here knows what
the processes do.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import traceback
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager
from functools import partial
from random import Random
from types import TracebackType
from typing import Any, Self, cast

from greenlet import GreenletExit, greenlet

from vminterface import runtime


class _TimedOut:
    """What a task is woken with when its time has come."""


TIMED_OUT = _TimedOut()


#: Seconds between two messages of one stream at least: what is sent first arrives first.
APART = 1e-9


#: Steps of a run at most: one that turns in a circle without time passing ends as well.
STEPS_MAX = 100_000


class Process:
    """A program of the simulated host: its tasks die, stop and go on together.

    *delays* draws how long each of its requests is on its way; two streams of random numbers never disturb each other,
    so that a process that is left out does not change what the others draw.
    """

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.random = Random(f"{world.seed} {name}")
        self._dice = self.random.random
        self.alive = True
        #: What has to happen when it goes on again; None: it is not stopped.
        self.held: list[Callable[[], None]] | None = None
        #: What the kernel does at its end, such as closing its sockets.
        self.at_end: list[Callable[[], None]] = []
        self.tasks: list[Task] = []

    def start(self, work: Callable[[], Any]) -> Task:
        """Let it do *work* beside what it does already."""
        task = Task(self, work)
        self.tasks.append(task)
        self.world.soon(task.begin, self.random)
        return task

    def kill(self) -> None:
        """End it as kill -9 does: nothing of its code runs again."""
        if self.alive:
            self.alive, self.held = False, None
            self.world.note(self.name, "is killed")
            for end in list(self.at_end):
                end()

    def stop(self) -> None:
        """Let nothing of it run until :meth:`go_on`, as SIGSTOP does."""
        if self.alive and self.held is None:
            self.held = []
            self.world.note(self.name, "is stopped")

    def go_on(self) -> None:
        """Undo :meth:`stop`."""
        if self.held is not None:
            held, self.held = self.held, None
            self.world.note(self.name, "goes on")
            for one in held:
                self.world.soon(one, self.random)

    @property
    def done(self) -> bool:
        """Whether all of its tasks have ended."""
        return not self.alive or all(task.ended for task in self.tasks)

    def delay(self) -> float:
        """Draw how long a message is on its way, in seconds: mostly well below a millisecond."""
        dice = self._dice()
        if dice < 0.75:
            return dice * 0.0004
        if dice < 0.97:
            return (dice - 0.75) * 0.05
        return self._dice() * self.world.slowest


class Task:
    """One thread of a process."""

    def __init__(self, process: Process, work: Callable[[], Any]) -> None:
        self.process = process
        self.ended = False
        #: The number of the wait that it is in, or comes to next: what wakes that wakes no later one.
        self.ticket = 0
        self._work = work
        self._greenlet = greenlet(self._run, process.world.hub)

    def _run(self, first: Any) -> None:
        try:
            self._work()
        except GreenletExit:
            return
        except BaseException as error:
            self.process.world.failed(self.process.name, error)
        self.ended = True

    def begin(self) -> None:
        """Run for the first time."""
        if self.process.held is not None:
            self.process.held.append(self.begin)
        elif self.process.alive:
            self._go_on(None)

    def wake(self, ticket: int, value: Any) -> None:
        """Let it go on with *value* if it still waits with *ticket*."""
        if ticket != self.ticket or not self.process.alive:
            return
        if self.process.held is not None:
            self.process.held.append(partial(self.wake, ticket, value))
            return
        self.ticket += 1
        self._go_on(value)

    def _go_on(self, value: Any) -> None:
        world = self.process.world
        before, world.current = world.current, self
        self._greenlet.switch(value)
        world.current = before

    def abandon(self) -> None:
        """Unwind what is left of it; the world is over by then, and each of its waits raises."""
        if not self._greenlet.dead and self._greenlet.gr_frame is not None:
            self.process.world.current = self
            self._greenlet.throw(GreenletExit)


class World(runtime.Runtime):
    """The clock, the order of events, and what has been noted of them."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.now = 0.0
        self.over = False
        self.random = Random(f"{seed} world")
        self.processes: list[Process] = []
        self.current: Task | None = None
        #: Seconds that the slowest messages take.
        self.slowest = 0.02
        #: What happened, in plain words: when, who, what.
        self.story: list[tuple[float, str, str]] = []
        #: Errors that no code of ours expects, by process.
        self.crashes: list[tuple[str, str]] = []
        self.steps = 0
        self._events: list[tuple[float, float, int, Callable[[], None]]] = []
        self._count = itertools.count()
        self.hub = greenlet.getcurrent()

    def process(self, name: str) -> Process:
        """Make a process; it does nothing yet."""
        process = Process(self, name)
        self.processes.append(process)
        return process

    def note(self, who: str, what: str) -> None:
        """Add a line to the story."""
        self.story.append((self.now, who, what))

    def failed(self, who: str, error: BaseException) -> None:
        """Take the unexpected end of a task."""
        text = "".join(traceback.format_exception(error))
        self.note(who, f"ends with an unexpected {type(error).__name__}: {error}")
        self.crashes.append((who, text))

    def at(self, when: float, what: Callable[[], None], random: Random | None = None) -> None:
        """Let *what* happen at a time, or now where that has passed."""
        order = (random or self.random).random()
        heapq.heappush(self._events, (when if when > self.now else self.now, order, next(self._count), what))

    def soon(self, what: Callable[[], None], random: Random | None = None) -> None:
        """Let *what* happen now, in an order that the seed decides."""
        self.at(self.now, what, random)

    def run(self, until: float, task: Task | None = None) -> bool:
        """Let things happen until *task* has ended; return False where *until*, or STEPS_MAX, comes before."""
        events, take = self._events, heapq.heappop
        while task is None or not task.ended:
            if not events or events[0][0] > until or self.steps >= STEPS_MAX:
                return False
            self.now, _, _, what = take(events)
            self.steps += 1
            what()
        return True

    def end(self) -> None:
        """Unwind all tasks: every wait from now on raises GreenletExit."""
        self.over = True
        for process in self.processes:
            for task in process.tasks:
                task.abandon()
        self.current = None

    def waker(self) -> Callable[[Any], None]:
        """Return what ends the next wait of the current task, which gets what it is called with."""
        task = self.running()
        return partial(task.wake, task.ticket)

    def wait(self, until: float | None) -> Any:
        """Let the current task wait until its waker is called, or until a time: TIMED_OUT."""
        task = self.running()
        if until is not None:
            self.at(until, partial(task.wake, task.ticket, TIMED_OUT), task.process.random)
        return self.hub.switch()

    def running(self) -> Task:
        """Return the task that asks. Raises GreenletExit once the world is over."""
        if self.over:
            raise GreenletExit
        assert self.current is not None, "nothing but a task can wait"
        return self.current

    # What the library under test asks a runtime for.

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.wait(self.now + max(0.0, seconds))

    def pool(self, workers: int) -> Executor:
        return _Pool(self, workers)

    def unfinished(self, futures: Iterable[Future[Any]], seconds: float) -> set[Future[Any]]:
        until = self.now + seconds
        for one in list(futures):
            if not one.done():
                cast("_Future", one).wait(until)
        return {one for one in futures if not one.done()}

    def lock(self) -> AbstractContextManager[Any]:
        return _Lock(self)

    def event(self) -> threading.Event:
        return Event(self)

    def thread(self, work: Callable[..., None], *arguments: object, name: str | None = None) -> threading.Thread:
        return _Thread(self, lambda: work(*arguments))


class Event(threading.Event):
    """An event whose wait takes virtual time."""

    def __init__(self, world: World) -> None:
        # Without the base's lock, which takes longer to make than all the rest.
        self._world = world
        self._set = False
        self._waiting: list[Callable[[Any], None]] = []

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True
        waiting, self._waiting = self._waiting, []
        for wake in waiting:
            self._world.soon(partial(wake, True))

    def clear(self) -> None:
        self._set = False

    def wait(self, timeout: float | None = None) -> bool:
        if not self._set:
            until = None if timeout is None else self._world.now + max(0.0, timeout)
            self._waiting.append(self._world.waker())
            self._world.wait(until)
        return self._set


class _Thread(threading.Thread):
    """A task of the process that has made it."""

    def __init__(self, world: World, work: Callable[[], None]) -> None:
        super().__init__()
        self._process, self._work, self._over = world.running().process, work, Event(world)

    def start(self) -> None:
        self._process.start(self._do)

    def _do(self) -> None:
        try:
            self._work()
        finally:
            self._over.set()

    def is_alive(self) -> bool:
        return not self._over.is_set()

    def join(self, timeout: float | None = None) -> None:
        self._over.wait(timeout)


class _Lock(AbstractContextManager[None]):
    def __init__(self, world: World) -> None:
        self._world = world
        self._held = False
        self._waiting: list[Callable[[Any], None]] = []

    def __enter__(self) -> None:
        while self._held:
            self._waiting.append(self._world.waker())
            self._world.wait(None)
        self._held = True

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._held = False
        waiting, self._waiting = self._waiting, []
        for wake in waiting:
            self._world.soon(partial(wake, None))


class _Future(Future[Any]):
    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def wait(self, until: float | None) -> None:
        if not self.done():
            wake = partial(self._world.waker(), None)
            self.add_done_callback(lambda _: self._world.soon(wake))
            self._world.wait(until)

    def result(self, timeout: float | None = None) -> Any:
        self.wait(None)
        return super().result(0)


class _Pool(Executor):
    """Tasks of the process that has made it, so many at a time."""

    def __init__(self, world: World, workers: int) -> None:
        self._world, self._process, self._workers = world, world.running().process, workers
        self._queue: list[tuple[_Future, Callable[[], Any]]] = []
        self._running = 0
        self._all: list[_Future] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future = _Future(self._world)
        self._all.append(future)
        self._queue.append((future, lambda: fn(*args, **kwargs)))
        if self._running < self._workers:
            self._running += 1
            self._process.start(self._work)
        return future

    def _work(self) -> None:
        while self._queue:
            future, work = self._queue.pop(0)
            if not future.set_running_or_notify_cancel():
                continue
            try:
                value = work()
            except GreenletExit:
                raise
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(value)
        self._running -= 1

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        if cancel_futures:
            for future, _ in self._queue:
                future.cancel()
        if wait:
            for one in self._all:
                one.wait(None)

    def __enter__(self) -> Self:
        return self
