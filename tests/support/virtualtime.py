"""Time that passes where somebody waits, and threads that run where they are started: nothing of it takes time."""

from __future__ import annotations

import threading
from collections.abc import Callable

from vminterface import runtime

#: How often a test may let time pass: what goes round and round ends here.
STEPS_MOST = 20_000


class Clock(runtime.Runtime):
    """What a test gives to ``runtime.use``. ``waits`` has the seconds of each wait for an event."""

    def __init__(self) -> None:
        self.now = 0.0
        self._passed = 0
        self.waits: list[float] = []
        #: What is called at each wait.
        self.meanwhile: Callable[[], None] = lambda: None

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self._passed += 1
        assert self._passed < STEPS_MOST
        self.now += seconds

    def event(self) -> threading.Event:
        return _Event(self)

    def thread(self, work: Callable[..., None], *arguments: object, name: str | None = None) -> threading.Thread:
        return _Thread(target=work, args=arguments, name=name)


class _Event(threading.Event):
    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self._clock.waits.append(timeout)
        self._clock.sleep(timeout)
        self._clock.meanwhile()
        return self.is_set()


class _Thread(threading.Thread):
    def start(self) -> None:
        self.run()
