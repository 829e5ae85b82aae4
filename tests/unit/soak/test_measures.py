"""What a process takes is measured over its own life, and never taken for that of another with its number."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from tests.soak.measures import DESCRIPTORS, MEMORY, THREADS, Samples, identify, measure


def test_this_process_has_memory_descriptors_and_threads(tmp_path: Path) -> None:
    own = identify(os.getpid())
    assert own is not None
    before = measure(own)
    assert before is not None
    assert before[MEMORY] > 1000
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    with open(tmp_path / "file", "w"):
        during = measure(own)
    stop.set()
    thread.join()
    assert during is not None
    assert during[DESCRIPTORS] == before[DESCRIPTORS] + 1
    assert during[THREADS] == before[THREADS] + 1


def test_another_process_with_the_same_number_is_none() -> None:
    own = identify(os.getpid())
    assert own is not None
    assert measure((own[0], own[1] + 1)) is None
    assert identify(2**22 + 1) is None


def test_samples_are_by_kind_and_process_and_may_be_cut() -> None:
    samples = Samples()
    for now in (1.0, 2.0, 3.0):
        samples.take(now, [("mine", os.getpid()), ("gone", 2**22 + 1)])
    (found,) = samples.kinds()["mine"]
    assert [at for at, _ in found[MEMORY]] == [1.0, 2.0, 3.0]
    (late,) = samples.kinds(since=2.0)["mine"]
    assert [at for at, _ in late[THREADS]] == [2.0, 3.0]
    assert list(samples.kinds()) == ["mine"]
