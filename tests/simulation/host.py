"""A simulated host: its daemons, its VMs with their agents, its writers, and the faults that befall them.

Everything that writes is the real code; see the package's text for what is not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

from tests.simulation.locks import Locks, Times
from tests.simulation.qubesd import API, Client, SimulatedQubesd
from tests.simulation.qubesdb import Pair, SimulatedQubesDB, SimulatedSockets
from tests.simulation.scenario import Scenario, settings, texts
from tests.simulation.scheduler import Event, Process, World
from tests.simulation.trace import Began, Died, Ended, Started, Stopped, Texts, Trace
from tests.simulation.vm import AgentOf
from tests.simulation.watcher import WatcherOf
from tests.simulation.xenstore import SimulatedXenStore, Xenstored
from vminterface import keys
from vminterface.channel.store import HostStore, KeyStore
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.inventory.qubesd import Qubesd
from vminterface.dom0.inventory.targets import Targets
from vminterface.dom0.push.locks import VMLocks
from vminterface.dom0.push.outcome import Outcome
from vminterface.dom0.push.push import diff, push
from vminterface.dom0.results.barekeys import BareKeys
from vminterface.errors import VMInterfaceError

#: Seconds that a VM takes from its end to its next start, and from that to its QubesDB and to its agent.
DOWN, SOCKET, BOOT = 0.5, 0.3, 0.6
#: Seconds between two looks whether an agent that was told to end has done so.
ENDING = 0.1


class NoQubesd(Qubesd):
    """A host without qubesd."""

    available = False
    expected = False


class Host:
    """What *scenario* says, in a world of its own."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.world = World(scenario.seed)
        self.world.slowest = scenario.slowest
        self.trace = Trace(on_qubesdb=scenario.channel == "qubesdb")
        self.locks = Locks()
        self.xenstored = Xenstored(self.world, self.trace)
        self.xenstored.late, self.xenstored.twice = scenario.late, scenario.twice
        self.domids: dict[str, int] = {}
        self.pairs: dict[str, Pair] = {}
        self.qubesd = SimulatedQubesd(self.world, self.trace, scenario.vms, self.pairs)
        self._starts = 0
        self.agents: dict[str, AgentOf] = {}
        for vm in scenario.vms:
            self.agents[vm] = AgentOf(self.world, self.trace, vm, partial(self.own_store, vm))
            self.start_vm(vm)
        #: VMs that lie, or write over dom0's keys.
        self.untrusted: set[str] = set()
        self.writers: dict[str, Process] = {}
        self.watcher = self._watcher()
        #: The stop events of those that are at work.
        self.stops: dict[str, Event] = {}

    @property
    def on_qubesdb(self) -> bool:
        """Whether VMs have QubesDBs here."""
        return self.scenario.channel == "qubesdb"

    def _watcher(self) -> WatcherOf | None:
        """Return the watcher that the scenario has."""
        for actor in self.scenario.actors:
            if actor.kind == "watch":
                return WatcherOf(
                    self.world,
                    self.trace,
                    actor.name,
                    lambda choice, actor=actor: [  # type: ignore[misc]
                        self.wants(vm, choice, confirm=actor.confirm, timeout=actor.timeout) for vm in actor.vms
                    ],
                    self.targets,
                    self.locks.open,
                )
        return None

    def start_vm(self, vm: str) -> None:
        """Start a VM, with a machine to which nothing has been applied."""
        self.agents[vm].applied.clear()
        self.trace.facts.append(Started(self.world.now, vm))
        self.domids[vm] = self.xenstored.introduce(vm)
        if self.on_qubesdb and self.world.now:
            # Between the domain's introduction and its daemon there is no socket.
            domid = self.domids[vm]
            self.world.at(self.world.now + SOCKET, lambda: self._start_qubesdb(vm, domid))
        elif self.on_qubesdb:
            self._start_qubesdb(vm, self.domids[vm])

    def _start_qubesdb(self, vm: str, domid: int) -> None:
        """Start the daemons of a start of a VM, if it still runs."""
        if self.domids.get(vm) != domid:
            return
        self._starts += 1
        pair = Pair(self.world, self.trace, vm, self._starts)
        for side in (pair.dom0, pair.inside):
            side.late, side.twice = self.scenario.late, self.scenario.twice
        self.pairs[vm] = pair
        self.world.note(f"QubesDB of {vm}", "starts")
        for name, value in (("name", vm), ("type", "AppVM")):
            pair.dom0.write("toolstack", f"/{name}", value.encode())
        if self.scenario.qubesd:
            self.qubesd.start_vm(vm)

    def start_agent(self, vm: str) -> None:
        """Start the agent of a VM that runs and has none."""
        ready = vm in self.domids and (vm in self.pairs or not self.on_qubesdb)
        if not ready or self.agents[vm].process is not None:
            return
        if self.agents[vm].ending:
            # A service is started when the one before has ended.
            self.world.at(self.world.now + ENDING, lambda: self.start_agent(vm))
        else:
            self.agents[vm].start()

    def end_vm(self, vm: str) -> None:
        """End a VM, as when it is killed."""
        self.agents[vm].kill()
        self.xenstored.release(self.domids.pop(vm))
        if vm in self.pairs:
            self.pairs.pop(vm).end()
        self.trace.facts.append(Stopped(self.world.now, vm))

    def own_store(self, vm: str, process: Process) -> KeyStore:
        """Return the store that the agent of *vm* sees."""
        if self.on_qubesdb:
            return SimulatedQubesDB(self.pairs[vm].inside, process, "/var/run/qubes/qubesdb.sock", 5.0)
        return SimulatedXenStore(self.xenstored, process, 5.0, self.domids[vm])

    @property
    def open_qubesd(self) -> Callable[[], API] | None:
        """What opens qubesd for the process that runs; None where the host has none."""
        return (lambda: API(self.qubesd, self.world.running().process)) if self.scenario.qubesd else None

    def targets(self, process: Process) -> Targets:
        """Return what finds VMs for *process*."""

        def open_xenstore() -> HostStore:
            return SimulatedXenStore(self.xenstored, process, 2.0)

        def open_qubesd() -> Qubesd:
            return Client(self.qubesd, process) if self.scenario.qubesd else NoQubesd()

        sockets = SimulatedSockets(process, self.pairs, in_use=self.on_qubesdb)
        return Targets(open_xenstore, sockets=sockets, open_qubesd=open_qubesd)

    # What writers do.

    def wants(self, vm: str, choice: int, *, confirm: bool = True, timeout: float = 2.0) -> VMSettings:
        """Return the settings of a choice."""
        one = self.scenario
        return settings(vm, choice, one.fields, one.channel, confirm, timeout, one.qubesd)

    def push(self, process: Process, desired: list[VMSettings], kind: str = "push") -> list[Outcome]:
        """Push, or look what would change; note what is asked and what comes of it."""
        stop, times = Event(self.world), Times()
        self.stops[process.name] = stop

        def work() -> list[Outcome]:
            with self.targets(process) as targets:
                return diff(desired, targets) if kind == "diff" else self._push(process, desired, targets, stop, times)

        try:
            return self._noted(process, desired, kind, times, work)
        except VMInterfaceError as error:
            return [Outcome(one.vm, error=error, restored=False) for one in desired]

    def push_of_watcher(
        self, desired: list[VMSettings], targets: Targets, *, stop: Event, open_locks: Callable[[], VMLocks]
    ) -> list[Outcome]:
        """Push for the watcher that asks; note what is asked and what comes of it."""
        process, times = self.world.running().process, Times()
        return self._noted(process, desired, "push", times, lambda: self._push(process, desired, targets, stop, times))

    def _push(
        self, process: Process, desired: list[VMSettings], targets: Targets, stop: Event, times: Times
    ) -> list[Outcome]:
        locks = partial(self.locks.open, process, times)
        return push(desired, targets, stop=stop, open_locks=locks, keep=lambda outcomes: None)

    def _noted(
        self, process: Process, desired: list[VMSettings], kind: str, times: Times, work: Callable[[], list[Outcome]]
    ) -> list[Outcome]:
        """Return what *work* comes to; note what is asked and said. Raises what befalls the XenStore as a whole."""
        name, began, raised = process.name, self.world.now, None
        wanted, by_vm = {one.vm: _texts(one) for one in desired}, {one.vm: one for one in desired}
        for vm, some in wanted.items():
            self.trace.facts.append(Began(began, name, kind, vm, some))
        try:
            outcomes = work()
        except VMInterfaceError as error:
            raised = error
            outcomes = [Outcome(one.vm, error=error, restored=False) for one in desired]
        for one in outcomes:
            # What it says is of the moment in which it has let others in.
            self.trace.facts.append(
                Ended(
                    times.released.get(one.vm, self.world.now), name, kind, one.vm, wanted[one.vm], began, one.ok,
                    one.comment(test=kind == "diff"), tuple(one.changes), one.restored, one.running,
                    by_vm[one.vm].confirm, by_vm[one.vm].timeout, times.taken.get(one.vm, math.inf),
                )
            )  # fmt: skip
        if raised is not None:
            raise raised
        return outcomes

    def write_keys(self, process: Process, vm: str, choice: int, *, test: bool) -> None:
        """Do what the states of bare keys do."""
        name, began, kind = process.name, self.world.now, "keys-test" if test else "keys"
        wanted = texts(vm, choice, self.scenario.fields)
        values = {keys.for_field(field).name: text for field, text in wanted.items()}
        self.trace.facts.append(Began(began, name, kind, vm, wanted))
        stop = self.stops[name] = Event(self.world)
        ok, comment, changed = True, "", tuple[str, ...]()
        try:
            bare = BareKeys(
                self.scenario.channel,
                vm,
                targets=self.targets(process),
                open_locks=lambda: self.locks.open(process),
                stop=stop,
            )
            with bare:
                if test:
                    for path in values:
                        bare.exists(path)
                else:
                    changed = tuple(bare.update(values))
        except VMInterfaceError as error:
            ok, comment = False, str(error)
        self.trace.facts.append(Ended(self.world.now, name, kind, vm, wanted, began, ok, comment, changed))

    def kill(self, process: Process) -> None:
        """End a writer as kill -9 does."""
        if not process.done:
            self.trace.facts.append(Died(self.world.now, process.name))
            process.kill()

    def state(self, vm: str) -> Mapping[str, str]:
        """Return what dom0's store holds of the fields of *vm*."""
        home = "/" if self.on_qubesdb else f"/local/domain/{self.domids[vm]}/"
        fields = {home + keys.for_field(field).name: field for field in texts(vm, 0, self.scenario.fields)}
        if self.on_qubesdb:
            found = [(path, value) for path, value in self.pairs[vm].dom0.keys.items() if path in fields]
        else:
            found = [(path, node.value) for path, node in self.xenstored.nodes.items() if path in fields]
        return {fields[path]: value.decode("utf-8", "surrogateescape") for path, value in found}


def _texts(one: VMSettings) -> Texts:
    return {name: keys.text_of(name, value) for name, value in one.desired.items()}
