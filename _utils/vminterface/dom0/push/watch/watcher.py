"""Pushes a VM's settings each time that it starts, so that they last where no qubesd keeps them.

A start is noticed by the XenStore's ``@introduceDomain``, and by a check of the running VMs every second, which finds
the sockets of new QubesDBs too. What fails for one VM is tried again, a few times, and holds up no other.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace

from vminterface import runtime
from vminterface.channel.store import Watch
from vminterface.deadline import Deadline
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.inventory.targets import Targets
from vminterface.dom0.push.locks import VMLocks
from vminterface.dom0.push.outcome import Outcome
from vminterface.dom0.push.push import push
from vminterface.dom0.push.watch.boot import Boots
from vminterface.dom0.push.watch.ending import TAKE_BACK
from vminterface.dom0.push.watch.events import Heard, Listener
from vminterface.dom0.push.watch.monitors import MonitorFollower
from vminterface.dom0.push.watch.sessions import SessionMonitors
from vminterface.errors import DeadlineExceeded, InvalidValue, ResourcesExhausted, VMInterfaceError, printable

#: Seconds from the first sight of a VM to the push: the toolstack may still be writing its keys.
SETTLE = 0.3
#: Seconds between two checks of what runs; soon after an event; and how long that is soon.
CHECK_SECONDS, CHECK_SOON, SOON = 1.0, 0.1, 2.0
#: Seconds to the next attempt at a VM, doubled each time; attempts at one start or one pillar.
FIRST_PAUSE, ATTEMPTS = 1.0, 6
#: Pushes at the same time at most: one that waits for a VM does not hold up what another needs.
AT_ONCE = 8
#: Seconds between two attempts to reach the stores.
RECONNECT = 1.0
#: Seconds that the threads beside the pushes have to end, after these.
_GLANCE = 0.3
#: What becomes of settings that wait when the watcher ends: at its start it pushes to all VMs that run.
_NEXT = "its settings are pushed at the watcher's next start"

Log = Callable[[str], None]


class PillarFile:
    """A pillar in a file, read again when it changes. Making one raises InvalidValue where it is wrong."""

    def __init__(self, path: str, parse: Callable[[], list[VMSettings]]) -> None:
        self.path = path
        self._parse = parse
        self._mark = self._current()
        self.settings = {one.vm: one for one in parse()}

    def renewed(self) -> bool:
        """Whether the file has changed and asks for something else. Raises InvalidValue, once, where it is wrong; the
        old stays then.
        """
        mark = self._current()
        if mark == self._mark:
            return False
        self._mark = mark
        settings = {one.vm: one for one in self._parse()}
        if settings == self.settings:
            return False
        self.settings = settings
        return True

    def _current(self) -> tuple[int, ...] | None:
        try:
            held = os.stat(self.path)
        except OSError:
            return None
        return held.st_mtime_ns, held.st_size, held.st_ino


@dataclass(slots=True)
class _Start:
    """One start of a VM: what marks it, and when its settings are to be pushed (monotonic; None: they were)."""

    mark: tuple[int, ...]
    due: float | None
    attempts: int = 0
    #: Whether a push is under way.
    busy: bool = False
    #: Whether it has started lately, and was not pushed to with success since.
    booting: bool = True
    #: Whether it is to be given its monitors, once a push of its keys has ended.
    monitors: bool = True


class Watcher:
    """Applies *pillar* to running VMs; *open_targets* is called for each check of the running VMs and for each push.

    *open_locks* makes what takes the VMs' locks for a push.
    """

    def __init__(
        self,
        pillar: PillarFile,
        open_targets: Callable[[], Targets],
        log: Log,
        *,
        open_locks: Callable[[], VMLocks] = VMLocks,
    ) -> None:
        self._pillar = pillar
        self._open = open_targets
        self._open_locks = open_locks
        self._log = log
        self._starts: dict[str, _Start] = {}
        self._watching: tuple[Targets, Watch] | None = None
        self._reconnect_at = 0.0
        self._soon_until = 0.0
        #: The last error of the stores that was logged.
        self._error = ""
        # And one for what finds reasons to push.
        self._pushes = runtime.pool(AT_ONCE + 1)
        #: Work that has begun or waits for its turn, and about which VMs; none is added once *_over* is set.
        self._underway: dict[Future[None], list[str]] = {}
        self._over = False
        self._adding = runtime.lock()
        self._stop = runtime.event()
        #: Whether the last thread that was needed could not be started.
        self._starved = False
        #: What qubesd, where there is one, has written meanwhile.
        self._heard = Heard()
        self._boots = Boots(open_targets, log)
        self._listener = Listener(lambda: pillar.settings, self._heard, log)
        self._follower = MonitorFollower(lambda: pillar.settings, open_targets, log)
        self._sessions = SessionMonitors(open_targets, log)

    def run(self, stop: threading.Event) -> bool:
        """Work until *stop* is set; return whether all that was under way then has ended.

        What no VM had acknowledged is taken back. Raises nothing that the hosts' stores, VMs or the pillar are to blame
        for.
        """
        self._stop = stop
        self._log(f"{self._pillar.path}: {_counted(len(self._pillar.settings))}")
        others = [one.start(stop) for one in (self._listener, self._follower)]
        raised: list[Exception] = []
        # In another thread, as what it asks may hang: what is left in the middle has to be logged in time all the same.
        self._begin([], self._follow, stop, raised)
        while not stop.wait(CHECK_SECONDS if self._starved else None):
            self._begin([], _nothing)
        others += self._sessions.end()
        ended = self._end()
        threads, until = [thread for thread in others if thread is not None], Deadline.after(_GLANCE)
        for thread in threads:
            thread.join(until.remaining)
        if raised:
            raise raised[0]
        return ended and not any(thread.is_alive() for thread in threads)

    def _follow(self, stop: threading.Event, raised: list[Exception]) -> None:
        """Do what pillar, stores and events ask for until *stop* is set; set it where that *raised* an error."""
        try:
            while not stop.is_set():
                try:
                    self._reload()
                    self._find_started()
                    self._heed()
                    self._push()
                    self._wait(stop)
                except OSError as error:
                    # Such as no descriptor left, which passes: it must never end the watcher.
                    self._log_error(VMInterfaceError(f"{error.strerror or error}"))
                    stop.wait(RECONNECT)
        except Exception as error:
            raised.append(error)
            stop.set()
        finally:
            self._hang_up()

    def _end(self) -> bool:
        """Let pushes under way take back what no VM has acknowledged; return whether all of them have ended."""
        with self._adding:
            self._over = True
        self._pushes.shutdown(wait=False, cancel_futures=True)
        late = runtime.unfinished(self._underway, TAKE_BACK)
        waiting = [vm for one in self._underway if one.cancelled() for vm in self._underway[one]]
        for vm in dict.fromkeys(waiting):
            self._log(f"{vm}: nothing was written yet; {_NEXT}")
        for vm in dict.fromkeys(vm for one in late for vm in self._underway[one]):
            self._log(f"{vm}: its store has not replied yet, so it may have a part of its settings; {_NEXT}")
        return not late

    def _reload(self) -> None:
        try:
            if not self._pillar.renewed():
                return
        except InvalidValue as error:
            for one in error.errors:
                self._log(f"{one.where}: {one}" if one.where else str(one))
            self._log(f"{self._pillar.path}: refused; the former settings stay in force")
            return
        self._log(f"{self._pillar.path}: {_counted(len(self._pillar.settings))}, read again")
        for start in self._starts.values():
            start.due, start.attempts, start.monitors = 0.0, 0, True

    def _find_started(self) -> None:
        """Note which VMs have started since the last check."""
        try:
            with self._open() as targets:
                on_xenstore = [vm for vm, one in self._pillar.settings.items() if one.channel == "xenstore"]
                starting: dict[str, int] = {}
                running = targets.starts(on_xenstore, starting)
        except VMInterfaceError as error:
            self._log_error(error)
            return
        self._log_error(None)
        self._boots.unmet(self._pillar.settings, starting)
        for vm in [vm for vm, start in self._starts.items() if running.get(vm) != start.mark]:
            del self._starts[vm]
            self._boots.forget(vm)
        for vm in running.keys() - self._starts.keys():
            self._starts[vm] = _Start(running[vm], runtime.monotonic() + SETTLE)

    def _heed(self) -> None:
        """Let running VMs whose keys qubesd may have written be pushed to again."""
        if self._starved:
            self._begin([], _nothing)
        if self._boots.due:
            self._begin([], self._boots.inspect)
        busy = self._busy()
        for vm in (self._heard.take(busy) | self._boots.take(busy)) & self._starts.keys():
            self._starts[vm].due, self._starts[vm].attempts = 0.0, 0

    def _busy(self) -> set[str]:
        return {vm for vm, one in self._starts.items() if one.busy}

    def _push(self) -> None:
        """Begin a push to the VMs whose time has come, beside those that still wait for others."""
        now = runtime.monotonic()
        due = {vm: one for vm, one in self._starts.items() if one.due is not None and one.due <= now and not one.busy}
        for one in due.values():
            one.due = None
        # The keys are there long before there is a session that can have monitors.
        desired = [
            replace(self._pillar.settings[vm], monitors=None) for vm in sorted(due) if vm in self._pillar.settings
        ]
        # Of each VM that is pushed to, which one's start is the reason.
        reasons = {settings.vm: settings.vm for settings in desired}
        # A provider that has started has none of its clients' rules, whether these run or not.
        for vm, settings in self._pillar.settings.items():
            if vm not in due and settings.firewall is not None and settings.firewall.netvm in due:
                desired.append(replace(settings.only(["firewall"]), require_running=False))
                reasons[vm] = settings.firewall.netvm
        if desired:
            for vm in reasons.values():
                due[vm].busy = True
            self._begin(list(reasons), self._push_all, desired, reasons, due)

    def _begin(self, vms: list[str], work: Callable[..., None], *arguments: object) -> None:
        """Have *work*, which is about *vms*, done in another thread as soon as there is one."""
        with self._adding:
            if self._over:
                return
            self._underway = {one: of for one, of in self._underway.items() if not one.done()}
            try:
                self._underway[self._pushes.submit(work, *arguments)] = vms
                self._starved = False
            except RuntimeError as error:
                # It waits in the queue of the pool, of which the next thread that can be started takes it.
                if (exhausted := ResourcesExhausted.of(error)) is None:
                    raise
                if not self._starved:
                    self._log(f"{exhausted}; waiting for it")
                self._starved = True

    def _push_all(self, desired: list[VMSettings], reasons: dict[str, str], starts: dict[str, _Start]) -> None:
        try:
            with self._open() as targets:
                outcomes = push(desired, targets, stop=self._stop, open_locks=self._open_locks)
        except Exception as error:
            # Whatever it is, it must neither end the watcher nor be kept from the log.
            known = error if isinstance(error, VMInterfaceError) else ResourcesExhausted.of(error)
            told = str(known or f"unexpected {type(error).__name__}: {error}")
            outcomes = [Outcome(one.vm, error=VMInterfaceError(f"{one.vm}: {told}")) for one in desired]
        # One of many, it may end long after it was done with a VM, which has stopped or started again since.
        over = {vm for vm in reasons.values() if self._starts.get(vm) is not starts[vm]}
        for settings, outcome in zip(desired, outcomes, strict=True):
            # A firewall alone is about another VM's start.
            if reasons[outcome.vm] == outcome.vm and outcome.vm not in over:
                self._boots.note(settings, outcome, booting=starts[outcome.vm].booting)
                starts[outcome.vm].booting &= not outcome.ok
            if outcome.ok and (outcome.changes or outcome.unaccepted):
                self._log(outcome.comment())
        for vm in dict.fromkeys(reasons.values()):
            starts[vm].busy = False
            self._give_monitors(vm, starts[vm])
            failed = [outcome for outcome in outcomes if not outcome.ok and reasons[outcome.vm] == vm]
            if failed and vm not in over:
                self._try_again(starts[vm], failed)
            for outcome in failed if vm in over else ():
                self._log(f"{outcome.comment()}; {vm} has stopped or started again since")

    def _give_monitors(self, vm: str, start: _Start) -> None:
        settings = self._pillar.settings.get(vm)
        if start.monitors and settings is not None and not self._stop.is_set():
            start.monitors = False
            self._sessions.give(settings, lambda: self._starts.get(vm) is start)

    def _try_again(self, start: _Start, failed: list[Outcome]) -> None:
        for outcome in failed:
            self._heard.forget(outcome.vm)
            if self._stop.is_set():
                self._log(f"{outcome.comment()}; {_NEXT}")
        if self._stop.is_set():
            return
        start.attempts += 1
        more = "no further attempt until its next start or a new pillar"
        if start.attempts < ATTEMPTS:
            pause = FIRST_PAUSE * 2 ** (start.attempts - 1)
            if start.due is None:
                start.due = runtime.monotonic() + pause
            more = f"next attempt in {pause:g} s"
        for outcome in failed:
            self._log(f"{outcome.comment()}; {more}")

    def _wait(self, stop: threading.Event) -> None:
        """Wait until something may have to be done: an event, the next check, the next attempt, or *stop*."""
        now = runtime.monotonic()
        inspect = now + (CHECK_SOON if now < self._soon_until else CHECK_SECONDS)
        until = min([inspect, *(one.due for one in self._starts.values() if one.due is not None and not one.busy)])
        self._connect()
        while not stop.is_set() and (left := self._left(until)) > 0:
            if self._watching is None:
                stop.wait(min(left, CHECK_SECONDS / 4))
                continue
            try:
                # A part at a time, as nothing but an event ends this wait early.
                self._watching[1].next(Deadline.after(min(left, CHECK_SECONDS / 4)))
            except DeadlineExceeded:
                continue
            except VMInterfaceError as error:
                self._log_error(error)
                self._hang_up()
                # Another daemon may hold none of the keys that were pushed. Pushes under way go on, and come first.
                for start in self._starts.values():
                    start.due, start.attempts = runtime.monotonic() + SETTLE, 0
                    start.booting = start.monitors = True
                return
            self._soon_until = runtime.monotonic() + SOON
            # Events that come close together are one.
            stop.wait(CHECK_SOON)
            return

    def _left(self, until: float) -> float:
        """Return the seconds to *until*, or to what qubesd's events ask for if that is earlier."""
        heard = self._heard.due(self._busy())
        return (until if heard is None else min(until, heard)) - runtime.monotonic()

    def _connect(self) -> None:
        if self._watching is not None or runtime.monotonic() < self._reconnect_at:
            return
        targets = self._open()
        try:
            self._watching = targets, targets.xenstore.watch(["@introduceDomain", "@releaseDomain"])
        except VMInterfaceError:
            # A host may have none; its QubesDBs are found by a scan.
            targets.close()
            self._reconnect_at = runtime.monotonic() + RECONNECT

    def _hang_up(self) -> None:
        if self._watching is not None:
            targets, watch = self._watching
            self._watching = None
            watch.close()
            targets.close()

    def _log_error(self, error: VMInterfaceError | None) -> None:
        """Say what is wrong with the stores when it begins, and when it is over."""
        message = "" if error is None else printable(str(error))
        if message and not self._error:
            self._log(f"{message}; waiting for it")
        elif self._error and not message:
            self._log("the stores can be reached again")
        self._error = message


def _nothing() -> None:
    """Be the work of a thread that is started for what waits already."""


def _counted(vms: int) -> str:
    return f"settings of {vms} VM{'' if vms == 1 else 's'}"
