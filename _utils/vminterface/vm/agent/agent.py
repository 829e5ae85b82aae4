"""The agent of a VM: watches the settings from dom0, applies them, and acknowledges them under
``vminterface/ack/SETTING``.

One setting's fault never stops the others nor the agent. A store that goes away is waited for, with what was applied
left in place.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module

import vminterface
from vminterface import keys, runtime
from vminterface.channel.store import KeyStore, Read, Readable, Watch, WatchEvent
from vminterface.channel.xenstore.store import XenStore
from vminterface.deadline import Deadline
from vminterface.errors import (
    ConnectionLost,
    DeadlineExceeded,
    InvalidValue,
    KeyNotFound,
    PermissionDenied,
    RemoteProtocolError,
    VMInterfaceError,
    printable,
)
from vminterface.stop import Stop
from vminterface.values.acceptance import ACCEPT
from vminterface.values.acknowledgement import PENDING, Acknowledgement, digest
from vminterface.values.announcement import Announcement
from vminterface.values.pushmark import PushMark
from vminterface.values.vmname import parse_default_user
from vminterface.values.vmtype import VMType
from vminterface.vm.agent.ending import until_stopped
from vminterface.vm.agent.keys import WATCHED, Reading, path_in, read, read_mark
from vminterface.vm.agent.presence import Presence
from vminterface.vm.agent.ready import notify_running
from vminterface.vm.agent.signs import Signs
from vminterface.vm.agent.surroundings import Surroundings
from vminterface.vm.apply import debug, keyboard, name, network, provider, services, timezone
from vminterface.vm.handlers.runtime import owner
from vminterface.vm.handlers.runtime.owner import SETTINGS, Owner, Verdict
from vminterface.vm.machine import backends
from vminterface.vm.machine.controldomain import in_a_vm, require_vm
from vminterface.vm.machine.machine import Machine
from vminterface.vm.machine.ownstore import open_own_store
from vminterface.vm.net import resolvers
from vminterface.vm.report.threads import start as start_reports

#: Seconds without an event after which a burst of them counts as over, and how long one may last. The end of a push is
#: marked, and needs no such time; other programs write one key after the other.
QUIET, BURST = 0.03, 0.5
#: Seconds for which the keys are read again while one push after the other is marked. What is read then may be half of
#: one, but a program in the VM that writes marks without end must not keep the agent from all else.
#: That happens so often at least: the time may have passed while the VM was paused.
REREAD, REREAD_LEAST = 1.0, 2
#: Seconds between two checks of whether the agent shall stop, and at what its settings rest on besides the store: where
#: nothing wakes it for these, and where something does.
CHECK_SECONDS, REST_SECONDS = 0.5, 30.0
#: Seconds to the first new attempt, at a lost connection or a setting that could not be applied; doubled each time.
FIRST_PAUSE, CONNECT_PAUSE_MAX, APPLY_PAUSE_MAX = 0.1, 5.0, 60.0
#: What :meth:`Machine.run` imports when it first runs a program: for an agent that is early enough at its start, when
#: dom0 does not wait for an answer yet.
ON_DEMAND = ("vminterface.channel.process",)

#: The keys that an agent writes.
_OWN = (keys.AGENT, *(keys.acknowledgement(setting) for setting in SETTINGS))
_PENDING = PENDING.encode("ascii")
#: What a connection that is of no more use raises.
_LOST = (ConnectionLost, DeadlineExceeded, RemoteProtocolError)

Log = Callable[[str], None]
#: Gives a machine a setting, whose keys have these texts by field, and returns what there is to note.
Step = Callable[[Mapping[str, str], Machine], str]


@dataclass(slots=True)
class _Attempt:
    """Something that may have failed and is tried once more."""

    #: When that is (monotonic); None: it is not due.
    again_at: float | None = None
    pause: float = FIRST_PAUSE

    def postpone(self) -> float:
        """Let it be tried after a pause, the next one after twice as long; return the seconds of this one."""
        pause, self.pause = self.pause, min(2 * self.pause, APPLY_PAUSE_MAX)
        self.again_at = runtime.monotonic() + pause
        return pause


@dataclass(slots=True)
class _Progress(_Attempt):
    """How far one setting has come; it is applied once more after a fault that may pass."""

    inputs: Mapping[str, str] = field(default_factory=dict)
    #: The answer to *inputs*; None: not applied, or not answered because there never was anything to apply.
    acknowledgement: Acknowledgement | None = None


class Agent:
    """Applies settings to *machine* and remembers the results; one connection after the other may serve it.

    *steps* are what applies each setting, and *surroundings* what these rest on, where they are not the usual ones.
    *presence* replies to those who ask whether it works; *signs* wake the agent, which else checks twice a second.
    """

    def __init__(
        self,
        machine: Machine,
        *,
        live_services: bool = False,
        log: Log | None = None,
        steps: Mapping[str, Step] | None = None,
        surroundings: Surroundings | None = None,
        presence: Presence | None = None,
        signs: Signs | None = None,
    ) -> None:
        self._machine = machine
        self._signs = signs
        self._presence = presence
        self._live_services = live_services
        self._log = log or (lambda line: None)
        self._progress = {setting: _Progress() for setting in SETTINGS}
        self._may_acknowledge = True
        #: What the last :meth:`_take_over` has written, by path.
        self._wrote: dict[str, bytes] = {}
        #: When to write once more what the store did not take.
        self._unwritten = _Attempt()
        self._steps = steps
        self._surroundings = surroundings or Surroundings(machine)
        #: Settings to apply again although dom0 says nothing new.
        self._again: set[str] = set()
        self._backends: frozenset[backends.Backend] = frozenset()
        self._verdicts, self._owner_stamp = self._read_owner()
        #: The mark of a push that did not go on in time: it is taken as far as it came.
        self._abandoned: PushMark | None = None
        #: The mark that was there at the last reading.
        self._mark: PushMark | None = None

    def serve(self, store: KeyStore, stop: threading.Event) -> None:
        """Apply the settings in *store* to the machine until *stop* is set. Raises ConnectionLost and its like."""
        with store.watch([path_in(store, name) for name in (*WATCHED, backends.FOLDER)]) as watch:
            self._take_over(store, watch, stop, first=True)
            self.present("")
            while not stop.is_set():
                if self._wait(store, watch, stop):
                    self._take_over(store, watch, stop)
        with suppress(KeyNotFound, PermissionDenied):
            store.remove(path_in(store, keys.AGENT), timeout=0.5)

    def _wait(self, store: KeyStore, watch: Watch, stop: threading.Event) -> bool:
        """Wait for a burst of events, the time of a new attempt, or *stop*; whether there is something to do."""
        while not stop.is_set():
            self.present("")
            attempts = (*self._progress.values(), self._unwritten)
            due = min((one.again_at for one in attempts if one.again_at is not None), default=float("inf"))
            others, longest = self._others(stop)
            try:
                events = watch.next(Deadline.after(max(0.0, min(longest, due - runtime.monotonic()))), others)
            except DeadlineExceeded:
                events = []
            if events and not self._are_own(store, events):
                # With transactions all of a push is there at once.
                if not (store.transactions and _has_mark(store, events)):
                    self._let_burst_end(store, watch, events)
                return True
            if self._signs is not None:
                self._signs.clear()
            self._again |= self._surroundings.changed()
            if self._again or runtime.monotonic() >= due or owner.stamp(self._machine) != self._owner_stamp:
                return True
        return False

    def _are_own(self, store: KeyStore, events: Sequence[WatchEvent]) -> bool:
        """Whether *events* are those of this agent's own keys alone, and the store still holds what it has written."""
        paths = {event.path for event in events}
        if not paths <= self._wrote.keys():
            return False
        return store.batch([Read(path) for path in paths]) == [self._wrote[path] for path in paths]

    def _others(self, stop: threading.Event) -> tuple[Sequence[Readable], float]:
        """Return what shall wake the agent besides its store, and the seconds after which it checks in any case."""
        if self._signs is None or self._presence is None or not isinstance(stop, Stop):
            return (), CHECK_SECONDS
        complete = self._signs.complete and self._presence.descriptors
        others: list[Readable] = [stop, *self._presence.descriptors, *self._signs.descriptors]
        return others, REST_SECONDS if complete else CHECK_SECONDS

    def _let_burst_end(self, store: KeyStore, watch: Watch, events: list[WatchEvent]) -> None:
        """Wait until what *events* began is over: a push when its mark says so, anything else when it is quiet.

        A mark that changes while a push is under way is that of its end. If not, the reading that follows finds out.
        """
        burst, mark = Deadline.after(BURST), None
        with suppress(DeadlineExceeded):
            while not burst.passed:
                if _has_mark(store, events):
                    if mark is not None and not mark.written:
                        return
                    mark = read_mark(store)
                # The events of what was written before the mark have come before this reply.
                seconds = QUIET if mark is None else 0.0 if mark.written else burst.remaining
                events = watch.next(Deadline.after(seconds))
        if mark is not None and not mark.written:
            self._abandoned = mark

    def _read(self, store: KeyStore, watch: Watch, stop: threading.Event) -> Reading:
        """Return what *store* holds: no half of a push, unless dom0 has abandoned it or others never end.

        A transaction of dom0's that is not marked may come in the middle of a reading, which is made again therefore.
        """
        again, times, former = Deadline.after(REREAD), 0, None
        while True:
            found = read(store, _OWN)
            unfinished = found.unfinished and found.marks[1] != self._abandoned
            marked = found.marks[1] != self._mark or not store.transactions
            if not unfinished and (marked or (former is not None and former.texts == found.texts)):
                break
            times += 1
            if stop.is_set() or (again.passed and times > REREAD_LEAST):
                break
            if unfinished:
                mark = path_in(store, keys.PUSH)
                self._let_burst_end(store, watch, [WatchEvent(mark, mark)])
            former = found
        self._mark = found.marks[1]
        return found

    def present(self, without_store: str) -> None:
        """Reply to those who ask whether the agent works; *without_store*: why it has no store, if it has none."""
        if self._presence is not None:
            self._presence.without_store = without_store
            self._presence.reply()

    def _take_over(self, store: KeyStore, watch: Watch, stop: threading.Event, first: bool = False) -> None:
        """Read everything, apply what is new, and see to it that the store holds the right answers."""
        if owner.stamp(self._machine) != self._owner_stamp:
            self._verdicts, self._owner_stamp = self._read_owner()
        verdicts = self._verdicts
        self._wrote.clear()
        found = self._read(store, watch, stop)
        texts, acknowledgements = found.texts, found.own
        again, self._again = self._again | self._surroundings.changed(), set()
        if keys.inputs_of("provider", texts):
            before, self._backends = self._backends, backends.by_toolstack(store, self._backends, self._log)
            again |= {"provider"} if self._backends != before else set()
        if self._unwritten.again_at is not None and runtime.monotonic() < self._unwritten.again_at:
            # An attempt that something else has brought about: the pause after it is no longer than the last one.
            self._unwritten.pause = max(FIRST_PAUSE, self._unwritten.pause / 2)
        self._unwritten.again_at = None
        lost = self._forget_lost(texts) if first and not _has_lost_nothing(store, texts, acknowledgements) else set()
        services_changed = announced = False
        unaccepted = {setting: one.word for setting, one in verdicts.items() if one.word != ACCEPT}
        announcement = Announcement(
            vminterface.__version__, frozenset(SETTINGS) - unaccepted.keys(), unaccepted
        ).render()
        for setting in SETTINGS:
            if stop.is_set():
                return
            progress, key = self._progress[setting], keys.acknowledgement(setting)
            inputs, pending = keys.inputs_of(setting, texts), acknowledgements.get(key) == _PENDING
            if setting in lost and setting not in unaccepted:
                continue
            if setting in unaccepted:
                # dom0 hears it also of what it has not asked for: it leaves that out of a push from the start.
                news, apply = self._leave(progress, inputs, verdicts[setting]), False
            else:
                if progress.acknowledgement is not None and progress.acknowledgement.owner != ACCEPT:
                    progress.acknowledgement = None
                known = bool(inputs or progress.inputs) or key in acknowledgements
                by_type = setting == "services" and "type" in texts
                news = progress.inputs != inputs or (
                    progress.acknowledgement is None and (known or (by_type and first))
                )
                news |= progress.again_at is not None and runtime.monotonic() >= progress.again_at
                # dom0 asks again, or was not told yet; what was refused may be possible by now.
                news |= (
                    (pending or key not in acknowledgements)
                    and progress.acknowledgement is not None
                    and not progress.acknowledgement.accepted
                )
                depends = bool(inputs) and (setting in again or (setting == "network" and services_changed))
                apply = news or depends
            if not announced and store.per_vm and (news or pending):
                # A daemon of dom0 that was started afresh does not know that there is an agent, and cannot ask.
                acknowledgements = {name: value for name, value in acknowledgements.items() if name != keys.AGENT}
                self._write(store, acknowledgements, keys.AGENT, announcement)
                announced = True
            if apply:
                acknowledgement = self._apply(setting, inputs, texts, progress)
                services_changed = services_changed or setting == "services"
                progress.inputs = inputs
                progress.acknowledgement = acknowledgement if known else None
            if progress.acknowledgement is not None:
                self._write(store, acknowledgements, key, progress.acknowledgement.render())
        if not announced:
            self._write(store, acknowledgements, keys.AGENT, announcement)

    def _forget_lost(self, texts: Mapping[str, str]) -> set[str]:
        """Note that a store has lost the keys of settings, which leaves these as they are; return the settings.

        A daemon that was started afresh has none of its keys: that is no word of dom0 to undo anything.
        """
        lost = {setting for setting, one in self._progress.items() if one.inputs and not keys.inputs_of(setting, texts)}
        for setting in lost:
            self._log(f"{setting}: no keys in the store after a reconnection, left unchanged")
            progress = self._progress[setting]
            progress.inputs, progress.acknowledgement, progress.again_at = {}, None, None
        return lost

    def _read_owner(self) -> tuple[dict[str, Verdict], tuple[tuple[int, ...], ...]]:
        """Read what the VM's owner accepts. The stamp is taken first: what changes meanwhile is read once more."""
        stamp, found = owner.stamp(self._machine), Owner(self._machine)
        verdicts = {setting: found.setting(setting) for setting in SETTINGS}
        unaccepted = [f"{setting}: {one.word}: {one.reason}" for setting, one in verdicts.items() if one.word != ACCEPT]
        for line in [verdicts[SETTINGS[0]].reason] if found.error else unaccepted:
            self._log(line)
        return verdicts, stamp

    @staticmethod
    def _leave(progress: _Progress, inputs: Mapping[str, str], verdict: Verdict) -> bool:
        """Acknowledge that the VM's owner does not accept a setting, and leave it as it is; return whether it is news.

        ``progress.inputs`` stay those that were applied last, so that a change of them is seen once it is accepted.
        """
        acknowledgement, former = (
            Acknowledgement(False, digest(inputs), verdict.reason, verdict.word),
            progress.acknowledgement,
        )
        progress.acknowledgement, progress.again_at = acknowledgement, None
        return acknowledgement != former

    def _apply(
        self, setting: str, inputs: Mapping[str, str], texts: Mapping[str, str], progress: _Progress
    ) -> Acknowledgement:
        """Apply one setting; return the acknowledgement to dom0, of success or error."""
        if inputs != progress.inputs:
            progress.pause = FIRST_PAUSE
        progress.again_at = None
        try:
            acknowledgement = Acknowledgement(True, digest(inputs), self._step(setting, texts)(inputs, self._machine))
        except InvalidValue as error:
            acknowledgement = Acknowledgement(False, digest(inputs), str(error))
        except Exception as error:
            expected = isinstance(error, VMInterfaceError)
            reason = str(error) if expected else f"unexpected {type(error).__name__}: {error}"
            acknowledgement = Acknowledgement(False, digest(inputs), reason)
            progress.postpone()
        if acknowledgement != progress.acknowledgement:
            self._log(f"{setting}: {'' if acknowledgement.accepted else 'refused: '}{acknowledgement.note}")
        return acknowledgement

    def _step(self, setting: str, texts: Mapping[str, str]) -> Step:
        """Return what applies *setting*, with what it needs of the other keys; of those a bad text counts as none."""
        if self._steps is not None:
            return self._steps[setting]
        vm_type = user = None
        with suppress(InvalidValue):
            vm_type = VMType.parse(texts.get("type", ""))
        with suppress(InvalidValue):
            user = parse_default_user(texts.get("default_user", ""))
        steps: dict[str, Step] = {
            "name": name.apply,
            "timezone": timezone.apply,
            "services": partial(services.apply, vm_type=vm_type, live_units=self._live_services),
            "network": network.apply,
            "provider": partial(provider.apply, by_toolstack=self._backends),
            "keyboard": partial(keyboard.apply, user=user or "user"),
            "debug": debug.apply,
        }
        return steps[setting]

    def _write(self, store: KeyStore, acknowledgements: Mapping[str, bytes], key: str, text: str) -> None:
        """Write one of our keys unless the store has it so; nothing lost where dom0 has not given us the node yet."""
        data = text.encode("ascii")
        if acknowledgements.get(key) == data:
            return
        try:
            store.write(path_in(store, key), data)
        except PermissionDenied:
            if self._may_acknowledge:
                self._log(
                    f"dom0 did not create the key {keys.ACKNOWLEDGEMENTS} for this VM: acknowledgements wait until it"
                    f" does"
                )
            self._may_acknowledge = False
        except _LOST:
            raise
        except VMInterfaceError as error:
            # As where another program in the VM has used up its nodes; dom0 gives no sign when there are some again.
            if self._unwritten.again_at is None:
                pause = self._unwritten.postpone()
                self._log(f"{key}: cannot be written: {error}; next attempt in {pause:g} s")
        else:
            self._may_acknowledge = True
            self._unwritten.pause = FIRST_PAUSE
            self._wrote[path_in(store, key)] = data


def _has_mark(store: KeyStore, events: Sequence[WatchEvent]) -> bool:
    """Whether *events* show that dom0's mark of a push has changed."""
    return any(event.path == path_in(store, keys.PUSH) for event in events)


def _has_lost_nothing(store: KeyStore, texts: Mapping[str, str], acknowledgements: Mapping[str, bytes]) -> bool:
    """Whether *store* has certainly lost no keys: then what is gone was removed while there was no connection.

    The toolstack writes the VM's name at its start alone. An acknowledgement of ours shows it too, but there may be
    none where other programs of the VM have used up its nodes. The two sides of a QubesDB lose keys, and get them
    again, one by one.
    """
    ours = any(value != _PENDING for value in acknowledgements.values())
    return store.transactions and ("name" in texts or ours)


def serve(
    open_store: Callable[[], KeyStore],
    machine: Machine,
    stop: threading.Event,
    *,
    live_services: bool = False,
    log: Log | None = None,
    agent: Agent | None = None,
) -> None:
    """Be the agent of *machine* until *stop* is set, with as many connections from *open_store* as it takes.

    *agent* is one that is made already.
    """
    agent = agent or Agent(machine, live_services=live_services, log=log)
    pause = FIRST_PAUSE
    while not stop.is_set():
        began = runtime.monotonic()
        try:
            with open_store() as store:
                agent.serve(store, stop)
        except VMInterfaceError as error:
            if runtime.monotonic() - began > CONNECT_PAUSE_MAX:
                pause = FIRST_PAUSE
            if log is not None:
                log(f"{'no store: ' if isinstance(error, _LOST) else ''}{error}; next attempt in {pause:g} s")
            again = runtime.monotonic() + pause
            while (left := again - runtime.monotonic()) > 0:
                agent.present(str(error))
                if stop.wait(min(left, CHECK_SECONDS)):
                    break
            pause = min(2 * pause, CONNECT_PAUSE_MAX)


def run(
    *,
    root: str = "/",
    live_services: bool = False,
    open_store: Callable[[], KeyStore] | None = None,
) -> int:
    """Be the agent of the machine below *root* until SIGTERM or SIGINT, and seconds longer; return the exit status.

    Its settings come from *open_store*, by default :func:`open_own_store`; its memory is always reported in the
    XenStore. Raises ControlDomain in dom0.
    """
    machine = Machine(root)
    require_vm(machine, "vminterface agent", in_a_vm("vminterface.agent"))
    stop = Stop()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    open_store = open_store or partial(open_own_store, machine)
    reports = start_reports(machine, stop, open_store=open_store, open_xenstore=XenStore.open, log=_to_stderr)
    for module in ON_DEMAND:
        import_module(module)
    presence = Presence(machine)
    if presence.error:
        _to_stderr(presence.error)
    signs = Signs(machine, (*owner.PATHS, *resolvers.FILES))
    agent = Agent(machine, live_services=live_services, log=_to_stderr, presence=presence, signs=signs)
    notify_running()
    if not until_stopped(partial(serve, open_store, machine, stop, log=_to_stderr, agent=agent), stop):
        _to_stderr("stopped while a step was still running")
    presence.close()
    signs.close()
    deadline = Deadline.after(1.0)
    for report in reports:
        report.join(deadline.remaining)
    return 0


def _to_stderr(line: str) -> None:
    print(f"vminterface agent: {printable('; '.join(line.splitlines()), 400)}", file=sys.stderr, flush=True)
