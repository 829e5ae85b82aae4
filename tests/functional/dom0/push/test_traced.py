"""Runs on the real xenstored, taken down as facts: what holds of every simulated run holds of these, and can fail."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.xenstored.fakexen import missing
from tests.simulation import invariants
from tests.simulation.invariants import Run
from tests.simulation.recorder import Recorder
from tests.simulation.trace import Applied
from tests.support.dom0 import Dom0
from tests.support.stores import need
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.inventory.targets import Targets
from vminterface.dom0.push.push import push
from vminterface.errors import ConnectionLost, DeadlineExceeded

ZONES = ("UTC", "Europe/Berlin", "Asia/Tokyo")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Dom0]:
    need(missing())
    with Dom0(tmp_path / "host") as made:
        made.start_vm("work")
        yield made


def settings(zone: str, timeout: float = 20.0) -> VMSettings:
    network = {"ip": f"10.137.0.{len(zone)}", "gateway": f"10.138.0.{len(zone)}"}
    return VMSettings.parse("work", {"timezone": zone, "network": network, "timeout": timeout})


def test_what_holds_of_simulated_runs_holds_of_one_on_the_real_xenstored(host: Dom0) -> None:
    with Recorder(host.store, "work", host.domids["work"]) as recorder, host.targets() as targets:
        asleep = threading.Event()

        def apply(setting: str, inputs: dict[str, str]) -> str:
            began, refused = time.monotonic(), inputs.get("timezone") == "Asia/Tokyo"
            if inputs.get("timezone") == "Europe/Berlin" and not asleep.is_set():
                asleep.set()
                time.sleep(1.0)
            recorder.applied(setting, inputs, began, accepted=not refused)
            return "no such zone" if refused else ""

        push([settings("UTC", 1.0)], targets)
        host.agent("work", apply).announced.wait(20)
        outcomes = [recorder.push(targets, settings("UTC"))]
        # Its agent is busy for longer than that.
        outcomes.append(recorder.push(targets, settings("Europe/Berlin", 0.4)))
        outcomes += [recorder.push(targets, settings(zone)) for zone in ("UTC", "Asia/Tokyo", "Europe/Berlin", "UTC")]
    assert [one.ok for one in outcomes] == [True, False, True, False, True, True]
    assert invariants.check(Run(recorder.facts)) == []
    # The same run without what the agent has done is not believed.
    assert invariants.check(Run([fact for fact in recorder.facts if not isinstance(fact, Applied)]))


def test_a_push_ends_in_time_with_an_error_when_xenstored_ends_and_the_next_one_converges(host: Dom0) -> None:
    host.agent("work", lambda setting, inputs: None)
    with host.targets() as targets:
        push([settings("UTC", 1.0)], targets)
    ended: list[BaseException | None] = []
    begun = time.monotonic()

    def work() -> None:
        with host.targets() as targets:
            ended.append(push([settings("Asia/Tokyo", 30.0)], targets)[0].error)

    thread = threading.Thread(target=work)
    thread.start()
    while host.read("work", "qubes-timezone") != "Asia/Tokyo" and time.monotonic() < begun + 20:
        time.sleep(0.01)
    host.daemon.stop()
    thread.join(20)
    (error,) = ended
    assert isinstance(error, ConnectionLost | DeadlineExceeded)
    assert str(error).startswith("work: still has its new values, which could not be restored")
    # It starts with an empty store, in which the toolstack makes the VM anew.
    host.daemon.start()
    host.domids.clear()
    host.start_vm("work")
    host.agent("work").announced.wait(0.1)
    with Targets(host.store) as targets:
        assert push([settings("Europe/Berlin")], targets)[0].ok
        assert not push([settings("Europe/Berlin")], targets)[0].changes
