"""Which of qubesd's events let the watcher push again, and how long it waits where they do not end."""

from __future__ import annotations

import itertools
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from vminterface import runtime
from vminterface.channel.adminapi import AdminAPI
from vminterface.deadline import Deadline
from vminterface.dom0.desired.settings import VMSettings, parse_pillar
from vminterface.dom0.push.watch import events as watch_events
from vminterface.dom0.push.watch.events import Heard, Listener, concerns
from vminterface.errors import ConnectionLost, DeadlineExceeded, PermissionDenied
from vminterface.wire.adminevents import AdminEvent

PILLAR = {
    "qubes": {
        "vms": {
            "work": {
                "timezone": "Europe/Warsaw",
                "keyboard": "pl",
                "services": {"cups": True},
                "firewall": {"netvm": "sys-firewall", "policy": "drop", "ip": "10.137.0.5"},
            },
            "plain": {"debug": True, "services": {"meminfo-writer": "default"}},
        }
    }
}


@pytest.mark.parametrize(
    ("vm", "name", "heeded"),
    [
        ("work", "domain-start", True),
        ("sys-firewall", "domain-start", True),
        ("other", "domain-start", False),
        ("", "domain-start", False),
        ("work", "domain-qdb-create", False),
        ("work", "domain-shutdown", False),
        ("work", "firewall-changed", True),
        ("plain", "firewall-changed", False),
        ("other", "firewall-changed", False),
        ("work", "property-set:keyboard_layout", True),
        ("work", "property-reset:keyboard_layout", True),
        ("work", "property-pre-set:keyboard_layout", False),
        ("plain", "property-set:keyboard_layout", False),
        ("plain", "property-set:debug", True),
        ("plain", "property-set:netvm", True),
        ("plain", "property-reset:netvm", True),
        ("other", "property-set:netvm", False),
        ("work", "property-reset:xid", False),
        ("work", "domain-feature-set:service.cups", True),
        ("work", "domain-feature-delete:service.cups", True),
        ("work", "domain-feature-set:service.crond", False),
        ("work", "domain-feature-set:vm-config.vminterface-timezone", True),
        ("work", "domain-feature-set:anon-timezone", True),
        ("work", "domain-feature-delete:anon-timezone", True),
        ("plain", "domain-feature-set:anon-timezone", False),
        ("plain", "property-set:maxmem", True),
        ("work", "property-set:maxmem", False),
        ("work", "domain-feature-pre-set:service.cups", False),
        ("plain", "domain-feature-set:service.cups", False),
    ],
)
def test_an_event_is_heeded_where_the_pillar_manages_what_it_is_about(vm: str, name: str, heeded: bool) -> None:
    settings: dict[str, VMSettings] = {one.vm: one for one in parse_pillar(PILLAR)}
    assert concerns(AdminEvent(vm, name, {}), settings) is heeded


class Clock:
    """A monotonic clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(runtime, "monotonic", clock.monotonic)
    return clock


def test_events_that_come_close_together_are_one(clock: Clock) -> None:
    heard = Heard()
    assert (heard.due(), heard.take()) == (None, set())
    for _ in range(3):
        heard.note("work")
        clock.now += 0.2
        assert heard.take() == set()
    assert heard.due() == clock.now - 0.2 + watch_events.QUIET
    clock.now += 0.11
    assert heard.take() == {"work"}
    assert (heard.due(), heard.take()) == (None, set())


def test_events_that_do_not_end_are_acted_upon_all_the_same(clock: Clock) -> None:
    heard = Heard()
    began = clock.now
    while heard.take() == set():
        heard.note("work")
        clock.now += 0.1
    assert clock.now - began == pytest.approx(2.0, abs=0.21)


def test_pushes_that_cause_events_each_time_come_less_and_less_often_and_soon_again_after_a_silence(
    clock: Clock,
) -> None:
    heard = Heard()
    pushes = []
    while clock.now < 1600:
        heard.note("work")
        clock.now += 0.05
        if heard.take():
            pushes.append(clock.now)
    assert len(pushes) < 20
    gaps = [after - before for before, after in itertools.pairwise(pushes)]
    assert gaps[:4] == pytest.approx([2.0, 2.0, 2.0, 4.0], abs=0.11)
    assert gaps[-1] == pytest.approx(watch_events.PAUSE_MAX, abs=0.2)
    # What was heard last is acted upon, then nothing is heard for a while.
    clock.now += watch_events.PAUSE_MAX
    assert heard.take() == {"work"}
    for pause in (2 * watch_events.PAUSE_MAX + 1, watch_events.PAUSE):
        clock.now += pause
        heard.note("work")
        clock.now += watch_events.QUIET + 0.01
        assert heard.take() == {"work"}


def test_a_vm_that_is_pushed_to_right_now_waits_and_keeps_no_other_back(clock: Clock) -> None:
    heard = Heard()
    heard.note("work")
    heard.note("other")
    clock.now += 1
    assert heard.due({"work"}) == heard.due()
    assert heard.take({"work"}) == {"other"}
    assert heard.due({"work"}) is None
    assert heard.take() == {"work"}


def test_what_a_failed_push_took_back_is_no_reason_for_another_one(clock: Clock) -> None:
    heard = Heard()
    heard.note("work")
    heard.note("other")
    heard.forget("work")
    # Nor is it one that this VM was never heard of.
    heard.forget("another")
    heard.note("work")
    clock.now += 0.5
    heard.note("work")
    clock.now += 0.31
    assert heard.take() == {"other"}
    clock.now += 0.2
    heard.note("work")
    clock.now += 0.31
    assert heard.take() == {"work"}


def test_a_first_start_is_heard_as_any_event(clock: Clock) -> None:
    heard = Heard()
    heard.note("work", started=True)
    assert heard.due() == clock.now + 0.3


def test_a_start_is_acted_upon_at_once_whatever_was_heard_or_failed_before(clock: Clock) -> None:
    heard = Heard()
    for _ in range(8):
        heard.note("work")
        due = heard.due()
        assert due is not None
        clock.now = due
        assert heard.take() == {"work"}
    heard.note("work")
    due = heard.due()
    assert due is not None
    assert due > clock.now + 10, "the pause was to be a long one by now"
    heard.forget("work")
    heard.note("work", started=True)
    assert heard.due() == clock.now + watch_events.QUIET
    clock.now += watch_events.QUIET
    assert heard.take() == {"work"}
    # What follows it waits as ever.
    heard.note("work")
    assert heard.due() == clock.now + watch_events.PAUSE


class Stop(threading.Event):
    """A stop event that keeps how long it was waited for, and is set after some waits."""

    def __init__(self, waits: int) -> None:
        super().__init__()
        self.waits = waits
        self.seconds: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.seconds.append(timeout or 0.0)
        if len(self.seconds) == self.waits:
            self.set()
        return self.is_set()


@pytest.mark.parametrize("error", [ConnectionLost("no socket"), PermissionDenied("no"), RuntimeError("boom")])
def test_a_qubesd_that_cannot_be_reached_is_asked_less_and_less_often_and_logged_once(
    monkeypatch: pytest.MonkeyPatch, error: RuntimeError | ConnectionLost | PermissionDenied
) -> None:
    def fail() -> AdminAPI:
        raise error

    monkeypatch.setattr("vminterface.dom0.push.watch.events.adminapi.installed", lambda: True)
    monkeypatch.setattr(AdminAPI, "open", fail)
    log: list[str] = []
    stop = Stop(9)
    thread = Listener(dict, Heard(), log.append).start(stop)
    assert thread is not None
    thread.join(10)
    assert stop.seconds == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    words = f"unexpected RuntimeError: {error}" if isinstance(error, RuntimeError) else str(error)
    assert log == [f"{words}; continuing without events of qubesd until it sends them again"]


def test_a_host_without_the_client_has_no_thread_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vminterface.dom0.push.watch.events.adminapi.installed", lambda: False)
    assert Listener(dict, Heard(), print).start(threading.Event()) is None


class Stream:
    """The connection to qubesd: what comes of it in turn; the listener is to end with the last."""

    def __init__(self, stop: threading.Event, *events: AdminEvent | Exception) -> None:
        self._stop = stop
        self._events = [*events]
        self.waits: list[float] = []

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to end."""

    def next(self, deadline: Deadline) -> AdminEvent:
        self.waits.append(deadline.seconds)
        one = self._events.pop(0)
        if not self._events:
            self._stop.set()
        if isinstance(one, Exception):
            raise one
        return one


class TestListener:
    @pytest.fixture
    def stop(self) -> Stop:
        return Stop(100)

    def listen(self, monkeypatch: pytest.MonkeyPatch, stop: Stop, *streams: Any) -> tuple[list[Any], list[str]]:
        """Let qubesd have *streams*; return what is noted, and the log."""
        left = [*streams]

        def open_() -> Any:
            one = left.pop(0)
            if isinstance(one, Exception):
                raise one
            return SimpleNamespace(events=lambda: one)

        noted: list[Any] = []
        heard: Any = SimpleNamespace(note=lambda vm, *, started=False: noted.append((vm, started)))
        log: list[str] = []
        monkeypatch.setattr("vminterface.dom0.push.watch.events.adminapi.installed", lambda: True)
        monkeypatch.setattr(AdminAPI, "open", open_)
        settings = {one.vm: one for one in parse_pillar(PILLAR)}
        thread = Listener(lambda: settings, heard, log.append).start(stop)
        assert thread is not None
        thread.join(10)
        return noted, log

    def test_what_concerns_the_pillar_is_noted(self, monkeypatch: pytest.MonkeyPatch, stop: Stop) -> None:
        stream = Stream(
            stop,
            DeadlineExceeded("none yet"),
            AdminEvent("work", "domain-start", {}),
            AdminEvent("work", "firewall-changed", {}),
            AdminEvent("other", "domain-start", {}),
            AdminEvent("plain", "firewall-changed", {}),
        )
        noted, log = self.listen(monkeypatch, stop, stream)
        assert noted == [("work", True), ("work", False)]
        assert log == []
        assert stream.waits == [0.25] * 5

    def test_after_a_connection_that_was_lost_all_may_have_changed(
        self, monkeypatch: pytest.MonkeyPatch, stop: Stop
    ) -> None:
        lost = ConnectionLost("gone")
        first, second = Stream(threading.Event(), lost), Stream(threading.Event(), lost)
        noted, log = self.listen(monkeypatch, stop, first, lost, second, Stream(stop, TIMEOUT))
        assert noted == [("work", False), ("plain", False)] * 2
        assert log == 2 * [
            "gone; continuing without events of qubesd until it sends them again",
            "qubesd sends its events again",
        ]

    def test_one_that_lasted_begins_with_a_short_pause(
        self, monkeypatch: pytest.MonkeyPatch, stop: Stop, clock: Clock
    ) -> None:
        class Lasting(Stream):
            def next(self, deadline: Deadline) -> AdminEvent:
                clock.now += watch_events.RECONNECT_MAX + 1
                return super().next(deadline)

        lost = ConnectionLost("gone")
        self.listen(monkeypatch, stop, lost, lost, Lasting(threading.Event(), lost), Stream(stop, TIMEOUT))
        assert stop.seconds[:3] == [1, 2, 1]


TIMEOUT = DeadlineExceeded("none yet")
