"""Makes a failing scenario smaller: leaves out faults, actors, their rounds and VMs as long as it still fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from tests.simulation.run import Result, run
from tests.simulation.scenario import Scenario


def shrink(result: Result, attempt: Callable[[Scenario], Result] = run) -> Result:
    """Return the run of the smallest scenario found that breaks a rule which that of *result* breaks."""
    broken = _rules(result)
    again = True
    while again:
        again = False
        for smaller in _smaller(result.scenario):
            found = attempt(smaller)
            if _rules(found) & broken:
                result, again = found, True
                break
    return result


def _rules(result: Result) -> set[str]:
    return {text.partition(":")[0].partition(" of ")[0] for text in result.violations}


def _smaller(scenario: Scenario) -> Iterator[Scenario]:
    for fault in scenario.faults:
        yield scenario.without(fault)
    for actor in scenario.actors:
        if len(scenario.actors) > 1 and not any(fault.target == actor.name for fault in scenario.faults):
            yield scenario.without(actor)
    for vm in reversed(scenario.vms):
        used = any(fault.target == vm for fault in scenario.faults)
        if len(scenario.vms) > 1 and not used and all(set(one.vms) - {vm} for one in scenario.actors):
            actors = tuple(replace(one, vms=tuple(v for v in one.vms if v != vm)) for one in scenario.actors)
            agents = tuple(one for one in scenario.agents if one.vm != vm)
            yield replace(scenario, actors=actors, agents=agents, vms=tuple(v for v in scenario.vms if v != vm))
    for number, actor in enumerate(scenario.actors):
        for at in range(len(actor.rounds)):
            if len(actor.rounds) > 1:
                one = replace(actor, rounds=actor.rounds[:at] + actor.rounds[at + 1 :])
                yield replace(scenario, actors=(*scenario.actors[:number], one, *scenario.actors[number + 1 :]))
    for name in scenario.fields:
        if len(scenario.fields) > 1:
            yield replace(scenario, fields=tuple(one for one in scenario.fields if one != name))
    if scenario.late or scenario.twice:
        yield replace(scenario, late=0.0, twice=0.0)
