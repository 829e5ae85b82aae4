"""Which VMs have drifted and to which a push is due, at the real xenstored: one push a VM in a time, in any storm."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.xenstored.fakexen import missing
from tests.support.dom0 import Dom0
from tests.support.stores import need
from vminterface.dom0.desired import diff
from vminterface.dom0.desired.settings import parse_pillar
from vminterface.dom0.push import lastpush
from vminterface.dom0.push.locks import VMLocks
from vminterface.dom0.push.push import push
from vminterface.dom0.reports.due import Watched, inspect

VMS = [f"vm{number:02}" for number in range(20)]
SETTINGS = {
    one.vm: one
    for one in parse_pillar({"qubes": {"defaults": {"timezone": "Europe/Warsaw"}, "vms": {vm: {} for vm in VMS}}})
}
#: Long after any push of a test.
LATER = 10_000.0


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Dom0]:
    need(missing())
    monkeypatch.setenv("VMINTERFACE_LOCK_DIR", str(tmp_path / "locks"))
    with Dom0(tmp_path / "x") as host:
        for vm in [*VMS, "stranger"]:
            host.start_vm(vm)
        yield host


@pytest.fixture
def inspected(host: Dom0) -> Callable[..., list[dict[str, Any]]]:
    """Looks once more at *now*, as many seconds after the last push."""
    watched = Watched()

    def again(now: float, *started: str) -> list[dict[str, Any]]:
        with host.targets() as targets:
            clock = time.time() + LATER
            return inspect(targets, watched, SETTINGS, targets.running(), started, now=now, clock=clock, hold=60)

    return again


def write(host: Dom0, vm: str, zone: str) -> None:
    with host.store() as store:
        store.write(f"/local/domain/{host.domids[vm]}/qubes-timezone", zone.encode())


def pushed(host: Dom0) -> None:
    with host.targets() as targets:
        push(SETTINGS.values(), targets)


def test_a_storm_of_starts_is_one_batch_without_those_that_no_pillar_names(host: Dom0, inspected: Any) -> None:
    assert inspected(0, *VMS, "stranger") == [{"event": "push_due", "vms": VMS}]
    # The push has not yet come: nothing is due again.
    assert inspected(5) == []
    pushed(host)
    assert inspected(10) == []
    assert inspected(70) == []


def test_what_drifts_is_said_once_and_due_again_ever_later_while_it_stays_so(host: Dom0, inspected: Any) -> None:
    pushed(host)
    assert inspected(0) == []
    write(host, "vm03", "Asia/Tokyo")
    drifted = {"event": "drifted", "vm": "vm03", "fields": ["timezone"]}
    assert inspected(5) == [drifted, {"event": "push_due", "vms": ["vm03"]}]
    assert [inspected(now) for now in (6, 64, 66, 100, 184, 186)] == [
        [], [], [{"event": "push_due", "vms": ["vm03"]}], [], [], [{"event": "push_due", "vms": ["vm03"]}]
    ]  # fmt: skip
    write(host, "vm03", "Europe/Warsaw")
    assert inspected(190) == []
    write(host, "vm03", "Asia/Tokyo")
    # It is as it was, and in its time still.
    assert inspected(200) == []
    assert inspected(500)[0] == drifted


def test_nothing_is_said_of_a_vm_that_a_push_writes_to(host: Dom0, inspected: Any) -> None:
    pushed(host)
    write(host, "vm03", "Asia/Tokyo")
    write(host, "vm04", "Asia/Tokyo")
    with VMLocks() as locks:
        assert locks.take("vm03")
        assert inspected(0)[-1] == {"event": "push_due", "vms": ["vm04"]}
    assert inspected(1)[-1] == {"event": "push_due", "vms": ["vm03"]}


def test_nor_of_one_that_was_pushed_to_just_now(host: Dom0, monkeypatch: pytest.MonkeyPatch) -> None:
    with host.targets() as targets:
        clock = time.time()
        known = lastpush.LastPush(tried=int(clock))
        lastpush.update(lambda held: held.update(dict.fromkeys(VMS, known)))
        assert inspect(targets, Watched(), SETTINGS, targets.running(), (), now=0, clock=clock) == []


def test_nor_of_one_that_a_push_has_done_with_meanwhile_and_that_waits_for_another_vm(
    host: Dom0, inspected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a push has let the VM go, and notes what it came to later."""
    pushed(host)
    write(host, "vm03", "Asia/Tokyo")
    write(host, "vm04", "Asia/Tokyo")

    def compare(*arguments: Any, **more: Any) -> Any:
        changes = diff.compare(*arguments, **more)
        if changes:
            write(host, "vm03", "Europe/Warsaw")
        return changes

    monkeypatch.setattr("vminterface.dom0.reports.due.compare", compare)
    assert inspected(0) == [
        {"event": "drifted", "vm": "vm04", "fields": ["timezone"]},
        {"event": "push_due", "vms": ["vm04"]},
    ]


def test_a_vm_that_ends_or_starts_anew_has_no_former_drift(host: Dom0, inspected: Any) -> None:
    assert len(inspected(0)[-1]["vms"]) == 20
    host.stop_vm("vm03")
    assert inspected(1) == []
    host.start_vm("vm03")
    assert inspected(2, "vm03") == [{"event": "push_due", "vms": ["vm03"]}]
