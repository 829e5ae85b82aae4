"""What qubesd's events mean for the watcher: which VMs have to be pushed to again, and when.

qubesd writes keys of its own: all of a VM when it starts or gets another netvm, its rules in the provider's store when
it starts, when they are set or reloaded, single keys when a feature or property is set. Source: Qubes core-admin,
``vm/mix/net.py`` and the extensions ``services``, ``vm_config`` and ``gui``.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Collection, Mapping

from vminterface import runtime
from vminterface.channel import adminapi
from vminterface.channel.adminapi import AdminAPI
from vminterface.channel.adminevents import EventStream
from vminterface.deadline import Deadline
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.desired.words import NETVM
from vminterface.dom0.push.persist.live import decided_by
from vminterface.errors import DeadlineExceeded, VMInterfaceError, printable
from vminterface.wire.adminevents import AdminEvent

#: Seconds without another event of a VM before it is pushed to, and from the first one on at most: qubesd writes on
#: for a moment after some events, and one cause has several.
QUIET, LONGEST = 0.3, 2.0
#: Seconds between two pushes to one VM because of events: doubled each time, up to a limit. So two programs that undo
#: each other's settings do not keep dom0 busy.
PAUSE, PAUSE_MAX = 0.5, 60.0
#: Seconds without an event after a push, or twice its pause, after which the next pause is a short one again.
CALM = 10.0
#: Seconds after a push that failed, in which events are its own: what it took back.
OWN = 1.0
#: Seconds between two attempts to reach qubesd: doubled each time, up to a limit.
RECONNECT, RECONNECT_MAX = 1.0, 60.0
#: Seconds after which a listener checks whether it is to end.
_GLANCE = 0.25

#: The event of a VM that has started; qubesd has written its firewall by then.
STARTED = "domain-start"

Log = Callable[[str], None]


def concerns(event: AdminEvent, settings: Mapping[str, VMSettings]) -> bool:
    """Whether *event* may have changed something that *settings*, by VM, set for its VM or for that VM's clients."""
    one = settings.get(event.vm)
    if event.name == STARTED:
        return one is not None or any(
            client.firewall is not None and client.firewall.netvm == event.vm for client in settings.values()
        )
    if one is None:
        return False
    if event.name == "firewall-changed":
        return one.firewall is not None
    kind, _, name = event.name.partition(":")
    if kind in ("property-set", "property-reset"):
        # Another netvm means that all keys of the VM are written anew.
        return name == NETVM or f"property {name}" in decided_by(one)
    if kind in ("domain-feature-set", "domain-feature-delete"):
        return f"feature {name}" in decided_by(one)
    return False


class _Pending:
    """What was heard of one VM and not yet acted upon."""

    __slots__ = ("first", "last", "pause", "taken")

    def __init__(self) -> None:
        self.first: float | None = None
        self.last = 0.0
        #: When it was pushed to because of events, and how long the next time has to wait after that.
        self.taken = -math.inf
        self.pause = 0.0

    def due(self) -> float | None:
        """When it is to be pushed to (monotonic); None: not at all."""
        if self.first is None:
            return None
        return max(min(self.last + QUIET, self.first + LONGEST), self.taken + self.pause)


class Heard:
    """VMs that have to be pushed to because of events; used by several threads."""

    def __init__(self) -> None:
        self._lock = runtime.lock()
        self._pending: dict[str, _Pending] = {}
        self._deaf: dict[str, float] = {}

    def note(self, vm: str, *, started: bool = False) -> None:
        """Note an event of *vm*. That it has *started* does not come from a push: it is never delayed."""
        now = runtime.monotonic()
        with self._lock:
            if started:
                self._deaf.pop(vm, None)
            elif now < self._deaf.get(vm, 0.0):
                return
            pending = self._pending.setdefault(vm, _Pending())
            if started:
                pending.taken = -math.inf
            pending.first = now if pending.first is None else pending.first
            pending.last = now

    def forget(self, vm: str) -> None:
        """A push to *vm* has failed: what was heard of it since, and is heard soon, is what this push took back."""
        with self._lock:
            self._deaf[vm] = runtime.monotonic() + OWN
            if vm in self._pending:
                self._pending[vm].first = None

    def due(self, busy: Collection[str] = ()) -> float | None:
        """When the next VM, those that are *busy* left out, is to be pushed to; None: not yet known."""
        with self._lock:
            found = [one.due() for vm, one in self._pending.items() if vm not in busy]
        return min((at for at in found if at is not None), default=None)

    def take(self, busy: Collection[str] = ()) -> set[str]:
        """Return the VMs whose time has come, those that are *busy* left out for later."""
        now = runtime.monotonic()
        taken = set()
        with self._lock:
            for vm, one in self._pending.items():
                at = one.due()
                if vm in busy or one.first is None or at is None or at > now:
                    continue
                calm = one.first - one.taken > max(CALM, 2 * one.pause)
                one.pause = PAUSE if calm else min(2 * one.pause, PAUSE_MAX)
                one.first, one.taken = None, now
                taken.add(vm)
        return taken


class Listener:
    """Listens to qubesd in a thread of its own; where it cannot be reached, it tries again with growing pauses."""

    def __init__(self, settings: Callable[[], Mapping[str, VMSettings]], heard: Heard, log: Log) -> None:
        self._settings = settings
        self._heard = heard
        self._log = log
        self._lost = False

    def start(self, stop: threading.Event) -> threading.Thread | None:
        """Begin, until *stop* is set. Return the thread; None on a host that has no client for qubesd."""
        if not adminapi.installed():
            return None
        thread = runtime.thread(self._run, stop)
        thread.start()
        return thread

    def _run(self, stop: threading.Event) -> None:
        pause = RECONNECT
        while not stop.is_set():
            began = runtime.monotonic()
            try:
                with AdminAPI.open().events() as stream:
                    self._connected()
                    self._listen(stream, stop)
            except VMInterfaceError as error:
                self._disconnected(str(error))
            except Exception as error:
                # The client's own faults must not end the watcher's thread in silence.
                self._disconnected(f"unexpected {type(error).__name__}: {error}")
            # One that ends each connection at once is not asked each second for ever.
            pause = RECONNECT if runtime.monotonic() - began > RECONNECT_MAX else pause
            stop.wait(pause)
            pause = min(2 * pause, RECONNECT_MAX)

    def _listen(self, stream: EventStream, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                event = stream.next(Deadline.after(_GLANCE))
            except DeadlineExceeded:
                continue
            if concerns(event, self._settings()):
                self._heard.note(event.vm, started=event.name == STARTED)

    def _connected(self) -> None:
        if not self._lost:
            return
        self._lost = False
        self._log("qubesd sends its events again")
        # Nobody knows what it has written meanwhile.
        for vm in self._settings():
            self._heard.note(vm)

    def _disconnected(self, reason: str) -> None:
        if not self._lost:
            self._log(f"{printable(reason)}; continuing without events of qubesd until it sends them again")
        self._lost = True
