"""The monitors of a push's VMs, which no key holds: probed before it, sent by a service call beside the keys.

Some VMs are called at a time. One that does not reply costs its own time, and nobody is called who has no monitors.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from vminterface.channel.qrexec.client import Qrexec
from vminterface.deadline import Deadline
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.desired.words import MONITORS
from vminterface.dom0.ensure import display
from vminterface.dom0.push.outcome import Outcome
from vminterface.dom0.services import monitors
from vminterface.dom0.services.monitors import VMMonitors
from vminterface.errors import (
    DeadlineExceeded,
    Interrupted,
    ServiceFailed,
    SettingRefused,
    VerificationFailed,
    VMInterfaceError,
    VMNotRunning,
)
from vminterface.values.change import Change
from vminterface.values.monitor import MonitorLayout
from vminterface.values.monitorsetting import FromDom0

#: Where the X server of a VM shows no monitors, or some that no pillar could give.
NONE = "none"
#: Seconds that a VM has to take its former layout back once this program is asked to end; and between two checks.
_AT_END, _NOTICED = 1.0, 0.1


@dataclass(slots=True)
class _Work:
    """The monitors of one VM on their way."""

    settings: VMSettings
    #: What it is to have; None where dom0's monitors are asked for and not known.
    layout: MonitorLayout | None = None
    #: What it had; None where it could not say.
    found: VMMonitors | None = None
    #: The first error, of the probe or of what came after it.
    error: VMInterfaceError | None = None
    #: For all that is still to be done.
    deadline: Deadline = field(default_factory=lambda: Deadline.after(0.0))
    sent: Future[None] | None = None
    #: Whether it may have been given the layout.
    begun: bool = False

    @property
    def differs(self) -> bool:
        """Whether the VM is to be given its layout."""
        return self.found is not None and self.layout is not None and not self.found.matches(self.layout)

    def change(self) -> Change[Any]:
        """Return what changes, in the pillar's words."""
        assert self.layout is not None
        had = None if self.found is None else self.found.layout
        return Change(NONE if had is None else had.mappings(), self.layout.mappings())


class Monitors:
    """The monitors of those VMs of *settings* that have some there. Its methods are its steps, in their order.

    Once *stop* is set no VM is given anything but the layout that it had.
    """

    def __init__(self, settings: Iterable[VMSettings], stop: threading.Event) -> None:
        self._works = {one.vm: _Work(one) for one in settings if one.monitors is not None}
        self._stop = stop
        self._qrexec = Qrexec() if self._works else None
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """End the threads that call."""
        if self._pool is not None:
            self._pool.shutdown()

    def probe(self) -> None:
        """Read the monitors of the VMs. An error of one VM is kept for :meth:`check`."""
        if not self._works:
            return
        self._each(self._probe, list(self._works.values()))
        self._resolve({vm: work for vm, work in self._works.items() if work.error is None})

    def left(self, settings: VMSettings) -> VMSettings:
        """Return *settings* with the time that is left to the VM after the probe."""
        work = self._works.get(settings.vm)
        return settings if work is None else settings.after_wait(settings.timeout - work.settings.timeout)

    def is_running(self, vm: str) -> bool:
        """Whether qrexec knows *vm* as a running one, or could not be asked."""
        work = self._works.get(vm)
        return work is None or not isinstance(work.error, VMNotRunning)

    def check(self, outcomes: Iterable[Outcome]) -> None:
        """Give each VM that runs, before anything is written, the error of its probe."""
        for outcome in outcomes:
            work = self._works.get(outcome.vm)
            if work is not None and outcome.ok and outcome.running:
                outcome.error = work.error

    def begin(self, outcomes: Iterable[Outcome]) -> bool:
        """Give their layouts to those VMs that are well and show others; return whether there are any."""
        begun = False
        for outcome in outcomes:
            work = self._works.get(outcome.vm)
            if work is None or not outcome.ok or not outcome.running or not work.differs:
                continue
            if self._stop.is_set():
                outcome.error = Interrupted(f"{outcome.vm}: interrupted before its monitors were set")
                continue
            assert self._pool is not None
            work.sent = self._pool.submit(self._send, work)
            begun = True
        return begun

    def is_sent(self, vm: str) -> bool:
        """Whether *vm* is being given its layout, or has been."""
        return vm in self._works and self._works[vm].sent is not None

    def finish(self, outcomes: Iterable[Outcome]) -> None:
        """Wait for what was begun; what failed is the VM's error, unless it has one already."""
        for outcome in outcomes:
            work = self._works.get(outcome.vm)
            if work is not None and work.sent is not None:
                self._wait(work, work.sent)
                outcome.error = outcome.error or work.error

    def note(self, outcomes: Iterable[Outcome]) -> None:
        """Add to the outcomes what would change."""
        for outcome in outcomes:
            work = self._works.get(outcome.vm)
            if work is None:
                continue
            if not outcome.running and outcome.ok and not isinstance(work.error, VMNotRunning):
                # Such as a host without qrexec, which no start of the VM helps.
                outcome.error = work.error
            if outcome.ok and outcome.running and work.differs:
                assert work.layout is not None
                outcome.changes[MONITORS] = work.change()
                for note in work.layout.notes():
                    outcome.add_note(note)

    def conclude(self, outcomes: Sequence[Outcome]) -> None:
        """Put back the former layouts of VMs of which something failed; add to the others' changes."""
        failed = {one.vm: one for one in outcomes if not one.ok and one.vm in self._works and self._works[one.vm].begun}
        self._each(
            lambda work: self._put_back(work, failed[work.settings.vm]), [self._works[vm] for vm in failed], _AT_END
        )
        self.note(outcomes)

    @property
    def _calls(self) -> Qrexec:
        assert self._qrexec is not None
        return self._qrexec

    def _each(self, do: Callable[[_Work], None], works: Sequence[_Work], at_end: float = 0.0) -> None:
        """Call *do* with each of *works*, some at a time."""
        if self._pool is None and works:
            self._pool = ThreadPoolExecutor(self._calls.parallel, thread_name_prefix="monitors")
        if self._pool is not None:
            for done, work in [(self._pool.submit(do, work), work) for work in works]:
                self._wait(work, done, at_end)

    def _wait(self, work: _Work, done: Future[None], at_end: float = 0.0) -> None:
        """Wait until *work* is done; once this program is asked to end, its call may go on for *at_end* seconds.

        Raises what it raises.
        """
        while not wait([done], _NOTICED).done:
            if self._stop.is_set():
                work.deadline.shorten(at_end)
        done.result()

    @staticmethod
    def _resolve(works: Mapping[str, _Work]) -> None:
        """Find out which layout each of *works* is to have; dom0's monitors are asked for once, if need be."""
        own: MonitorLayout | None = None
        error: VMInterfaceError | None = None
        if any(isinstance(work.settings.monitors, FromDom0) for work in works.values()):
            try:
                own = monitors.of_dom0()
            except VMInterfaceError as failed:
                error = failed
        for vm, work in works.items():
            match work.settings.monitors:
                case FromDom0() as setting if own is not None:
                    work.layout = setting.layout(own)
                case FromDom0():
                    assert error is not None
                    work.error = VMInterfaceError(f"{vm}: {error}")
                case layout:
                    work.layout = layout

    def _probe(self, work: _Work) -> None:
        work.deadline = deadline = Deadline.after(work.settings.timeout)

        def read() -> None:
            work.found = monitors.of_vm(self._calls, work.settings.vm, deadline=deadline)

        self._call(work, read, VMInterfaceError)
        work.settings = work.settings.after_wait(deadline.seconds - deadline.remaining)

    def _send(self, work: _Work) -> None:
        layout, found = work.layout, work.found
        assert layout is not None
        assert found is not None
        work.deadline = deadline = Deadline.after(work.settings.timeout)

        def send() -> None:
            work.begun = True
            display.send_layout(self._calls, work.settings.vm, layout, found, deadline=deadline)

        self._call(work, send, SettingRefused)

    def _call(self, work: _Work, call: Callable[[], None], refused: type[VMInterfaceError]) -> None:
        """Do *call*, and make its error that of *work*; *refused* is what a service's failure means."""
        vm = work.settings.vm
        try:
            if self._stop.is_set():
                raise Interrupted(f"{vm}: interrupted before its monitors were set")
            call()
        except ServiceFailed as error:
            # Whoever adds to its sentence has no status to give.
            work.error = refused(_named(vm, error))
        except Interrupted as error:
            work.error = error
        except VMInterfaceError as error:
            if isinstance(error, DeadlineExceeded) and self._stop.is_set():
                work.error = Interrupted(f"{vm}: interrupted while its monitors were read or set")
            else:
                work.error = type(error)(_named(vm, error))

    def _put_back(self, work: _Work, outcome: Outcome) -> None:
        """Give the VM the monitors that it had; an error of that is added to the first error's sentence."""
        first = outcome.error
        assert first is not None
        assert work.found is not None
        try:
            if isinstance(work.error, DeadlineExceeded):
                # It has had its time.
                raise work.error
            work.deadline = deadline = Deadline.after(work.settings.timeout)
            now = monitors.of_vm(self._calls, outcome.vm, deadline=deadline)
            if now.outputs != work.found.outputs:
                if (former := work.found.layout) is None:
                    raise VerificationFailed("the VM reported none")
                display.send_layout(self._calls, outcome.vm, former, now, deadline=deadline)
                outcome.restored = outcome.restored is not False
        except VMInterfaceError as error:
            outcome.restored = False
            why = "" if str(error) in str(first) else f": {error}"
            outcome.error = type(first)(f"{first}; the former monitors could not be restored{why}")


def _named(vm: str, error: VMInterfaceError) -> str:
    """Return the sentence of *error*, of a call, with the VM and the field before it."""
    return f"{vm}: {MONITORS}: {str(error).removeprefix(f'{vm}: ')}"
