"""An agent and the marks of a push in a QubesDB, in virtual time: it waits for the end of a push, and no longer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.simulation.qubesdb import Pair, SimulatedQubesDB
from tests.simulation.scheduler import World
from tests.simulation.trace import Applied, Trace
from tests.simulation.vm import AgentOf
from vminterface import keys, runtime
from vminterface.vm.agent.agent import BURST, QUIET, REREAD

PENDING = (keys.acknowledgement("network"), "pending")
IP, GATEWAY = ("qubes-ip", "10.137.0.12"), ("qubes-gateway", "10.137.0.5")
WRITING, WRITTEN = (keys.PUSH, "writing 7"), (keys.PUSH, "written 7")
BOTH = {"network:ip": IP[1], "network:gateway": GATEWAY[1]}
#: Seconds that messages take between the two daemons and their clients, all in all.
WAYS = 0.08


class Lab:
    """A VM whose agent has been there since the first second."""

    def __init__(self, world: World) -> None:
        self.world, self.trace = world, Trace(on_qubesdb=True)
        self.pair = Pair(world, self.trace, "work", 1)
        self.agent = AgentOf(
            world, self.trace, "work", lambda process: SimulatedQubesDB(self.pair.inside, process, "/qubesdb.sock", 5.0)
        )

    def write(self, at: float, *pairs: tuple[str, str]) -> None:
        """Let dom0 write these keys, one after the other, at a time."""
        for name, text in pairs:
            self.world.at(at, lambda n=name, t=text: self.pair.dom0.write("admin", f"/{n}", t.encode()))  # type: ignore[misc]
            at += 0.0001

    def noise(self, first: float, last: float) -> None:
        """Let a program change a key of its own again and again."""
        for number in range(int((last - first) / 0.01)):
            self.write(first + number * 0.01, ("default-user", f"user{number}"))

    def networks(self, until: float = 6.0) -> list[Applied]:
        """Return the networks that the agent has applied by then."""
        self.world.run(until)
        assert self.world.crashes == []
        return [one for one in self.trace.facts if isinstance(one, Applied) and one.setting == "network"]


@pytest.fixture(params=[1, 2, 3])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    world = World(request.param)
    world.slowest = 0.001
    runtime.use(world)
    try:
        yield Lab(world)
    finally:
        world.end()
        runtime.use(runtime.Runtime())


def test_half_a_push_is_not_applied_however_long_the_other_half_takes_within_half_a_second(lab: Lab) -> None:
    lab.agent.start()
    lab.write(1.0, WRITING, PENDING, IP)
    lab.write(1.3, GATEWAY, WRITTEN)
    (one,) = lab.networks()
    assert one.inputs == BOTH
    assert 1.3 <= one.began < 1.3 + WAYS


def test_a_push_is_applied_when_its_end_is_marked_also_where_other_keys_keep_changing(lab: Lab) -> None:
    lab.agent.start()
    lab.noise(0.95, 1.4)
    lab.write(1.0, WRITING, PENDING, IP, GATEWAY, WRITTEN)
    (one,) = lab.networks()
    assert one.inputs == BOTH
    assert one.began < 1.0 + WAYS


def test_keys_without_a_mark_are_applied_when_it_is_quiet(lab: Lab) -> None:
    lab.agent.start()
    lab.noise(0.95, 1.3)
    lab.write(1.0, IP, GATEWAY)
    (one,) = lab.networks()
    assert 1.3 <= one.began < 1.3 + QUIET + WAYS


def test_a_push_that_ended_in_the_middle_is_applied_as_far_as_it_came_and_holds_up_nothing_after_it(lab: Lab) -> None:
    lab.agent.start()
    lab.write(1.0, WRITING, PENDING, IP)
    lab.write(3.0, GATEWAY)
    first, second = lab.networks()
    assert first.inputs == {"network:ip": IP[1]}
    assert 1.0 + BURST <= first.began < 1.0 + BURST + WAYS
    assert second.inputs == BOTH
    assert second.began < 3.0 + QUIET + WAYS


def test_the_push_after_one_that_ended_in_the_middle_is_waited_for_again(lab: Lab) -> None:
    lab.agent.start()
    lab.write(1.0, WRITING, PENDING, IP)
    lab.write(3.0, (keys.PUSH, "writing 8"), PENDING, ("qubes-ip", "10.137.0.13"))
    lab.write(3.2, GATEWAY, (keys.PUSH, "written 8"))
    _, second = lab.networks()
    assert second.inputs == {**BOTH, "network:ip": "10.137.0.13"}


def test_the_push_that_begins_while_one_that_broke_off_is_still_waited_for_is_waited_for_too(lab: Lab) -> None:
    lab.agent.start()
    lab.write(1.0, WRITING, PENDING, IP)
    lab.write(1.2, (keys.PUSH, "writing 8"), PENDING, ("qubes-ip", "10.137.0.13"))
    lab.write(1.5, GATEWAY, (keys.PUSH, "written 8"))
    (one,) = lab.networks()
    assert one.inputs == {**BOTH, "network:ip": "10.137.0.13"}
    assert 1.5 <= one.began < 1.5 + WAYS


@pytest.mark.parametrize("mark", ["writing {}", "written {}"])
def test_a_program_of_the_vm_that_writes_marks_without_end_holds_up_nothing_for_ever(lab: Lab, mark: str) -> None:
    lab.agent.start()
    for number in range(4000):
        lab.write(0.9 + number * 0.001, (keys.PUSH, mark.format(number)))
    lab.write(1.0, PENDING, IP, GATEWAY)
    first, *_ = lab.networks(4.8)
    assert first.inputs == BOTH
    assert first.began < 1.0 + 2 * BURST + REREAD + WAYS


@pytest.mark.parametrize("former", [[], [(keys.PUSH, "written 5")]])
def test_an_older_dom0_that_marks_nothing_is_taken_when_it_is_quiet(lab: Lab, former: list[tuple[str, str]]) -> None:
    lab.write(0.1, *former)
    lab.agent.start()
    lab.write(1.0, PENDING, IP)
    lab.write(1.01, GATEWAY)
    (one,) = lab.networks()
    assert one.inputs == BOTH
    assert one.began < 1.01 + QUIET + WAYS


def test_an_agent_that_starts_in_the_middle_of_a_push_waits_for_its_end_too(lab: Lab) -> None:
    lab.write(0.9, WRITING, PENDING, IP)
    lab.world.at(1.0, lab.agent.start)
    lab.write(1.2, GATEWAY, WRITTEN)
    (one,) = lab.networks()
    assert one.inputs == BOTH
    assert one.began >= 1.2


def test_an_agent_that_starts_after_a_push_that_ended_in_the_middle_takes_what_is_there(lab: Lab) -> None:
    lab.write(0.5, WRITING, PENDING, IP)
    lab.world.at(2.0, lab.agent.start)
    (one,) = lab.networks()
    assert one.inputs == {"network:ip": IP[1]}
    assert one.began < 2.0 + BURST + WAYS


def test_an_agent_that_is_told_to_end_in_the_middle_of_a_push_ends(lab: Lab) -> None:
    lab.agent.start()
    process = lab.agent.process
    assert process is not None
    lab.write(1.0, WRITING, PENDING, IP)
    lab.world.at(1.1, lab.agent.finish)
    lab.networks()
    assert process.done
