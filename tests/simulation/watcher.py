"""The watcher of a simulated host, which is the real one: started as often as it ends, with a pillar that changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from tests.simulation.scheduler import Event, Process, World
from tests.simulation.trace import Began, Died, Ended, Trace, Watched
from vminterface.channel import adminapi
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.inventory.targets import Targets
from vminterface.dom0.push.locks import VMLocks
from vminterface.dom0.push.watch import watcher
from vminterface.dom0.push.watch.ending import END
from vminterface.dom0.push.watch.watcher import PillarFile, Watcher
from vminterface.errors import InvalidValue, InvalidValues

#: Where its pillar is said to be.
PILLAR = "/etc/vminterface/pillar.yaml"
#: The choice of a pillar that is wrong.
WRONG = -1


class _Pillar(PillarFile):
    """One that is in no file: *choice* says what is in it, and is another after each change."""

    def __init__(self, choice: Callable[[], int], parse: Callable[[], list[VMSettings]]) -> None:
        self._choice = choice
        super().__init__(PILLAR, parse)

    def _current(self) -> tuple[int, ...]:
        return (self._choice(),)


class WatcherOf:
    """A host's; *wants* makes the settings of a choice, the others what a process of it needs."""

    def __init__(
        self,
        world: World,
        trace: Trace,
        name: str,
        wants: Callable[[int], list[VMSettings]],
        open_targets: Callable[[Process], Targets],
        open_locks: Callable[[Process], VMLocks],
    ) -> None:
        self.world, self.trace, self.name = world, trace, name
        self._wants, self._open_targets, self._open_locks = wants, open_targets, open_locks
        self.choice = 0
        #: The last one that was right.
        self.right: int | None = None
        self.process: Process | None = None
        self._stop: Event | None = None

    def note(self, what: str, text: str = "") -> None:
        """Add a fact."""
        self.trace.facts.append(Watched(self.world.now, self.name, what, text))

    def set_pillar(self, choice: int) -> None:
        """Give it another pillar, which it has yet to notice."""
        self.choice = choice
        self.note("wrong" if choice == WRONG else "same" if choice == self.right else "pillar", str(choice))
        if choice != WRONG:
            self.right = choice

    def start(self) -> None:
        """Start it, unless it runs or has no pillar that is right."""
        if self.process is None and self.right is not None and self.choice != WRONG:
            self.process = process = self.world.process(self.name)
            self._stop = stop = Event(self.world)
            self.note("starts")
            process.start(lambda: self._run(process, stop))

    def _run(self, process: Process, stop: Event) -> None:
        def open_locks() -> VMLocks:
            return self._open_locks(process)

        try:
            pillar = _Pillar(lambda: self.choice, self._parse)
        except InvalidValues:
            # It has become wrong meanwhile: the command says so and ends.
            self.process = None
            self.note("ends")
            return
        made = Watcher(pillar, lambda: self._open_targets(process), self._says, open_locks=open_locks)
        if not made.run(stop):
            # What the command does, as Python would wait for threads.
            self._end(process)
        elif self.process is process:
            self.process = None
        self.note("ends")

    def _parse(self) -> list[VMSettings]:
        if self.choice == WRONG:
            raise InvalidValues([InvalidValue("is not a valid time zone name", "qubes:vms:work:timezone")])
        return self._wants(self.choice)

    def _says(self, line: str) -> None:
        self.note("says", line)

    def _end(self, process: Process) -> None:
        """Let the kernel end it."""
        if self.process is process:
            self.process = None
        if process.alive and self._in_the_middle():
            self.trace.facts.append(Died(self.world.now, self.name))
        process.kill()

    def _in_the_middle(self) -> bool:
        """Whether a push is under way, of this process or of one that was killed in it."""
        begun: set[str] = set()
        for one in self.trace.facts:
            if isinstance(one, Began) and one.who == self.name:
                begun.add(one.vm)
            elif isinstance(one, Ended) and one.who == self.name:
                begun.discard(one.vm)
        return bool(begun)

    def kill(self) -> None:
        """End it as kill -9 does."""
        if self.process is not None:
            self.note("killed")
            self._end(self.process)

    def finish(self) -> None:
        """Tell it to end, as SIGTERM does."""
        process, stop = self.process, self._stop
        if process is None or stop is None or stop.is_set():
            return

        def end() -> None:
            # What ``ending.run`` does with one that hangs.
            if self.process is process and process.held is None:
                self._end(process)
                self.note("ends")

        self.note("told")
        stop.set()
        self.world.at(self.world.now + END, end)


@contextmanager
def in_place(push: Callable[..., Any], qubesd: Callable[[], Any] | None) -> Iterator[None]:
    """Let watchers push by *push*, and listen to what *qubesd* opens; None: the host has none."""
    with ExitStack() as stack:
        stack.enter_context(patch.object(watcher, "push", push))
        stack.enter_context(patch.object(adminapi, "installed", lambda: qubesd is not None))
        stack.enter_context(patch.object(adminapi.AdminAPI, "open", lambda: qubesd and qubesd()))
        stack.enter_context(patch.dict("os.environ", {"DISPLAY": ""}))
        yield
