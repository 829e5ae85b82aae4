"""Faults that the simulation has found in the library, each as the smallest scenario that showed it, many times."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.simulation.run import run
from tests.simulation.scenario import Actor, Agent, Fault, Round, Scenario

LATE_REFUSAL = Scenario(
    0,
    "xenstore",
    ("timezone",),
    (Agent("work", 1.0, refused=frozenset({"timezone"})), Agent("mail", 0.0, 0.7)),
    (Actor("admin 1", "push", ("work", "mail"), (Round(0.1, 1),)),),
    vms=("work", "mail"),
)
NETWORK_AFTER_RESTART = Scenario(
    0,
    "qubesdb",
    ("timezone", "network"),
    (Agent("work"),),
    (Actor("admin 1", "push", ("work",), (Round(0.0, 2), Round(0.3, 1))),),
    (Fault(0.25, "dom0's daemon restarts", "work"),),
    slowest=0.2,
    vms=("work",),
)
WRITTEN_BY_QUBESD = Scenario(
    0,
    "qubesdb",
    ("services",),
    (Agent("work", 0.0, 0.214), Agent("mail", None)),
    (Actor("admin 1", "push", ("work", "mail"), (Round(0.02, 0), Round(0.01, 0), Round(0.01, 2)), timeout=0.4),),
    qubesd=True,
    vms=("work", "mail"),
)


@pytest.mark.parametrize(
    "scenario",
    [
        pytest.param(LATE_REFUSAL, id="a refusal after the VM's time is no success"),
        pytest.param(NETWORK_AFTER_RESTART, id="a network is whole after a restart of dom0's daemon"),
        pytest.param(WRITTEN_BY_QUBESD, id="an old acknowledgement of what qubesd writes is not believed"),
    ],
)
def test_what_was_found_once_is_not_there_any_more(scenario: Scenario) -> None:
    for seed in range(60):
        assert run(replace(scenario, seed=seed)).violations == ()
