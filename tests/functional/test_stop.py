"""The word that threads shall end: for one that waits for devices, and for the main one, which waits for signals."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vminterface.stop import Stop, wait_for
from vminterface.vm.machine.machine import Machine
from vminterface.vm.report.uevents import Uevents


def test_it_is_an_event_and_readable_once_it_is_set() -> None:
    stop = Stop()
    assert not stop.is_set()
    assert select.select([stop], [], [], 0)[0] == []
    stop.set()
    stop.set()
    assert stop.wait(0)
    assert select.select([stop], [], [], 0)[0] == [stop]


def test_its_descriptors_end_with_it() -> None:
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        Stop()
        Stop().set()
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("is_whole", [True, False])
def test_who_waits_for_devices_is_woken_by_it_at_once(tmp_path: Path, is_whole: bool) -> None:
    stop = Stop()
    with Uevents(Machine("/" if is_whole else str(tmp_path)), "usb") as events:
        timer = threading.Timer(0.3, stop.set)
        timer.start()
        began = time.monotonic()
        assert not events.wait(20.0, stop)
        assert time.monotonic() - began < 10
        timer.join()


def in_another_thread(number: int) -> threading.Thread:
    """Let a thread that is none but itself be given a signal, as the kernel may choose it."""
    thread = threading.Thread(target=lambda: signal.pthread_kill(threading.get_ident(), number))
    threading.Timer(0.3, thread.start).start()
    return thread


@pytest.fixture
def handled() -> Iterator[list[Stop]]:
    """SIGUSR1 sets all of the list."""
    stops: list[Stop] = []

    def set_all(*_: object) -> None:
        for stop in stops:
            stop.set()

    former = signal.signal(signal.SIGUSR1, set_all)
    yield stops
    signal.signal(signal.SIGUSR1, former)


def test_a_signal_that_another_thread_gets_ends_the_wait(handled: list[Stop]) -> None:
    handled.append(Stop())
    in_another_thread(signal.SIGUSR1)
    late = threading.Timer(10, handled[0].set)
    late.start()
    began = time.monotonic()
    wait_for(handled[0])
    late.cancel()
    assert time.monotonic() - began < 9


def test_an_event_loop_is_told_of_the_signals_that_came_meanwhile(handled: list[Stop]) -> None:
    handled.append(Stop())
    reader, writer = os.pipe2(os.O_NONBLOCK)
    former = signal.set_wakeup_fd(writer)
    try:
        in_another_thread(signal.SIGUSR1)
        wait_for(handled[0])
        assert os.read(reader, 10) == bytes([signal.SIGUSR1])
        signal.raise_signal(signal.SIGUSR1)
        assert os.read(reader, 10) == bytes([signal.SIGUSR1])
    finally:
        assert signal.set_wakeup_fd(former) == writer
        os.close(reader)
        os.close(writer)
