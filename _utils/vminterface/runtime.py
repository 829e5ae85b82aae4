"""Where this library's time and its side-by-side work come from: this machine's clock and threads, or a simulation's.

What waits, or has to know how late it is, asks here and not ``time``; what runs several tasks at once takes its pools,
threads and locks from here and not from ``threading``. So a simulation, which calls :func:`use` once, can put virtual
time and an order of its own in their place, and the code that it runs is the code that is shipped.
"""

from __future__ import annotations

import time

TYPE_CHECKING = False  # as the type checker takes it; importing typing would cost every short-lived program time
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Executor, Future
    from contextlib import AbstractContextManager
    from threading import Event, Thread
    from typing import Any


class Runtime:
    """This machine's; a simulation overrides all of it."""

    def monotonic(self) -> float:
        """Return seconds on a clock that never goes back."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Do nothing for so long."""
        time.sleep(seconds)

    def pool(self, workers: int) -> Executor:
        """Return a pool that runs up to so many tasks at once."""
        from concurrent.futures import ThreadPoolExecutor

        return ThreadPoolExecutor(workers)

    def unfinished(self, futures: Iterable[Future[Any]], seconds: float) -> set[Future[Any]]:
        """Wait until *futures* are done, so long at most; return those that are not."""
        from concurrent.futures import wait

        return set(wait(futures, seconds).not_done)

    def lock(self) -> AbstractContextManager[Any]:
        """Return a lock between concurrent tasks."""
        from threading import Lock

        return Lock()

    def event(self) -> Event:
        """Return an event that concurrent tasks can wait for."""
        from threading import Event

        return Event()

    def thread(self, work: Callable[..., None], *arguments: object, name: str | None = None) -> Thread:
        """Return a thread that does *work* once it is started, and for which nobody waits at the program's end."""
        from threading import Thread

        return Thread(target=work, args=arguments, name=name, daemon=True)


#: Bound anew by :func:`use`; called as ``runtime.monotonic()``. These two are called most, and go past the class.
monotonic: Callable[[], float] = time.monotonic
sleep: Callable[[float], None] = time.sleep
pool: Callable[[int], Executor]
unfinished: Callable[[Iterable[Future[Any]], float], set[Future[Any]]]
lock: Callable[[], AbstractContextManager[Any]]
event: Callable[[], Event]
thread: Callable[..., Thread]


def use(other: Runtime) -> None:
    """Take time, pools and locks from *other* from now on."""
    global monotonic, sleep, pool, unfinished, lock, event, thread
    monotonic, sleep = (time.monotonic, time.sleep) if type(other) is Runtime else (other.monotonic, other.sleep)
    pool, unfinished, lock, event, thread = other.pool, other.unfinished, other.lock, other.event, other.thread


use(Runtime())
