"""Many stores at once: few are spoken to at a time, waiting takes nobody's place, and no fault is lost."""

from __future__ import annotations

import signal
import threading
import time
from typing import Any

import pytest

from vminterface.dom0.inventory.groups import AT_ONCE, run
from vminterface.errors import ConnectionLost


class Counter:
    """Counts how many are inside at once."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)

    def __exit__(self, *error: None) -> None:
        with self._lock:
            self.now -= 1


def test_at_most_sixteen_are_spoken_to_at_once_and_all_wait_together() -> None:
    speaking, waiting = Counter(), Counter()
    all_wait = threading.Barrier(60)

    def speak(group: Any) -> Any:
        with speaking:
            time.sleep(0.01)
        return group

    def wait(group: Any) -> None:
        with waiting:
            all_wait.wait(10)

    run(range(60), speak, wait)
    assert 1 < speaking.most <= AT_ONCE
    assert waiting.most == 60


def test_those_that_have_said_all_are_not_waited_for() -> None:
    waited: list[int] = []
    run(range(40), lambda group: group if group % 2 else None, waited.append)
    assert sorted(waited) == list(range(1, 40, 2))


def test_a_late_one_holds_up_no_other() -> None:
    done = []
    late = threading.Event()

    def speak(group: Any) -> None:
        if group == 0:
            assert late.wait(10)
        done.append(group)
        if len(done) == 99:
            late.set()

    run(range(100), speak, lambda left: None)
    assert done[-1] == 0


def test_one_alone_needs_no_thread() -> None:
    here = []
    run(["only"], lambda group: group, lambda left: here.append((left, threading.current_thread())))
    assert here == [("only", threading.main_thread())]
    run([], here.append, here.append)
    assert len(here) == 1


@pytest.mark.parametrize("when", ["speak", "wait"])
@pytest.mark.parametrize("groups", [range(1), range(50)])
def test_a_fault_comes_out_once_all_have_had_their_turn(when: str, groups: range) -> None:
    had = []

    def turn(what: Any, group: Any) -> Any:
        had.append((what, group))
        if what == when and group == 0:
            raise ConnectionLost("gone")
        return group

    with pytest.raises(ConnectionLost, match="gone"):
        run(groups, lambda group: turn("speak", group), lambda group: turn("wait", group))
    assert {group for what, group in had if what == "speak"} == set(groups)


def test_an_interruption_lets_those_that_have_begun_end_and_no_other_begin() -> None:
    begun: list[int] = []
    waited: list[int] = []

    def speak(group: Any) -> Any:
        begun.append(group)
        time.sleep(0.2)
        if group == 0:
            signal.raise_signal(signal.SIGINT)  # heard by the main thread, which has handed out all by now
        return group

    with pytest.raises(KeyboardInterrupt):
        run(range(500), speak, waited.append)
    assert sorted(waited) == sorted(begun)
    assert len(begun) < 4 * AT_ONCE
