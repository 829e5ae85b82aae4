"""A simulated VM: its machine, of which nothing is on a disk, and the agent in it, which is the real one.

What the agent applies is noted as facts; how long that takes, and what it refuses, is the scenario's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from tests.simulation.scheduler import Event, Process, World
from tests.simulation.trace import Applied, Trace
from vminterface.channel.store import KeyStore
from vminterface.errors import InvalidValue, VMInterfaceError
from vminterface.vm.agent.agent import Agent, serve
from vminterface.vm.agent.surroundings import Surroundings
from vminterface.vm.handlers.runtime.owner import SETTINGS
from vminterface.vm.machine.machine import Machine


class _Machine(Machine):
    """A machine without a file."""

    def __init__(self) -> None:
        self.root = "/nonexistent"

    def path(self, path: str) -> str:
        return self.root + path

    def read_bytes(self, path: str, *, limit: int = 0) -> bytes | None:
        return None


class _Surroundings(Surroundings):
    """Nothing but dom0's words changes."""

    def __init__(self) -> None:
        pass

    def changed(self) -> set[str]:
        return set()


MACHINE = _Machine()


class AgentOf:
    """The agent of *vm*, started as often as it ends."""

    def __init__(self, world: World, trace: Trace, vm: str, open_store: Callable[[Process], KeyStore]) -> None:
        self.world, self.trace, self.vm = world, trace, vm
        self._open_store = open_store
        self.process: Process | None = None
        #: One that was told to end.
        self._former: Process | None = None
        self._stop: Event | None = None
        #: Seconds that each setting takes; settings that are refused, and that fail once with an error that passes.
        self.seconds = 0.0
        self.refused: frozenset[str] = frozenset()
        self.failing: set[str] = set()
        #: The settings that it has applied, as a machine keeps them over a restart of the agent.
        self.applied: dict[str, Mapping[str, str]] = {}

    def start(self) -> None:
        """Start it."""
        # A new program knows nothing of what was applied; it applies all again.
        self.process = process = self.world.process(f"agent of {self.vm}")
        self._stop = stop = Event(self.world)
        steps = {setting: partial(self._apply, setting) for setting in SETTINGS}
        agent = Agent(MACHINE, steps=steps, surroundings=_Surroundings())
        process.start(lambda: serve(lambda: self._open_store(process), MACHINE, stop, agent=agent))
        self.world.note(process.name, "starts")

    def kill(self) -> None:
        """End it as kill -9 does."""
        for one in (self._former, self.process):
            if one is not None:
                one.kill()
        self.process = None

    @property
    def ending(self) -> bool:
        """Whether one that was told to end is still at something."""
        return self._former is not None and not self._former.done

    def finish(self) -> None:
        """Tell it to end."""
        if self._stop is not None and self.process is not None:
            self.world.note(self.process.name, "is told to end")
            self._stop.set()
            self.process, self._former = None, self.process

    def _apply(self, setting: str, inputs: Mapping[str, str], machine: Machine) -> str:
        began = self.world.now
        if self.seconds:
            self.world.sleep(self.seconds)
        if setting in self.failing:
            self.failing.discard(setting)
            self._note(setting, inputs, began, accepted=False)
            raise VMInterfaceError(f"{setting}: did not work out this time")
        if setting in self.refused:
            self._note(setting, inputs, began, accepted=False)
            raise InvalidValue("not with this VM")
        self._note(setting, inputs, began, accepted=True)
        self.applied[setting] = dict(inputs)
        return ""

    def _note(self, setting: str, inputs: Mapping[str, str], began: float, *, accepted: bool) -> None:
        self.trace.facts.append(Applied(self.world.now, self.vm, setting, dict(inputs), accepted, began))
