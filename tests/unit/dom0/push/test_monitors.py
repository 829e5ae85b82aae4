"""The monitors of a push's VMs: probed before it, sent beside the keys, and put back where anything else failed."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

import pytest

from vminterface.deadline import Deadline
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.ensure import display
from vminterface.dom0.push import monitors as module
from vminterface.dom0.push.monitors import Monitors
from vminterface.dom0.push.outcome import Outcome
from vminterface.dom0.services import monitors
from vminterface.errors import (
    DeadlineExceeded,
    Interrupted,
    InvalidValue,
    ServiceFailed,
    SettingRefused,
    StoreError,
    VMInterfaceError,
    VMNotRunning,
)
from vminterface.values.change import Change
from vminterface.values.monitor import MonitorLayout


def layout(width: int) -> MonitorLayout:
    return MonitorLayout.from_mappings([{"width": width, "height": 800, "x": 0, "y": 0}])


OLD, NEW, DOM0 = layout(1000), layout(2000), layout(3000)


@dataclass(frozen=True)
class Shown:
    """What a VM's X server shows."""

    layout: MonitorLayout | None

    @property
    def outputs(self) -> MonitorLayout | None:
        return self.layout

    def matches(self, asked: MonitorLayout) -> bool:
        return self.layout == asked


class VMs:
    """VMs whose calls end at once: what each shows, what it was sent, and what its calls raise, by name."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shown: dict[str, MonitorLayout | None] = {}
        self.sent: list[tuple[str, MonitorLayout]] = []
        self.probe_errors: dict[str, VMInterfaceError] = {}
        self.send_errors: dict[str, list[VMInterfaceError | None]] = {}
        self.dom0: MonitorLayout | VMInterfaceError = DOM0
        self.looks = 0
        self.seconds: list[float] = []
        self.stop = threading.Event()

        class Qrexec:
            parallel = 2

        def of_vm(qrexec: Any, vm: str, *, deadline: Deadline) -> Shown:
            assert isinstance(qrexec, Qrexec)
            self.seconds.append(deadline.seconds)
            if vm in self.probe_errors:
                raise self.probe_errors[vm]
            return Shown(self.shown[vm])

        def of_dom0() -> MonitorLayout:
            self.looks += 1
            if isinstance(self.dom0, VMInterfaceError):
                raise self.dom0
            return self.dom0

        def send(qrexec: Any, vm: str, asked: MonitorLayout, found: Shown, *, deadline: Deadline) -> None:
            assert isinstance(qrexec, Qrexec)
            self.seconds.append(deadline.seconds)
            self.sent.append((vm, asked))
            errors = self.send_errors.get(vm, [])
            if errors and (error := errors.pop(0)) is not None:
                raise error
            self.shown[vm] = asked

        monkeypatch.setattr(module, "Qrexec", Qrexec)
        monkeypatch.setattr(monitors, "of_vm", of_vm)
        monkeypatch.setattr(monitors, "of_dom0", of_dom0)
        monkeypatch.setattr(display, "send_layout", send)

    def push(self, *settings: VMSettings, fail: VMInterfaceError | None = None, **outcome: Any) -> list[Outcome]:
        """Do the steps of a push; *fail* is what the keys of the VMs come to, *outcome* what is known of these."""
        steps = Monitors(settings, self.stop)
        outcomes = [Outcome(one.vm, **outcome) for one in settings]
        steps.probe()
        steps.check(outcomes)
        steps.begin(outcomes)
        for one in outcomes:
            one.error = one.error or fail
        steps.finish(outcomes)
        steps.conclude(outcomes)
        return outcomes


@pytest.fixture
def vms(monkeypatch: pytest.MonkeyPatch) -> VMs:
    vms = VMs(monkeypatch)
    vms.shown = {"work": OLD, "mail": OLD}
    return vms


def settings(vm: str = "work", asked: Any = NEW, **more: Any) -> VMSettings:
    setting = asked.mappings() if isinstance(asked, MonitorLayout) else asked
    return VMSettings.parse(vm, {"monitors": setting, "timeout": 7, **more})


PLAIN = VMSettings.parse("plain", {"timezone": "UTC"})


class TestPush:
    def test_a_vm_that_shows_others_is_sent_its_own(self, vms: VMs) -> None:
        (outcome,) = vms.push(settings())
        assert outcome.error is None
        assert outcome.changes == {"monitors": Change(OLD.mappings(), NEW.mappings())}
        assert vms.sent == [("work", NEW)]
        assert vms.seconds == [7.0, 7.0]

    def test_one_that_shows_them_already_is_left_alone(self, vms: VMs) -> None:
        (outcome,) = vms.push(settings(asked=OLD))
        assert (outcome.error, outcome.changes, vms.sent) == (None, {}, [])

    def test_one_that_shows_none_is_said_so(self, vms: VMs) -> None:
        vms.shown["work"] = None
        (outcome,) = vms.push(settings())
        assert outcome.changes["monitors"].old == "none"

    def test_what_the_x_server_needs_otherwise_is_noted(self, vms: VMs, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(MonitorLayout, "notes", lambda self: ["one", "two"])
        (outcome,) = vms.push(settings())
        assert outcome.note == "one; two"

    def test_dom0s_monitors_are_read_once_for_all(self, vms: VMs) -> None:
        outcomes = vms.push(settings(asked="from_dom0"), settings("mail", {"from_dom0": True, "dpi": 192}))
        assert [one.error for one in outcomes] == [None, None]
        assert sorted(vms.sent, key=lambda one: one[0]) == [("mail", DOM0.at(192)), ("work", DOM0)]
        assert vms.looks == 1

    def test_they_are_not_read_where_nobody_wants_them(self, vms: VMs) -> None:
        vms.push(settings())
        assert vms.looks == 0

    def test_where_they_cannot_be_read_only_those_vms_fail_who_want_them(self, vms: VMs) -> None:
        vms.dom0 = InvalidValue("dom0 has none")
        work, mail = vms.push(settings(asked="from_dom0"), settings("mail"))
        assert (str(work.error), mail.error) == ("work: dom0 has none", None)
        assert vms.sent == [("mail", NEW)]

    def test_nobody_is_called_who_has_none_in_the_pillar(self, vms: VMs) -> None:
        (outcome,) = vms.push(PLAIN)
        assert (outcome.error, vms.seconds, vms.looks) == (None, [], 0)

    def test_a_vm_that_does_not_run_is_sent_nothing(self, vms: VMs) -> None:
        (outcome,) = vms.push(settings(), running=False)
        assert (outcome.error, outcome.changes, vms.sent) == (None, {}, [])


class TestErrors:
    @pytest.mark.parametrize(
        ("error", "kind", "text"),
        [
            (DeadlineExceeded("work: late"), DeadlineExceeded, "work: monitors: late"),
            (StoreError("late"), StoreError, "work: monitors: late"),
            (ServiceFailed("work: status 1", 1, ""), VMInterfaceError, "work: monitors: status 1"),
        ],
    )
    def test_a_vm_that_cannot_be_probed_is_written_nothing(
        self, vms: VMs, error: VMInterfaceError, kind: type, text: str
    ) -> None:
        vms.probe_errors["work"] = error
        (outcome,) = vms.push(settings())
        assert (type(outcome.error), str(outcome.error), vms.sent) == (kind, text, [])

    def test_an_error_that_was_there_before_stays(self, vms: VMs) -> None:
        vms.probe_errors["work"] = DeadlineExceeded("late")
        first = StoreError("first")
        steps = Monitors([settings()], vms.stop)
        steps.probe()
        outcome = Outcome("work", error=first)
        steps.check([outcome])
        assert outcome.error is first

    def test_what_the_service_refuses_is_refused(self, vms: VMs) -> None:
        vms.send_errors["work"] = [ServiceFailed("work: status 1", 1, "")]
        (outcome,) = vms.push(settings())
        assert (type(outcome.error), str(outcome.error)) == (SettingRefused, "work: monitors: status 1")
        assert outcome.changes == {}

    def test_a_vm_that_has_had_its_time_is_not_called_again(self, vms: VMs) -> None:
        vms.send_errors["work"] = [DeadlineExceeded("work: late")]
        (outcome,) = vms.push(settings())
        assert str(outcome.error) == "work: monitors: late; the former monitors could not be restored"
        assert outcome.restored is False
        assert len(vms.sent) == 1

    def test_a_vm_that_qrexec_does_not_know_does_not_run(self, vms: VMs) -> None:
        vms.probe_errors["work"] = VMNotRunning("halted")
        steps = Monitors([settings(), PLAIN], vms.stop)
        steps.probe()
        assert [steps.is_running(vm) for vm in ("work", "plain")] == [False, True]
        outcome = Outcome("work", running=False)
        steps.note([outcome])
        assert outcome.error is None

    def test_a_host_without_qrexec_is_an_error_of_a_vm_that_does_not_run_too(self, vms: VMs) -> None:
        vms.probe_errors["work"] = StoreError("no qrexec here")
        steps = Monitors([settings()], vms.stop)
        steps.probe()
        assert steps.is_running("work")
        outcome = Outcome("work", running=False)
        steps.note([outcome, Outcome("other")])
        assert str(outcome.error) == "work: monitors: no qrexec here"


class TestPutBack:
    FAIL = StoreError("work: its store is gone")

    def test_where_something_else_failed_the_former_ones_are_sent_again(self, vms: VMs) -> None:
        (outcome,) = vms.push(settings(), fail=self.FAIL)
        assert vms.sent == [("work", NEW), ("work", OLD)]
        assert (outcome.error, outcome.restored, outcome.changes) == (self.FAIL, True, {})

    def test_what_could_not_be_restored_before_stays_so(self, vms: VMs) -> None:
        (outcome,) = vms.push(settings(), fail=self.FAIL, restored=False)
        assert (vms.shown["work"], outcome.restored) == (OLD, False)

    def test_a_vm_that_shows_them_anyhow_is_sent_nothing(self, vms: VMs) -> None:
        vms.send_errors["work"] = [ServiceFailed("work: status 1", 1, "")]
        (outcome,) = vms.push(settings())
        assert (len(vms.sent), outcome.restored) == (1, None)

    def test_a_vm_that_was_sent_nothing_is_left_alone(self, vms: VMs) -> None:
        (outcome,) = vms.push(settings(asked=OLD), fail=self.FAIL)
        assert (vms.sent, outcome.restored) == ([], None)

    def test_a_vm_that_showed_none_cannot_have_them_back(self, vms: VMs) -> None:
        vms.shown["work"] = None
        (outcome,) = vms.push(settings(), fail=self.FAIL)
        assert str(outcome.error) == (f"{self.FAIL}; the former monitors could not be restored: the VM reported none")
        assert (type(outcome.error), outcome.restored) == (StoreError, False)

    def test_an_error_of_that_is_added_once(self, vms: VMs) -> None:
        vms.send_errors["work"] = [None, StoreError("no more")]
        (outcome,) = vms.push(settings(), fail=self.FAIL)
        assert str(outcome.error) == f"{self.FAIL}; the former monitors could not be restored: no more"
        vms.shown["work"] = OLD
        vms.send_errors["work"] = [None, self.FAIL]
        (outcome,) = vms.push(settings(), fail=self.FAIL)
        assert str(outcome.error) == f"{self.FAIL}; the former monitors could not be restored"

    def test_others_keep_theirs(self, vms: VMs) -> None:
        vms.send_errors["mail"] = [ServiceFailed("mail: status 1", 1, "")]
        work, mail = vms.push(settings(), settings("mail"))
        assert (work.error, vms.shown) == (None, {"work": NEW, "mail": OLD})
        assert isinstance(mail.error, SettingRefused)


class TestEnd:
    def test_a_program_that_is_to_end_probes_nobody(self, vms: VMs) -> None:
        vms.stop.set()
        (outcome,) = vms.push(settings())
        assert isinstance(outcome.error, Interrupted)
        assert str(outcome.error) == "work: interrupted before its monitors were set"
        assert (vms.seconds, vms.sent) == ([], [])

    def test_nor_sends_anything_after_the_probe(self, vms: VMs) -> None:
        steps = Monitors([settings()], vms.stop)
        steps.probe()
        vms.stop.set()
        outcome = Outcome("work")
        assert not steps.begin([outcome])
        assert str(outcome.error) == "work: interrupted before its monitors were set"
        assert vms.sent == []

    def test_a_call_that_was_cut_short_was_interrupted(self, vms: VMs) -> None:
        steps = Monitors([settings()], vms.stop)
        steps.probe()
        outcome = Outcome("work")

        class Late(DeadlineExceeded):
            def __str__(self) -> str:
                return "late"

        vms.send_errors["work"] = [Late("late")]
        send = display.send_layout

        def stopped(*arguments: Any, **more: Any) -> None:
            vms.stop.set()
            send(*arguments, **more)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(display, "send_layout", stopped)
            assert steps.begin([outcome])
            steps.finish([outcome])
        assert isinstance(outcome.error, Interrupted)
        assert str(outcome.error) == "work: interrupted while its monitors were read or set"

    def test_a_probe_under_way_gets_no_more_time(self, vms: VMs, monkeypatch: pytest.MonkeyPatch) -> None:
        def of_vm(qrexec: Any, vm: str, *, deadline: Deadline) -> Shown:
            vms.stop.set()
            end = time.monotonic() + 3
            while not deadline.passed and time.monotonic() < end:
                time.sleep(0.01)
            raise DeadlineExceeded("late") if deadline.passed else StoreError("it had more")

        monkeypatch.setattr(monitors, "of_vm", of_vm)
        steps = Monitors([settings()], vms.stop)
        steps.probe()
        outcome = Outcome("work")
        steps.check([outcome])
        assert str(outcome.error) == "work: interrupted while its monitors were read or set"

    def test_the_former_ones_get_a_second(self, vms: VMs, monkeypatch: pytest.MonkeyPatch) -> None:
        left: list[float] = []

        def of_vm(qrexec: Any, vm: str, *, deadline: Deadline) -> Shown:
            if vms.sent:
                vms.stop.set()
                end = time.monotonic() + 3
                while deadline.seconds == 7.0 and time.monotonic() < end:
                    time.sleep(0.01)
                left.append(deadline.seconds)
            return Shown(vms.shown[vm])

        monkeypatch.setattr(monitors, "of_vm", of_vm)
        (outcome,) = vms.push(settings(), fail=StoreError("work: its store is gone"))
        assert (left, outcome.restored) == ([1.0], True)


class TestTime:
    def test_what_the_probe_took_is_not_there_for_the_rest(self, vms: VMs, monkeypatch: pytest.MonkeyPatch) -> None:
        one = settings()
        steps = Monitors([one], vms.stop)
        assert steps.left(PLAIN) is PLAIN
        steps._works["work"].settings = one.after_wait(3.0)
        assert steps.left(one).timeout == one.after_wait(3.0).timeout

    def test_begin_says_whether_anything_is_under_way(self, vms: VMs) -> None:
        steps = Monitors([settings(), settings("mail", OLD)], vms.stop)
        steps.probe()
        work, mail = Outcome("work"), Outcome("mail")
        assert not steps.begin([mail, Outcome("other")])
        assert not steps.is_sent("work")
        assert steps.begin([mail, work])
        assert [steps.is_sent(vm) for vm in ("work", "mail", "other")] == [True, False, False]
        steps.finish([work, mail])
        steps.conclude([work, mail])
        assert vms.sent == [("work", NEW)]
