"""Runs a scenario from its first process to the last push after all faults are over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from unittest.mock import patch

from tests.simulation import faults, invariants, rest, watched
from tests.simulation.faults import SLOW
from tests.simulation.host import Host
from tests.simulation.scenario import LAST, Actor, Scenario
from tests.simulation.scheduler import Process
from tests.simulation.trace import Ended
from tests.simulation.watcher import in_place
from vminterface import runtime
from vminterface.dom0.history.log import History
from vminterface.dom0.inventory import targets
from vminterface.dom0.push import record
from vminterface.vm.handlers.runtime import owner

#: Virtual seconds within which the two sides of a QubesDB have the same.
LAG = 1.0
#: Virtual seconds that writers and faults have, that everything has to come to rest after them, and of both at most.
WRITERS, REST, ALL = 90.0, 12.0, 200.0
#: Seconds until a watcher tries again what failed for the last time; those in which it does nothing then; and those in
#: which it ends.
AGAIN, QUIET, ENDS = 12.0, 3.0, 2.0


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a scenario; *violations* are sentences, none if all is well."""

    scenario: Scenario
    host: Host
    violations: tuple[str, ...]


# What simulated writers do belongs to no host's history, whoever runs them; their stores need no descriptors; and a
# simulated VM has no files that its owner could change.
@patch.object(History, "keep", lambda self, make: None)
@patch.object(record, "author", dict)
@patch.object(targets, "room", lambda: 1000)
@patch.object(owner, "stamp", lambda machine: ())
def run(scenario: Scenario) -> Result:
    """Run it."""
    host = Host(scenario)
    with nullcontext() if host.watcher is None else in_place(host.push_of_watcher, host.open_qubesd):
        return Result(scenario, host, tuple(_violations(host)))


def _violations(host: Host) -> list[str]:
    scenario, world = host.scenario, host.world
    runtime.use(world)
    try:
        for one in scenario.agents:
            host.agents[one.vm].seconds, host.agents[one.vm].refused = one.seconds, one.refused
            if one.start is not None:
                world.at(one.start, lambda vm=one.vm: host.start_agent(vm))  # type: ignore[misc]
        for actor in scenario.actors:
            name = actor.name if actor.kind != "watch" else f"who edits the pillar of {actor.name}"
            host.writers[actor.name] = process = world.process(name)
            process.start(lambda actor=actor, process=process: _act(host, actor, process))  # type: ignore[misc]
        for fault in scenario.faults:
            faults.plan(host, fault)
        conductor = world.process("conductor")
        found: list[str] = []
        task = conductor.start(lambda: found.extend(_conduct(host, conductor)))
        if not world.run(ALL, task):
            found.append(f"nothing comes to an end within {ALL:g} s")
        found += [f"{who}: {text}" for who, text in world.crashes]
        facts = _facts(host)
        found += invariants.check(facts)
        for actor in scenario.actors:
            if actor.kind == "watch":
                found += watched.check(watched.Watch(facts, actor, scenario))
        found += [f"the right store: {text}" for text in host.trace.astray]
        if not host.locks.free:
            found.append("a VM's lock is held at the end")
    finally:
        world.end()
        runtime.use(runtime.Runtime())
    return found


def _facts(host: Host) -> invariants.Run:
    """Return what invariants are checked against."""
    scenario = host.scenario
    lag = LAG if host.on_qubesdb else 0.0
    if lag and host.watcher is not None:
        # It tries again while a slow agent is at what was taken back: what that acknowledges late counts for the next.
        lag += 2 * max([SLOW, *(one.seconds for one in scenario.agents)])
    found = invariants.Run(host.trace.facts, host.untrusted, lag)
    found.paused = frozenset(fault.target for fault in scenario.faults if fault.kind == "stop")
    if scenario.slowest <= 0.02:
        hangs = sum(fault.kind in ("store hangs", "qubesd hangs") for fault in scenario.faults)
        found.allowance = 0.5 + 6.0 * hangs if scenario.qubesd else 0.5 + 2.0 * hangs
    return found


def _act(host: Host, actor: Actor, process: Process) -> None:
    for one in actor.rounds:
        host.world.sleep(one.pause)
        if actor.kind == "watch":
            assert host.watcher is not None
            host.watcher.set_pillar(one.choice)
            # Later changes of the pillar start nothing; a fault may have ended it by then.
            if one is actor.rounds[0]:
                host.watcher.start()
        elif actor.kind in ("push", "diff"):
            desired = [host.wants(vm, one.choice, confirm=actor.confirm, timeout=actor.timeout) for vm in actor.vms]
            host.push(process, desired, actor.kind)
        else:
            host.write_keys(process, actor.vms[0], one.choice, test=actor.kind == "keys-test")


def _conduct(host: Host, process: Process) -> Iterator[str]:
    """Wait for writers and faults, heal everything, and push once more; yield what is wrong."""
    world, until = host.world, host.world.now + WRITERS
    last = max((fault.at + fault.seconds for fault in host.scenario.faults), default=0.0)
    world.sleep(last + 0.01)
    while not all(one.done for one in host.writers.values()) and world.now < until:
        world.sleep(0.25)
    for name, one in host.writers.items():
        if not one.done:
            yield f"{name} has not ended within {WRITERS:g} s"
    faults.heal(host)
    world.sleep(REST)
    if host.watcher is not None:
        ends = {one.vm: one for one in host.trace.facts if isinstance(one, Ended) and one.who == host.watcher.name}
        if not all(one.ok for one in ends.values()):
            world.sleep(AGAIN)
        count = len(host.trace.facts)
        world.sleep(QUIET)
        yield from (f"at rest the watcher does something: {one}" for one in host.trace.facts[count:])
        host.watcher.finish()
        world.sleep(ENDS)
    yield from rest.at_rest(host)
    for again in (False, True):
        outcomes = host.push(process, [host.wants(vm, LAST, timeout=5.0) for vm in host.scenario.vms])
        # Where dom0 knows of no agent, one that is there sees it all the same.
        world.sleep(1.0)
        yield from rest.after_push(host, outcomes, again=again)
