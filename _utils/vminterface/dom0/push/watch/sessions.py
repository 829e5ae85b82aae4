"""Gives a VM its monitors once the session of its user is up, some time after the keys of its start.

Each VM is waited for by a thread of its own, as a session may take minutes to come up, or never do.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from vminterface import runtime
from vminterface.channel.qrexec.client import Qrexec
from vminterface.deadline import Deadline
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.desired.words import MONITORS
from vminterface.dom0.inventory.targets import Targets
from vminterface.dom0.push.outcome import Outcome
from vminterface.dom0.push.push import push
from vminterface.dom0.services import session
from vminterface.errors import ProgramMissing, ResourcesExhausted, ServiceNotFound, VMInterfaceError
from vminterface.values.monitorsetting import FromDom0

#: Seconds in which a VM may boot until its session is up, of one question for it, and between two of them.
BOOT, CALL, PAUSE = 180.0, 10.0, 1.0
#: Seconds to the second attempt at the monitors, doubled each time; and attempts.
FIRST_PAUSE, ATTEMPTS = 1.0, 6

Log = Callable[[str], None]


@dataclass(slots=True)
class _Wait:
    """One VM that is waited for; *still* says whether it is the start that is meant."""

    settings: VMSettings
    still: Callable[[], bool]
    #: Of the call that is under way.
    deadline: Deadline = field(default_factory=lambda: Deadline.after(0.0))


class SessionMonitors:
    """Pushes the monitors of VMs that have started, or whose pillar has changed, until *stop* is set."""

    def __init__(self, open_targets: Callable[[], Targets], log: Log) -> None:
        self._open, self._log = open_targets, log
        self._stop = runtime.event()
        self._waits: dict[threading.Thread, _Wait] = {}
        #: Whether the log has it that dom0's monitors cannot be known.
        self._blind = False

    def give(self, settings: VMSettings, still: Callable[[], bool]) -> None:
        """Begin with the VM of *settings*, if these have monitors; *still* is false once that start is over."""
        if settings.monitors is None:
            return
        if isinstance(settings.monitors, FromDom0) and not os.environ.get("DISPLAY"):
            if not self._blind:
                self._log(f"{settings.vm}: monitors from_dom0 are not sent, as the watcher has no DISPLAY")
            self._blind = True
            return
        one = _Wait(replace(settings.only([MONITORS]), require_running=False), still)
        thread = runtime.thread(self._run, one, name=f"monitors of {settings.vm}")
        self._waits = {other: wait for other, wait in self._waits.items() if other.is_alive()}
        try:
            thread.start()
        except RuntimeError as error:
            if (exhausted := ResourcesExhausted.of(error)) is None:
                raise
            self._log(f"{settings.vm}: its monitors are not sent: {exhausted}")
        else:
            self._waits[thread] = one

    def end(self) -> list[threading.Thread]:
        """Let everything end soon; return the threads that are to be waited for."""
        self._stop.set()
        for one in list(self._waits.values()):
            one.deadline.shorten(0.0)
        return list(self._waits)

    def _run(self, one: _Wait) -> None:
        vm = one.settings.vm
        try:
            if self._session(one):
                self._push(one)
        except VMInterfaceError as error:
            if self._goes_on(one):
                self._log(f"{vm}: its monitors are not sent: {error}")
        except Exception as error:
            # Whatever it is, it must not end the thread in silence.
            known = ResourcesExhausted.of(error)
            self._log(f"{vm}: its monitors are not sent: {known or f'unexpected {type(error).__name__}: {error}'}")

    def _goes_on(self, one: _Wait) -> bool:
        return not self._stop.is_set() and one.still()

    def _session(self, one: _Wait) -> bool:
        """Wait for the session; False: the VM is gone before. Raises the last error where it does not come up."""
        qrexec, until = Qrexec(), runtime.monotonic() + BOOT
        while self._goes_on(one):
            one.deadline = Deadline.after(CALL)
            try:
                session.wait(qrexec, one.settings.vm, deadline=one.deadline)
            except ServiceNotFound:
                return True
            except ProgramMissing:
                raise
            except VMInterfaceError:
                if runtime.monotonic() > until:
                    raise
                self._stop.wait(PAUSE)
            else:
                return True
        return False

    def _push(self, one: _Wait) -> None:
        for attempt in range(ATTEMPTS):
            if not self._goes_on(one):
                return
            outcome = self._outcome(one.settings)
            if outcome.ok:
                if outcome.running and outcome.changes:
                    self._log(outcome.comment())
                return
            pause = FIRST_PAUSE * 2**attempt
            more = (
                f"next attempt in {pause:g} s" if attempt + 1 < ATTEMPTS else "no further attempt until its next start"
            )
            if self._goes_on(one):
                self._log(f"{outcome.comment()}; {more}")
                self._stop.wait(pause if attempt + 1 < ATTEMPTS else 0.0)

    def _outcome(self, settings: VMSettings) -> Outcome:
        with self._open() as targets:
            return push([settings], targets, stop=self._stop)[0]
