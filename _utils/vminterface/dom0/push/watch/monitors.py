"""Follows dom0's monitors: when they change, VMs whose pillar has ``from_dom0`` are given the new ones.

What `xrandr --current` prints is compared every two seconds: it asks the X server alone and no monitor, which would
make some screens flicker. Nothing is asked while no VM of the pillar has such monitors, or without a display.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace

from vminterface import runtime
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.desired.words import MONITORS
from vminterface.dom0.inventory.targets import Targets
from vminterface.dom0.push.push import push
from vminterface.dom0.services import monitors
from vminterface.errors import InvalidValue, ProgramMissing, ResourcesExhausted, VMInterfaceError, printable
from vminterface.values.monitor import MonitorLayout
from vminterface.values.monitorsetting import FromDom0

#: Seconds between two reads of dom0's monitors; and after a change, as a desktop sets one output after the other: what
#: is the same at two of them is sent.
CHECK_SECONDS, SETTLE = 2.0, 0.5
#: Seconds that X has to reply.
X_SECONDS = 5.0

Log = Callable[[str], None]


class MonitorFollower:
    """Sends dom0's monitors to running VMs of *settings* with ``from_dom0``, at each change and to no others.

    *open_targets* is called for each push.
    """

    def __init__(
        self, settings: Callable[[], Mapping[str, VMSettings]], open_targets: Callable[[], Targets], log: Log
    ) -> None:
        self._settings = settings
        self._open = open_targets
        self._log = log
        self._stop = runtime.event()
        #: What dom0 had when it was last compared; None before the first time.
        self._known: MonitorLayout | None = None
        #: What is not yet sent, as it may change once more.
        self._new: MonitorLayout | None = None
        self._error = ""

    def start(self, stop: threading.Event) -> threading.Thread | None:
        """Begin, until *stop* is set. Return the thread; None where this process has no display."""
        if not os.environ.get("DISPLAY"):
            return None
        self._stop = stop
        thread = runtime.thread(self._run, stop, name="dom0's monitors")
        thread.start()
        return thread

    def _run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                if desired := self._following():
                    self._observe(desired)
                else:
                    self._known = self._new = None
            except ProgramMissing as error:
                self._log(f"{error}; monitors from_dom0 are not followed")
                return
            except Exception as error:
                # Whatever it is, it must not end the thread in silence.
                known = error if isinstance(error, VMInterfaceError) else ResourcesExhausted.of(error)
                self._note_error(str(known or f"unexpected {type(error).__name__}: {error}"))
            stop.wait(CHECK_SECONDS if self._new is None else SETTLE)

    def _following(self) -> list[VMSettings]:
        return [one for one in self._settings().values() if isinstance(one.monitors, FromDom0)]

    def _observe(self, desired: list[VMSettings]) -> None:
        try:
            now = monitors.of_dom0(probe=False, timeout=X_SECONDS)
        except InvalidValue as error:
            # As while the last one is unplugged: no VM is better off without any.
            self._note_error(str(error))
            return
        self._note_error("")
        if self._known is None or now == self._known:
            self._known, self._new = now, None
        elif now != self._new:
            self._new = now
        else:
            self._known, self._new = now, None
            self._send(desired, now)

    def _send(self, desired: list[VMSettings], layout: MonitorLayout) -> None:
        self._log(f"dom0's monitors are now {monitors.shown(layout)}")
        settings = [
            replace(one.only([MONITORS]), monitors=one.monitors.layout(layout), require_running=False)
            for one in desired
            if isinstance(one.monitors, FromDom0)
        ]
        with self._open() as targets:
            outcomes = push(settings, targets, stop=self._stop)
        for outcome in outcomes:
            if not outcome.ok:
                self._log(f"{outcome.vm}: its monitors were not set to dom0's: {outcome.error}")
            elif outcome.running and outcome.changes:
                self._log(outcome.comment())

    def _note_error(self, error: str) -> None:
        """Log what is wrong with dom0's display when it begins, and when it is over."""
        error = printable(error)
        if error and not self._error:
            self._log(f"{error}; monitors from_dom0 are followed once dom0's monitors can be read")
        elif self._error and not error:
            self._log("dom0's monitors can be read")
        self._error = error
