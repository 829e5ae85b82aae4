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
#: The store hangs while the agent of a VM that boots is awaited.
AGENT_AFTER_FAILURE = Scenario(
    0,
    "qubesdb",
    ("network",),
    (Agent("work", None),),
    (Actor("watcher", "watch", ("work",), (Round(0.606, 1), Round(2.67, 2)), timeout=1.0),),
    (Fault(3.353, "store hangs", "work", 2.16),),
    vms=("work",),
)
XENSTORE_AWAY = Scenario(
    0,
    "qubesdb",
    ("timezone", "services"),
    (Agent("mail", 0.0, 0.63),),
    (Actor("watcher", "watch", ("mail",), (Round(0.941, 2),), timeout=0.4),),
    (Fault(2.931, "xenstored restarts", "xenstored", 1.45),),
    qubesd=True,
    vms=("mail",),
)
DEFAULT_AFTER_RESTART = Scenario(
    0,
    "qubesdb",
    ("services",),
    (Agent("mail"),),
    (Actor("watcher", "watch", ("mail",), (Round(0.0, 1), Round(2.45, 2))),),
    (Fault(3.2, "dom0's daemon dies", "mail", 0.02),),
    late=0.5,
    slowest=0.002,
    vms=("mail",),
)
NOT_GIVEN_BACK = Scenario(
    0,
    "qubesdb",
    ("services",),
    (Agent("work", 0.165),),
    (Actor("admin 1", "push", ("work",), (Round(1.223, 0),), timeout=0.4),),
    (Fault(0.247, "agent dies", "work", 1.87), Fault(1.278, "qubesd stores, then fails", "qubesd", 2.23)),
    qubesd=True,
    vms=("work",),
)
BOTH_AWAY = Scenario(
    0,
    "qubesdb",
    ("services",),
    (Agent("work", None), Agent("mail", 0.725)),
    (Actor("admin 1", "push", ("work", "mail"), (Round(1.66, 1),)),),
    (Fault(0.275, "dom0's daemon dies", "work", 2.21), Fault(0.356, "xenstored restarts", "xenstored", 1.96)),
    vms=("work", "mail"),
)
NO_AGENT_AT_ALL = Scenario(
    0,
    "qubesdb",
    ("network",),
    (Agent("work", 0.944),),
    (Actor("watcher", "watch", ("work",), (Round(0.078, 2),)),),
    (Fault(0.297, "intruder", "work", 2.79),),
    late=0.5,
    slowest=0.002,
    vms=("work",),
)

RESTORED_INTO_NOTHING = Scenario(
    0,
    "qubesdb",
    ("network",),
    (Agent("mail"),),
    (Actor("admin 1", "push", ("mail",), (Round(0.164, 1), Round(0.4, 2))),),
    (Fault(0.566, "dom0's daemon restarts", "mail"),),
    vms=("mail",),
)
#: The thread that looks for VMs waits for a store that hangs, when the watcher is told to end.
ENDS_WHILE_ALL_HANGS = Scenario(
    0,
    "xenstore",
    ("network",),
    (Agent("work", 1.7),),
    (Actor("watcher", "watch", ("work",), (Round(0.0, 2),)),),
    (Fault(0.372, "store hangs", "work", 2.7), Fault(0.591, "interrupt", "watcher", 1.9)),
    vms=("work",),
)
AGENT_SLOWER_THAN_LOOKS = Scenario(
    0,
    "xenstore",
    ("services",),
    (Agent("vault", 0.0, 3.0),),
    (Actor("watcher", "watch", ("vault",), (Round(0.0, 2), Round(9.0, 2)), timeout=5.0),),
    vms=("vault",),
)
#: A push takes its values back while the agent, which has applied them, has no connection.
RESTORED_WHILE_AGENT_AWAY = Scenario(
    0,
    "xenstore",
    ("network",),
    (Agent("work", 0.0, 0.3),),
    (Actor("admin 1", "push", ("work",), (Round(0.003, 1),)),),
    (Fault(0.45, "connections lost", "work", 1.0),),
    vms=("work",),
)
REFUSED_BEFORE_ANY_PUSH = Scenario(
    0,
    "xenstore",
    ("timezone", "services"),
    (Agent("work", 0.0, refused=frozenset({"services"})),),
    (Actor("admin 2", "keys", ("work",), (Round(0.0, 0),), confirm=False),),
    (Fault(0.052, "store hangs", "work", 0.316),),
    vms=("work",),
)
#: The watcher's push to two VMs is done with one, which starts again, long before it is done with the other.
#: No acknowledgement of the agent's shows that the XenStore is still the same.
TAKEN_BACK_WITHOUT_NODES = Scenario(
    0,
    "xenstore",
    ("network",),
    (Agent("work"), Agent("mail", 1.99)),
    (Actor("admin 1", "push", ("work", "mail"), (Round(0.0066, 2),)),),
    (Fault(0.013, "nodes used up", "work", 1.06), Fault(0.072, "connections lost", "mail", 1.88)),
    vms=("work", "mail"),
)
STARTED_AGAIN_SINCE = Scenario(
    0,
    "qubesdb",
    ("timezone",),
    (Agent("work", 0.0, 3.0), Agent("mail", 0.3)),
    (Actor("watcher", "watch", ("work", "mail"), (Round(0.0, 1), Round(3.0, 2)), timeout=2.5),),
    (Fault(4.4, "vm restarts", "mail", 0.6), Fault(5.1, "agent dies", "mail", 2.0)),
    vms=("work", "mail"),
)


@pytest.mark.parametrize(
    "scenario",
    [
        pytest.param(LATE_REFUSAL, id="a refusal after the VM's time is no success"),
        pytest.param(NETWORK_AFTER_RESTART, id="a network is whole after a restart of dom0's daemon"),
        pytest.param(WRITTEN_BY_QUBESD, id="an old acknowledgement of what qubesd writes is not believed"),
        pytest.param(AGENT_AFTER_FAILURE, id="an agent is still awaited after a push that failed"),
        pytest.param(XENSTORE_AWAY, id="no VM counts as started anew while the XenStore is away"),
        pytest.param(DEFAULT_AFTER_RESTART, id="a default is one after a restart of dom0's daemon"),
        pytest.param(NOT_GIVEN_BACK, id="what qubesd does not give back to a running VM is reported"),
        pytest.param(BOTH_AWAY, id="a VM whose two daemons are away is not called stopped"),
        pytest.param(RESTORED_INTO_NOTHING, id="a network is restored whole after a restart of dom0's daemon"),
        pytest.param(ENDS_WHILE_ALL_HANGS, id="who ends says what is left while its own look hangs"),
        pytest.param(AGENT_SLOWER_THAN_LOOKS, id="an agent that a push waits for is no reason for another"),
        pytest.param(RESTORED_WHILE_AGENT_AWAY, id="what was taken back while an agent was away is undone by it"),
        pytest.param(TAKEN_BACK_WITHOUT_NODES, id="that holds also where the VM has no nodes for acknowledgements"),
        pytest.param(REFUSED_BEFORE_ANY_PUSH, id="a refusal of before a push is no reply to it"),
        pytest.param(STARTED_AGAIN_SINCE, id="an acknowledgement before a VM's start is none after it"),
        pytest.param(NO_AGENT_AT_ALL, id="a VM that only claims to have an agent is not pushed to without end"),
    ],
)
def test_what_was_found_once_is_not_there_any_more(scenario: Scenario) -> None:
    for seed in range(60):
        assert run(replace(scenario, seed=seed)).violations == ()
