"""The agent of a VM: watches what dom0 says, applies it, and acknowledges it under ``vminterface/ack/SETTING``.

One setting's fault never stops the others nor the agent. A store that goes away is waited for, with what was applied
left in place.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module

import vminterface
from vminterface import keys
from vminterface.channel.qubesdb import QubesDB
from vminterface.channel.qubesdb_connection import find_socket
from vminterface.channel.store import KeyStore, Watch
from vminterface.channel.xenstore import XenStore
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
from vminterface.values.acknowledgement import PENDING, Acknowledgement, digest
from vminterface.values.announcement import Announcement
from vminterface.values.vmname import parse_default_user
from vminterface.values.vmtype import VMType
from vminterface.vm import backends
from vminterface.vm.agent_keys import WATCHED, path_in, read
from vminterface.vm.apply import debug, keyboard, name, network, provider, services, timezone
from vminterface.vm.controldomain import in_a_vm, require_vm
from vminterface.vm.ending import until_stopped
from vminterface.vm.machine import Machine
from vminterface.vm.ready import say_running
from vminterface.vm.report.threads import start as start_reports
from vminterface.vm.stop import Stop
from vminterface.vm.surroundings import Surroundings

#: In this order: what is applied later may look at what was applied before.
SETTINGS = ("name", "timezone", "services", "network", "provider", "keyboard", "debug")
#: Seconds without an event after which a burst of them counts as over, and how long one may last.
QUIET, BURST = 0.03, 0.5
#: Seconds between two looks at whether the agent shall stop.
LOOK = 0.5
#: Seconds to the first new attempt, at a lost connection or a setting that could not be applied; doubled each time.
FIRST_PAUSE, CONNECT_PAUSE_MAX, APPLY_PAUSE_MAX = 0.1, 5.0, 60.0
#: What :meth:`Machine.run` imports when it first runs a program: for an agent that is early enough at its start, when
#: dom0 does not wait for an answer yet.
ON_DEMAND = ("shutil", "vminterface.channel.process")

#: The keys that an agent writes.
_OWN = (keys.AGENT, *(keys.acknowledgement(setting) for setting in SETTINGS))
#: What a connection that is of no more use raises.
_LOST = (ConnectionLost, DeadlineExceeded, RemoteProtocolError)

Log = Callable[[str], None]


@dataclass(slots=True)
class _Progress:
    """How far one setting has come."""

    inputs: Mapping[str, str] = field(default_factory=dict)
    #: The answer to *inputs*; None: not applied, or not answered because there never was anything to apply.
    answer: Acknowledgement | None = None
    #: When to try once more (monotonic), after a fault that may pass.
    again_at: float | None = None
    pause: float = FIRST_PAUSE


class Agent:
    """Applies settings to *machine* and remembers what came of it; one connection after the other may serve it."""

    def __init__(self, machine: Machine, *, live_services: bool = False, log: Log | None = None) -> None:
        self._machine = machine
        self._live_services = live_services
        self._log = log or (lambda line: None)
        self._progress = {setting: _Progress() for setting in SETTINGS}
        self._may_answer = True
        self._surroundings = Surroundings(machine)
        #: Settings to apply again although dom0 says nothing new.
        self._again: set[str] = set()
        self._backends: frozenset[backends.Backend] = frozenset()

    def serve(self, store: KeyStore, stop: threading.Event) -> None:
        """Keep the machine as *store* says until *stop* is set. Raises ConnectionLost and its like."""
        with store.watch([path_in(store, name) for name in (*WATCHED, backends.FOLDER)]) as watch:
            self._take_over(store, stop, first=True)
            while not stop.is_set():
                if self._wait(watch, stop):
                    self._take_over(store, stop)
        with suppress(KeyNotFound, PermissionDenied):
            store.remove(path_in(store, keys.AGENT), timeout=0.5)

    def _wait(self, watch: Watch, stop: threading.Event) -> bool:
        """Wait for a burst of events, the time of a new attempt, or *stop*; whether there is something to do."""
        while not stop.is_set():
            due = min((p.again_at for p in self._progress.values() if p.again_at is not None), default=float("inf"))
            try:
                watch.next(Deadline.after(max(0.0, min(LOOK, due - time.monotonic()))))
            except DeadlineExceeded:
                self._again |= self._surroundings.changed()
                if self._again or time.monotonic() >= due:
                    return True
                continue
            burst = Deadline.after(BURST)
            with suppress(DeadlineExceeded):
                while not burst.passed:
                    watch.next(Deadline.after(QUIET))
            return True
        return False

    def _take_over(self, store: KeyStore, stop: threading.Event, first: bool = False) -> None:
        """Read everything, apply what is new, and see to it that the store holds the right answers."""
        texts, answers = read(store, _OWN)
        again, self._again = self._again | self._surroundings.changed(), set()
        if keys.inputs_of("provider", texts):
            before, self._backends = self._backends, backends.told(store, self._backends, self._log)
            again |= {"provider"} if self._backends != before else set()
        services_changed = announced = False
        announcement = Announcement(vminterface.__version__, frozenset(SETTINGS)).render()
        for setting in SETTINGS:
            if stop.is_set():
                return
            progress = self._progress[setting]
            inputs = keys.inputs_of(setting, texts)
            if first and not inputs and progress.inputs:
                # A daemon that was started afresh has lost its keys; that is no word of dom0 to undo anything.
                self._log(f"{setting}: no keys in the store any more after a reconnection, kept as it is")
                progress.inputs, progress.answer, progress.again_at = {}, None, None
                continue
            known = bool(inputs or progress.inputs) or keys.acknowledgement(setting) in answers
            by_type = setting == "services" and "type" in texts
            new = progress.inputs != inputs or (progress.answer is None and (known or (by_type and first)))
            due = progress.again_at is not None and time.monotonic() >= progress.again_at
            # dom0 asks again; what was refused may be possible by now.
            due |= _is_pending(answers, setting) and progress.answer is not None and not progress.answer.accepted
            depends = bool(inputs) and (setting in again or (setting == "network" and services_changed))
            if not announced and store.channel == "qubesdb" and (new or due or _is_pending(answers, setting)):
                # A daemon of dom0 that was started afresh does not know that there is an agent, and cannot ask.
                answers = {key: value for key, value in answers.items() if key != keys.AGENT}
                self._say(store, answers, keys.AGENT, announcement)
                announced = True
            if new or due or depends:
                answer = self._apply(setting, inputs, texts, progress)
                services_changed = services_changed or setting == "services"
                progress.inputs = inputs
                progress.answer = answer if known else None
            if progress.answer is not None:
                self._say(store, answers, keys.acknowledgement(setting), progress.answer.render())
        if not announced:
            self._say(store, answers, keys.AGENT, announcement)

    def _apply(
        self, setting: str, inputs: Mapping[str, str], texts: Mapping[str, str], progress: _Progress
    ) -> Acknowledgement:
        """Apply one setting, whatever comes of it, and return the answer to dom0."""
        if inputs != progress.inputs:
            progress.pause = FIRST_PAUSE
        progress.again_at = None
        try:
            answer = Acknowledgement(True, digest(inputs), self._step(setting, texts)(inputs, self._machine))
        except InvalidValue as error:
            answer = Acknowledgement(False, digest(inputs), str(error))
        except Exception as error:
            expected = isinstance(error, VMInterfaceError)
            reason = str(error) if expected else f"unexpected {type(error).__name__}: {error}"
            answer = Acknowledgement(False, digest(inputs), reason)
            progress.again_at = time.monotonic() + progress.pause
            progress.pause = min(2 * progress.pause, APPLY_PAUSE_MAX)
        if answer != progress.answer:
            self._log(f"{setting}: {'' if answer.accepted else 'refused: '}{answer.note}")
        return answer

    def _step(self, setting: str, texts: Mapping[str, str]) -> Callable[[Mapping[str, str], Machine], str]:
        """Return what applies *setting*, with what it needs of the other keys; of those a bad text counts as none."""
        vm_type = user = None
        with suppress(InvalidValue):
            vm_type = VMType.parse(texts.get("type", ""))
        with suppress(InvalidValue):
            user = parse_default_user(texts.get("default_user", ""))
        steps: dict[str, Callable[[Mapping[str, str], Machine], str]] = {
            "name": name.apply,
            "timezone": timezone.apply,
            "services": partial(services.apply, vm_type=vm_type, live_units=self._live_services),
            "network": network.apply,
            "provider": partial(provider.apply, told=self._backends),
            "keyboard": partial(keyboard.apply, user=user or "user"),
            "debug": debug.apply,
        }
        return steps[setting]

    def _say(self, store: KeyStore, answers: Mapping[str, bytes], key: str, text: str) -> None:
        """Write one of our keys unless the store has it so; nothing lost where dom0 has not given us the node yet."""
        data = text.encode("ascii")
        if answers.get(key) == data:
            return
        try:
            store.write(path_in(store, key), data)
        except PermissionDenied:
            if self._may_answer:
                self._log(f"dom0 has not given this VM the key {keys.ANSWERS}: answers wait until it does")
            self._may_answer = False
        except _LOST:
            raise
        except VMInterfaceError as error:
            self._log(f"{key}: cannot be written: {error}")
        else:
            self._may_answer = True


def _is_pending(answers: Mapping[str, bytes], setting: str) -> bool:
    return answers.get(keys.acknowledgement(setting)) == PENDING.encode("ascii")


def serve(
    open_store: Callable[[], KeyStore],
    machine: Machine,
    stop: threading.Event,
    *,
    live_services: bool = False,
    log: Log | None = None,
) -> None:
    """Be the agent of *machine* until *stop* is set, with as many connections from *open_store* as it takes."""
    agent = Agent(machine, live_services=live_services, log=log)
    pause = FIRST_PAUSE
    while not stop.is_set():
        began = time.monotonic()
        try:
            with open_store() as store:
                agent.serve(store, stop)
        except VMInterfaceError as error:
            if time.monotonic() - began > CONNECT_PAUSE_MAX:
                pause = FIRST_PAUSE
            if log is not None:
                log(f"{'no store: ' if isinstance(error, _LOST) else ''}{error}; next attempt in {pause:g} s")
            stop.wait(pause)
            pause = min(2 * pause, CONNECT_PAUSE_MAX)


def open_own_store(machine: Machine) -> KeyStore:
    """Connect *machine* to its QubesDB, whose socket is among its own files, or where it has none, to the XenStore."""
    folder = None if machine.is_whole else f"{machine.root}/run/qubes"
    return XenStore.open() if find_socket(None, folder) is None else QubesDB.open(folder=folder)


def run(
    *,
    root: str = "/",
    live_services: bool = False,
    open_store: Callable[[], KeyStore] | None = None,
) -> int:
    """Be the agent of the machine below *root* until SIGTERM or SIGINT, and seconds longer; return the exit status.

    Its settings come from *open_store*, by default :func:`open_own_store`; its memory is always told in the XenStore.
    Raises ControlDomain in dom0.
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
    say_running()
    if not until_stopped(partial(serve, open_store, machine, stop, live_services=live_services, log=_to_stderr), stop):
        _to_stderr("ended in the middle of a step that did not end")
    deadline = Deadline.after(1.0)
    for report in reports:
        report.join(deadline.remaining)
    return 0


def _to_stderr(line: str) -> None:
    print(f"vminterface agent: {printable('; '.join(line.splitlines()), 400)}", file=sys.stderr, flush=True)
