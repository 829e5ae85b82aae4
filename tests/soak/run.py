"""One soak on one release: bring the lab up, let everybody work, end it, and judge."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.control import Lab
from lab.guest.vm import AGENT_VARIABLE
from lab.linux.namespaces import Isolation
from lab.linux.processes import descendants
from lab.paths import PROJECT, LabPaths
from tests.soak import leftovers
from tests.soak.admins import Admin
from tests.soak.disturbances import Disturbances
from tests.soak.measures import DESCRIPTORS, MEMORY, THREADS, Samples, children
from tests.soak.pillars import fields, random_pillar
from tests.soak.reports import Reports
from tests.soak.rest import COUNTS, Rest, at_rest, growth
from tests.soak.result import Result
from tests.soak.slope import Verdict, judge
from tests.soak.watcher import Watcher
from vminterface.deadline import Deadline
from vminterface.dom0.desired.settings import parse_pillar
from vminterface.dom0.inventory.targets import Targets
from vminterface.dom0.push.push import push
from vminterface.dom0.push.watch.watcher import AT_ONCE
from vminterface.errors import ProgramMissing, VMInterfaceError

AGENT, YOUNG_AGENT = "agent", "young agent"
#: By kind of process, how it is called: the module that it runs.
KINDS = {
    "tests.soak.agent": AGENT,
    "lab.xenstored": "xenstored",
    "lab.qubesdb": "qubesdb",
    "lab.dom0.supervisor": "lab, qubesd",
}
WATCHER = "watcher"
#: What may be added each hour at most, by kind of process. Memory is in KiB: an agent has some 300 pushes an hour, each
#: of which may leave a KiB or two in an allocator that keeps them for the next; the others have to do with 10,000.
MEMORY_LIMITS = {AGENT: 1024.0, YOUNG_AGENT: math.inf}
#: Pushes to the agents that are judged, before it begins.
WARM_ROUNDS = 150
#: What a watcher at rest may have more than at its beginning: the threads of its pool.
POOL = {THREADS: AT_ONCE + 1.0}
LIMITS = {MEMORY: 2048.0, DESCRIPTORS: 1.0, THREADS: 1.0}
#: Seconds of a run from which on slopes are judged. For memory it is its second half, of ten minutes at least: an
#: allocator takes more and more slowly what it keeps, for some hundreds of pushes.
SHORTEST, SHORTEST_FOR_MEMORY = 480.0, 1200.0
#: Seconds that all VMs may take to start, and to end.
UP, DOWN = 900.0, 300.0
#: What each VM has at the end, when nothing disturbs it any more, to acknowledge what it is given.
LAST_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done. Times in seconds; *pause* is the mean time between two things that one actor does."""

    release: str
    seed: str
    vms: int = 50
    seconds: float = 1200.0
    timeout: float = 6.0
    pause: float = 2.0

    @property
    def sample(self) -> float:
        """Seconds between two measurements."""
        return min(5.0, self.seconds / 20)

    @property
    def rest(self) -> float:
        """Seconds that the watcher has to do what is left to do, and be at rest."""
        return min(180.0, self.seconds / 4)

    @property
    def warmup(self) -> float:
        """Seconds from its first measurement on that a process is not judged: it fills its caches."""
        return min(180.0, self.seconds / 8)

    @property
    def stretch(self) -> float:
        """Seconds of which all measurements of a process count as one."""
        return min(30.0, self.seconds / 20)

    def judged(self, measure: str) -> bool:
        """Whether growth of *measure* can be told from what programs do in their first minutes."""
        return self.seconds >= (SHORTEST_FOR_MEMORY if measure == MEMORY else SHORTEST)

    def chance(self, who: str) -> random.Random:
        """Return what decides for *who*: the same with the same seed."""
        return random.Random(f"{self.seed} {self.release} {who}")


def soak(plan: Plan, say: Callable[[str], None]) -> tuple[Result, Samples]:
    """Do it and return what came of it and what was measured; *say* is given a line now and then.

    Raises VMInterfaceError without a lab.
    """
    if not Isolation.probe().vms:
        raise ProgramMissing("a soak needs VMs with processes of their own (expected root, or user namespaces)")
    leftovers.adopt_orphans()
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    try:
        with _temporary_files_in(folder / "tmp"):
            one = Soak(plan, folder, say)
            return one.run(), one.samples
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _as_dom0(environment: Mapping[str, str]) -> Iterator[None]:
    """Let this process be one of dom0's programs."""
    environment_before, path_before = dict(os.environ), list(sys.path)
    os.environ.update(environment)
    sys.path[:0] = environment["PYTHONPATH"].split(os.pathsep)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(environment_before)
        sys.path[:] = path_before


@contextmanager
def _temporary_files_in(folder: Path) -> Iterator[None]:
    """Let all programs that are started make their temporary files in *folder*."""
    folder.mkdir()
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = before


class Soak:
    """The soak of *plan* in *folder*; :meth:`run` does it all."""

    def __init__(self, plan: Plan, folder: Path, say: Callable[[str], None]) -> None:
        self._plan, self._folder, self._say = plan, folder, say
        self._vms = [f"vm{number:02d}" for number in range(plan.vms)]
        self._lab = Lab(LabPaths(folder / "l"))
        self._reports = Reports(self._lab.paths.root)
        self.samples = Samples()
        self._left: list[str] = []
        self._unconverged: list[str] = []
        #: When the second half begins, which is judged (monotonic).
        self._half = 0.0
        #: What the watcher held at rest, before the first disturbance and after the last one.
        self._rests: list[Rest | None] = []
        #: The agents whose memory is judged.
        self._judged: set[int] = set()

    def run(self) -> Result:
        """Return what came of it."""
        listed = self._folder / "vms.json"
        listed.write_text(json.dumps([{"name": vm} for vm in self._vms]))
        self._say(f"{self._plan.release}: starting {self._plan.vms} VMs")
        os.environ[AGENT_VARIABLE] = "tests.soak.agent"
        try:
            self._lab.up(listed, release=self._plan.release, seconds=UP)
        finally:
            del os.environ[AGENT_VARIABLE]
        try:
            disturbances = self._work()
        finally:
            try:
                self._lab.down(DOWN)
            except VMInterfaceError as error:
                self._left.append(str(error))
        self._left += leftovers.of_processes()
        self._left += leftovers.of_folder(self._folder)
        self._left += leftovers.of_temporary_folder(self._folder / "tmp")
        if self._lab.paths.folder.exists():
            self._left.append(f"folder {self._lab.paths.folder}")
        verdicts = [
            verdict
            for kind, series in sorted(self.samples.kinds(self._half).items())
            for verdict in judge(
                kind,
                series,
                {**(LIMITS if kind != WATCHER else {}), MEMORY: MEMORY_LIMITS.get(kind, LIMITS[MEMORY])},
                warmup=self._plan.warmup,
                stretch=self._plan.stretch,
                judged=self._plan.judged,
            )
        ]
        first, last = self._rests
        for name in COUNTS:
            slope = growth(name, first, last, POOL.get(name, 0.0))
            verdicts.append(Verdict(WATCHER, f"{name} at rest", LIMITS[name], 1, slope, self._plan.judged(name)))
        return Result(
            self._plan.release, self._plan.seed, self._plan.vms, self._plan.seconds, self._reports.counts,
            disturbances.counts, self._reports.wrong, self._unconverged, self._left, disturbances.errors, verdicts,
        )  # fmt: skip

    def _work(self) -> Disturbances:
        plan, environment = self._plan, self._environment()
        watcher = Watcher(
            plan.chance("watcher"), self._vms, self._folder, environment, self._reports, timeout=plan.timeout
        )
        admins = [
            Admin(
                name,
                plan.chance(name),
                self._vms,
                self._folder,
                environment,
                self._reports,
                timeout=plan.timeout,
                pause=plan.pause,
            )
            for name in ("admin-1", "admin-2")
        ]
        disturbances = Disturbances(
            plan.chance("disturbances"),
            self._lab,
            self._vms,
            watcher,
            release=plan.release,
            pause=plan.pause,
            seconds=plan.seconds,
        )
        stop = threading.Event()
        works = [*(admin.work for admin in admins), disturbances.work]
        threads = [threading.Thread(target=work, args=(stop,)) for work in works]
        with _as_dom0(environment):
            self._warm_up(plan.chance("warm-up"), disturbances.staying)
        watcher.start()
        self._note_rest(watcher)
        try:
            for thread in threads:
                thread.start()
            self._measure_until(Deadline.after(plan.seconds), watcher)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
            self._note_rest(watcher)
            watcher.stop()
        self._converge(admins[0], plan.chance("last"))
        self._inspect()
        return disturbances

    def _warm_up(self, chance: random.Random, vms: Sequence[str]) -> None:
        """Push to *vms*, whose agents are judged, again and again.

        Each push of the first hundreds leaves some of its memory to those that follow.
        """
        deadline, rounds = Deadline.after(self._plan.seconds / 4), 0
        while rounds < WARM_ROUNDS and not deadline.passed:
            with Targets() as targets:
                push(parse_pillar(random_pillar(chance, vms, LAST_TIMEOUT)), targets, stop=threading.Event())
            rounds += 1
        self._judged = {
            agent
            for told in self._lab.ask("status")["vms"].items()
            if told[0] in vms
            for agent in children(told[1]["init"])
        }
        self._say(f"{self._plan.release}: {rounds} pushes to {len(vms)} VMs to begin with")

    def _note_rest(self, watcher: Watcher) -> None:
        pid = watcher.pid
        self._rests.append(None if pid is None else at_rest(pid, self._plan.rest))

    def _environment(self) -> Mapping[str, str]:
        found = {**os.environ, **self._lab.environment()}
        found["PYTHONPATH"] = os.pathsep.join([str(PROJECT / "_utils"), found.get("PYTHONPATH", "")])
        return found

    def _measure_until(self, deadline: Deadline, watcher: Watcher) -> None:
        told = time.monotonic()
        self._half = told + deadline.remaining / 2
        while not deadline.passed:
            self.samples.take(time.monotonic(), self._processes(watcher))
            if time.monotonic() - told >= 60:
                told = time.monotonic()
                counts = self._reports.counts
                self._say(
                    f"{self._plan.release}: {deadline.remaining:.0f} s left, {counts['pushes']} pushes,"
                    f" {counts['set']} VMs set, {counts['failed']} failed, {len(self._reports.wrong)} wrong reports"
                )
            time.sleep(min(self._plan.sample, deadline.remaining))

    def _processes(self, watcher: Watcher) -> Iterator[tuple[str, int]]:
        """Yield each process that has to stay flat, with its kind."""
        supervisor = int(next(iter(json.loads(self._lab.paths.pids.read_text()))))
        for pid in descendants(supervisor):
            words = leftovers.command(pid).split()
            if len(words) < 3 or words[1] != "-m" or words[2] not in KINDS:
                continue
            kind = KINDS[words[2]]
            # Those that are started again in between are as young each time; they are counted, not judged.
            yield (kind if kind != AGENT or pid in self._judged else YOUNG_AGENT), pid
        if watcher.pid is not None:
            yield WATCHER, watcher.pid

    def _converge(self, admin: Admin, chance: random.Random) -> None:
        """Push twice now that nothing disturbs: every VM has it then, and the second push changes nothing."""
        pillar = random_pillar(chance, self._vms, LAST_TIMEOUT)
        for turn in ("first", "second"):
            told = admin.push(pillar)
            for vm, settings in pillar["qubes"]["vms"].items():
                report = told.get(vm, {"ok": False, "comment": f"{vm}: no report"})
                now = time.monotonic()
                never = self._reports.history(vm).had(fields(settings), now, now)
                if not report["ok"] or (turn == "second" and report["changes"]) or never:
                    missing = f"; the VM has not got {', '.join(never)}" if never else ""
                    self._unconverged.append(f"{turn} push after the end: {report['comment']}{missing}")

    def _inspect(self) -> None:
        """Note what is left behind while the VMs still run."""
        for vm, told in self._lab.ask("status")["vms"].items():
            if told["init"] is None:
                self._left.append(f"{vm}: does not run")
            else:
                self._left += leftovers.in_vm(vm, told["init"])
        self._left += leftovers.of_files({vm: self._lab.paths.root(vm) for vm in self._vms})
        self._left += leftovers.of_locks(self._lab.paths.locks, self._vms)
