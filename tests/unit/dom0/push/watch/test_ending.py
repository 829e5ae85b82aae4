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


def test_what_the_work_raises_is_raised() -> None:
    error = ZeroDivisionError("x")

    def work(stop: threading.Event) -> bool:
        raise error

    with pytest.raises(ZeroDivisionError) as raised:
        ending.run(work)
    assert raised.value is error


def test_work_that_does_not_end_is_left_behind_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 0 < ending.TAKE_BACK < ending.END < 2
    monkeypatch.setattr(ending, "END", 0.2)
    over = threading.Event()

    def work(stop: threading.Event) -> bool:
        # Python would wait for another kind of thread at its end.
        assert threading.current_thread().daemon
        stop.set()
        return over.wait(20)

    begin = time.monotonic()
    assert not ending.run(work)
    assert time.monotonic() - begin < 10
    over.set()
