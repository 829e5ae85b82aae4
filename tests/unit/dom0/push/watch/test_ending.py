"""A signal ends the watcher, whichever thread the kernel gives it to."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator

import pytest

from vminterface.dom0.push.watch import ending

NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@pytest.fixture(autouse=True)
def put_back() -> Iterator[None]:
    former = {number: signal.getsignal(number) for number in NUMBERS}
    yield
    for number, handler in former.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_that_another_thread_gets(number: signal.Signals) -> None:
    def work(stop: threading.Event) -> bool:
        time.sleep(0.3)  # the main thread waits by now
        signal.pthread_kill(threading.get_ident(), number)
        return stop.wait(20)

    assert ending.run(work)
