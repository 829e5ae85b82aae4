"""A VM gets its monitors once its session is up: how long that is waited for, and how often they are tried."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import pytest

from tests.support.virtualtime import Clock
from vminterface import runtime
from vminterface.deadline import Deadline
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.push.outcome import Outcome
from vminterface.dom0.push.watch import sessions as module
from vminterface.dom0.push.watch.sessions import SessionMonitors
from vminterface.dom0.services import session
from vminterface.errors import DeadlineExceeded, ProgramMissing, ServiceNotFound, StoreError
from vminterface.values.change import Change

WORK = VMSettings.parse(
    "work",
    {"monitors": [{"width": 640, "height": 480, "x": 0, "y": 0}], "timezone": "UTC", "require_running": True},
)
FOLLOWING = VMSettings.parse("work", {"monitors": "from_dom0"})
CHANGED: dict[str, Change[Any]] = {"monitors": Change("none", [])}
LATE = DeadlineExceeded("work: no session")


class Watcher:
    """One VM that has started: what each question for its session and each push comes to."""

    def __init__(self, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = clock
        self.log: list[str] = []
        #: The errors of the questions, None for a session that is up; the last one again and again.
        self.session: list[Exception | None] = [None]
        self.outcomes: list[Outcome | Exception] = [Outcome("work", CHANGED)]
        self.asked: list[float] = []
        self.pushed: list[VMSettings] = []
        self.is_up = True
        targets: Any = nullcontext("targets")
        self.monitors = SessionMonitors(lambda: targets, self.log.append)
        #: What is called at each question and at each push.
        self.at_question: Callable[[], None] = lambda: None
        self.at_push: Callable[[], None] = lambda: None

        def wait(qrexec: object, vm: str, *, deadline: Deadline) -> None:
            assert vm == "work"
            self.asked.append(deadline.seconds)
            self.at_question()
            clock.sleep(0.5)
            error = self.session.pop(0) if len(self.session) > 1 else self.session[0]
            if error is not None:
                raise error

        def push(settings: Sequence[VMSettings], targets: object, *, stop: threading.Event) -> list[Outcome]:
            assert (targets, stop) == ("targets", self.monitors._stop)
            self.pushed += settings
            self.at_push()
            outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
            if isinstance(outcome, Exception):
                raise outcome
            return [outcome]

        monkeypatch.setattr(session, "wait", wait)
        monkeypatch.setattr(module, "push", push)
        monkeypatch.delenv("DISPLAY", raising=False)

    def give(self, settings: VMSettings = WORK) -> None:
        self.monitors.give(settings, lambda: self.is_up)

    def end_start(self) -> None:
        self.is_up = False


@pytest.fixture
def watcher(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Watcher:
    return Watcher(clock, monkeypatch)


def test_the_monitors_alone_are_pushed_once_the_session_is_up(watcher: Watcher) -> None:
    watcher.session = [LATE, LATE, None]
    watcher.give()
    assert watcher.asked == [10.0, 10.0, 10.0]
    assert watcher.clock.waits == [1.0, 1.0]
    (one,) = watcher.pushed
    assert (one.vm, dict(one.desired), one.require_running, one.monitors) == ("work", {}, False, WORK.monitors)
    assert watcher.log == ["work: monitors set"]


def test_a_vm_that_has_no_such_service_is_not_waited_for(watcher: Watcher) -> None:
    watcher.session = [ServiceNotFound("there is none")]
    watcher.give()
    assert (len(watcher.asked), len(watcher.pushed), watcher.clock.waits) == (1, 1, [])


@pytest.mark.parametrize("outcome", [Outcome("work"), Outcome("work", CHANGED, running=False)])
def test_where_nothing_has_changed_nothing_is_said(watcher: Watcher, outcome: Outcome) -> None:
    watcher.outcomes = [outcome]
    watcher.give()
    assert (len(watcher.pushed), watcher.log) == (1, [])


def test_a_session_that_does_not_come_up_is_given_up_after_three_minutes(watcher: Watcher) -> None:
    watcher.session = [LATE]
    watcher.give()
    assert watcher.log == ["work: its monitors are not sent: work: no session"]
    assert 180.0 < watcher.clock.now <= 181.5
    assert watcher.pushed == []


def test_a_host_without_qrexec_is_said_at_once(watcher: Watcher) -> None:
    watcher.session = [ProgramMissing("no qrexec here")]
    watcher.give()
    assert watcher.log == ["work: its monitors are not sent: no qrexec here"]
    assert watcher.clock.waits == []


def test_a_vm_that_is_gone_before_its_session_is_up_is_left(watcher: Watcher) -> None:
    watcher.session = [LATE]
    watcher.clock.meanwhile = watcher.end_start
    watcher.give()
    assert (len(watcher.asked), watcher.pushed, watcher.log) == (1, [], [])


def test_nothing_is_said_of_a_start_that_is_over(watcher: Watcher) -> None:
    watcher.session = [ProgramMissing("no qrexec here")]
    watcher.at_question = watcher.end_start
    watcher.give()
    assert watcher.log == []


def test_a_push_that_fails_is_tried_six_times_with_growing_pauses(watcher: Watcher) -> None:
    watcher.outcomes = [Outcome("work", error=StoreError("work: no"))]
    watcher.give()
    assert watcher.log == [
        *(f"work: no; next attempt in {pause} s" for pause in (1, 2, 4, 8, 16)),
        "work: no; no further attempt until its next start",
    ]
    assert watcher.clock.waits == [1.0, 2.0, 4.0, 8.0, 16.0, 0.0]
    assert len(watcher.pushed) == 6


def test_the_first_that_succeeds_is_the_last(watcher: Watcher) -> None:
    watcher.outcomes = [Outcome("work", error=StoreError("work: no")), Outcome("work", CHANGED)]
    watcher.give()
    assert watcher.log == ["work: no; next attempt in 1 s", "work: monitors set"]
    assert len(watcher.pushed) == 2


def test_a_vm_that_stops_between_two_attempts_is_left(watcher: Watcher) -> None:
    watcher.outcomes = [Outcome("work", error=StoreError("work: no"))]
    watcher.clock.meanwhile = watcher.end_start
    watcher.give()
    assert (len(watcher.pushed), len(watcher.log)) == (1, 1)


def test_a_failure_of_a_push_whose_vm_has_stopped_meanwhile_is_not_said(watcher: Watcher) -> None:
    watcher.outcomes = [Outcome("work", error=StoreError("work: no"))]
    watcher.at_push = watcher.end_start
    watcher.give()
    assert (len(watcher.pushed), watcher.log, watcher.clock.waits) == (1, [], [])


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            MemoryError(),
            "this process gets no more memory or threads (expected more: see ulimit, MemoryMax=, TasksMax=)",
        ),
        (ZeroDivisionError("x"), "unexpected ZeroDivisionError: x"),
    ],
)
def test_no_thread_ends_in_silence(watcher: Watcher, error: Exception, words: str) -> None:
    watcher.outcomes = [error]
    watcher.give()
    assert watcher.log == [f"work: its monitors are not sent: {words}"]


def test_settings_without_monitors_wait_for_nothing(watcher: Watcher) -> None:
    watcher.give(VMSettings.parse("work", {"timezone": "UTC"}))
    assert (watcher.asked, watcher.log) == ([], [])


def test_monitors_of_dom0_need_a_display_which_is_said_once(watcher: Watcher, monkeypatch: pytest.MonkeyPatch) -> None:
    watcher.give(FOLLOWING)
    assert len(watcher.log) == 1
    watcher.give(FOLLOWING)
    assert watcher.log == ["work: monitors from_dom0 are not sent, as the watcher has no DISPLAY"]
    assert watcher.asked == []
    monkeypatch.setenv("DISPLAY", ":0")
    watcher.give(FOLLOWING)
    assert [one.monitors for one in watcher.pushed] == [FOLLOWING.monitors]


@pytest.mark.parametrize(("text", "ours"), [("can't start new thread", True), ("something else", False)])
def test_where_no_thread_can_be_started_the_vm_goes_without(
    watcher: Watcher, monkeypatch: pytest.MonkeyPatch, text: str, ours: bool
) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError(text)

    monkeypatch.setattr(type(runtime.thread(lambda: None)), "start", start)
    if not ours:
        with pytest.raises(RuntimeError, match="something else"):
            watcher.give()
        return
    watcher.give()
    (line,) = watcher.log
    assert line.startswith("work: its monitors are not sent: this process gets no more memory or threads")
    assert watcher.monitors.end() == []


class Waiting(threading.Thread):
    """A thread that waits for a session until it is let go."""

    alive = True

    def start(self) -> None:
        """It is at work from now on."""

    def is_alive(self) -> bool:
        return self.alive


def test_all_threads_end_soon_once_the_watcher_is_to_end(watcher: Watcher, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[Waiting] = []

    def thread(work: Callable[..., None], *arguments: Any, name: str) -> Waiting:
        assert name == "monitors of work"
        threads.append(Waiting(target=work, args=arguments))
        return threads[-1]

    monkeypatch.setattr(runtime, "thread", thread)
    watcher.give()
    watcher.give()
    threads[0].alive = False
    watcher.give()
    waits = list(watcher.monitors._waits.values())
    waits[-1].deadline = Deadline.after(10.0)
    assert watcher.monitors.end() == threads[1:]
    assert waits[-1].deadline.passed
    assert watcher.monitors._stop.is_set()
    threads[1].run()
    assert (watcher.asked, watcher.pushed) == ([], [])
