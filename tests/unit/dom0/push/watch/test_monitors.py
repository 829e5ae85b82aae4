"""dom0's monitors are compared every two seconds; what is the same at two looks goes to the VMs that follow them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import pytest

from tests.support.virtualtime import Clock
from vminterface import runtime
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.push.outcome import Outcome
from vminterface.dom0.push.watch import monitors as module
from vminterface.dom0.push.watch.monitors import MonitorFollower
from vminterface.dom0.services import monitors
from vminterface.errors import DeadlineExceeded, InvalidValue, ProgramMissing
from vminterface.values.change import Change
from vminterface.values.monitor import MonitorLayout

FOLLOWING = VMSettings.parse("work", {"monitors": "from_dom0", "require_running": True, "timezone": "UTC"})
FIXED = VMSettings.parse("fixed", {"monitors": [{"width": 640, "height": 480, "x": 0, "y": 0}]})
SCALED = VMSettings.parse("scaled", {"monitors": {"from_dom0": True, "dpi": 192}})
CHANGED: dict[str, Change[Any]] = {"monitors": Change("none", [])}


def layout(width: int) -> MonitorLayout:
    return MonitorLayout.from_mappings([{"width": width, "height": 800, "x": 0, "y": 0}])


A, B, C = (layout(width) for width in (1000, 2000, 3000))
Look = MonitorLayout | Exception


class Display:
    """What dom0's X server has at each look, and what comes of it; the watcher ends after the last."""

    def __init__(self, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = clock
        self.looks: list[Look] = []
        self.log: list[str] = []
        self.settings: list[VMSettings] = [FOLLOWING, FIXED]
        self.pushed: list[VMSettings] = []
        self.outcome: dict[str, Any] = {"changes": CHANGED}
        self.asked: list[dict[str, Any]] = []
        self.before: list[Callable[[], None]] = []
        self.stop = runtime.event()

        def of_dom0(**options: Any) -> MonitorLayout:
            self.asked.append(options)
            look = self.looks.pop(0)
            if isinstance(look, Exception):
                raise look
            return look

        def push(settings: Sequence[VMSettings], targets: object, *, stop: object) -> list[Outcome]:
            assert (targets, stop) == ("targets", self.stop)
            self.pushed += settings
            return [Outcome(one.vm, **self.outcome) for one in settings]

        monkeypatch.setattr(monitors, "of_dom0", of_dom0)
        monkeypatch.setattr(module, "push", push)
        monkeypatch.setenv("DISPLAY", ":0")

    def follow(self, *looks: Look) -> list[int]:
        """Let the display be so at each look; return the widths that VMs were given."""
        self.looks = [*looks]

        def meanwhile() -> None:
            if not self.looks:
                self.stop.set()

        self.clock.meanwhile = meanwhile
        targets: Any = nullcontext("targets")
        settings = lambda: {one.vm: one for one in self.settings}  # noqa: E731
        assert MonitorFollower(settings, lambda: targets, self.log.append).start(self.stop) is not None
        layouts = [one.monitors for one in self.pushed]
        return [next(iter(one)).width for one in layouts if isinstance(one, MonitorLayout)]


@pytest.fixture
def display(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Display:
    return Display(clock, monkeypatch)


def test_what_dom0_has_at_first_is_no_change(display: Display) -> None:
    assert display.follow(A, A, A) == []
    assert display.clock.waits == [2.0, 2.0, 2.0]
    assert display.log == []
    assert display.asked[0] == {"probe": False, "timeout": 5.0}


def test_a_change_is_sent_once_it_is_the_same_half_a_second_later(display: Display) -> None:
    assert display.follow(A, B, B, B) == [2000]
    assert display.clock.waits == [2.0, 0.5, 2.0, 2.0]
    assert display.log == ["dom0's monitors are now 2000x800+0+0", "work: monitors set"]


def test_while_it_goes_on_changing_nothing_is_sent(display: Display) -> None:
    assert display.follow(A, B, C, B, B) == [2000]
    assert display.clock.waits == [2.0, 0.5, 0.5, 0.5, 2.0]


def test_a_change_that_is_taken_back_is_none(display: Display) -> None:
    assert display.follow(A, B, A, B, A) == []
    assert display.clock.waits == [2.0, 0.5, 2.0, 0.5, 2.0]


def test_a_second_change_is_compared_with_the_first(display: Display) -> None:
    assert display.follow(A, B, B, A, A) == [2000, 1000]


def test_only_monitors_are_sent_and_only_to_vms_that_follow_and_run(display: Display) -> None:
    display.settings = [FOLLOWING, FIXED, SCALED]
    display.follow(A, B, B)
    work, scaled = display.pushed
    assert (work.vm, dict(work.desired), work.require_running, work.monitors) == ("work", {}, False, B)
    assert (scaled.vm, scaled.monitors) == ("scaled", B.at(192))


def test_while_nobody_follows_the_display_is_not_read_and_what_it_was_is_forgotten(display: Display) -> None:
    def nobody() -> None:
        display.settings = [FIXED]

    display.looks = []
    rounds = iter([None, nobody, lambda: display.settings.append(FOLLOWING), None, display.stop.set])
    display.clock.meanwhile = lambda: one() if (one := next(rounds)) is not None else None
    targets: Any = nullcontext("targets")
    display.looks = [A, A, B, B]
    MonitorFollower(lambda: {one.vm: one for one in display.settings}, lambda: targets, display.log.append).start(
        display.stop
    )
    assert (len(display.asked), display.pushed) == (4, [])


def test_without_a_display_there_is_nothing_to_follow(display: Display, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", "")
    assert MonitorFollower(dict, lambda: pytest.fail("it pushes"), display.log.append).start(display.stop) is None


@pytest.mark.parametrize(
    ("outcome", "line"),
    [
        ({"error": DeadlineExceeded("late")}, "work: its monitors were not set to dom0's: late"),
        ({"changes": CHANGED, "running": False}, None),
        ({}, None),
    ],
)
def test_the_log_has_what_came_of_it_where_there_is_something_to_say(
    display: Display, outcome: dict[str, Any], line: str | None
) -> None:
    display.outcome = outcome
    display.follow(A, B, B)
    assert display.log[1:] == ([] if line is None else [line])


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (InvalidValue("no monitor"), "no monitor"),
        (DeadlineExceeded("xrandr: late\x1b"), "xrandr: late\\x1b"),
        (
            MemoryError(),
            "this process gets no more memory or threads (expected more: see ulimit, MemoryMax=, TasksMax=)",
        ),
        (ZeroDivisionError("x"), "unexpected ZeroDivisionError: x"),
    ],
)
def test_an_error_is_said_when_it_begins_and_when_it_is_over(display: Display, error: Exception, words: str) -> None:
    assert display.follow(A, error, error, A, B, B) == [2000]
    assert display.log[:2] == [
        f"{words}; monitors from_dom0 are followed once dom0's monitors can be read",
        "dom0's monitors can be read",
    ]
    assert display.clock.waits[:3] == [2.0, 2.0, 2.0]
    assert len(display.log) == 4


def test_an_error_at_the_first_look_is_said_at_once(display: Display) -> None:
    assert display.follow(InvalidValue("no monitor"), A) == []
    assert display.log == [
        "no monitor; monitors from_dom0 are followed once dom0's monitors can be read",
        "dom0's monitors can be read",
    ]
    assert display.clock.waits == [2.0, 2.0]


def test_a_host_without_the_program_follows_nothing(display: Display) -> None:
    display.follow(A, ProgramMissing("xrandr is not installed"))
    assert display.log == ["xrandr is not installed; monitors from_dom0 are not followed"]
    assert display.clock.waits == [2.0]
