"""The word that the threads of an agent shall end."""

from __future__ import annotations

import os
import select
import threading
import time
from pathlib import Path

import pytest

from vminterface.vm.machine.machine import Machine
from vminterface.vm.machine.stop import Stop
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
