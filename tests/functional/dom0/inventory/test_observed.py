"""Many VMs' stores read at once: a VM whose own QubesDB cannot be read costs no other VM its answer, nor its time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.xenstored.fakexen import missing
from tests.support.dom0 import Dom0
from tests.support.qubesdb import QubesHost
from tests.support.stopwatch import Stopwatch
from tests.support.stores import need
from vminterface.channel.qubesdb import connection
from vminterface.channel.store import Write
from vminterface.dom0.inventory import observed
from vminterface.dom0.results import known
from vminterface.errors import ConnectionLost, DeadlineExceeded, StoreError

LIMIT = 30_000


@pytest.fixture
def qubes(tmp_path: Path) -> Iterator[QubesHost]:
    with QubesHost(tmp_path / "q") as host:
        host.start_vm("quiet", "work")
        for vm in ("quiet", "work"):
            with host.store(vm) as store:
                store.write("/qubes-timezone", b"UTC")
        yield host


@pytest.fixture
def full(qubes: QubesHost, monkeypatch: pytest.MonkeyPatch) -> QubesHost:
    """A host with a VM that has written more than dom0 reads of one VM, whose limit is lowered here."""
    monkeypatch.setattr(connection, "BYTES_MAX", LIMIT)
    qubes.start_vm("full")
    qubes.fill("full", LIMIT)
    return qubes


def test_a_vm_that_has_written_too_much_is_left_out_by_its_name(full: QubesHost) -> None:
    with full.targets() as targets:
        states, faults = observed.read_all(targets.find(targets.running()).values())
    assert {vm: one.texts["timezone"] for vm, one in states.items()} == {"quiet": "UTC", "work": "UTC"}
    assert list(faults) == ["full"]
    assert isinstance(faults["full"], StoreError)
    assert str(faults["full"]).startswith("full: /: more than ")


def test_one_vm_alone_has_its_name_in_the_fault_too(full: QubesHost) -> None:
    with full.targets() as targets:
        error = observed.read([targets.one("full")])["full"].error
    assert isinstance(error, StoreError)
    assert str(error).startswith("full: /: more than ")


@pytest.mark.parametrize(("count", "length"), [(30, 0), (4, 3000)])
def test_a_vm_that_has_written_too_many_fields_is_left_out(
    qubes: QubesHost, monkeypatch: pytest.MonkeyPatch, count: int, length: int
) -> None:
    monkeypatch.setattr(observed, "KEYS_MAX", 20)
    monkeypatch.setattr(observed, "BYTES_MAX", 10_000)
    qubes.start_vm("full")
    with qubes.daemons["full"].guest("full") as store:
        store.batch([Write(f"/vm-config/c{number}", b"x" * length) for number in range(count)])
    with qubes.targets() as targets:
        states, faults = observed.observe(targets, targets.running())
        assert sorted(states) == ["quiet", "work"]
        assert {vm: str(error) for vm, error in faults.items()} == {
            "full": "full: /: more than 20 keys or 10000 bytes of fields"
        }
        # Those alone count that somebody asks for.
        states, faults = observed.observe(targets, targets.running(), fields=["timezone"])
        assert (sorted(states), faults) == (["full", "quiet", "work"], {})


def test_what_a_vm_writes_beside_its_fields_is_never_held(qubes: QubesHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "ENTRIES_MAX", 20)
    with qubes.daemons["work"].guest("work") as store:
        store.batch([Write(f"/own/{number}", b"") for number in range(100)])
    with qubes.targets() as targets:
        states, faults = observed.observe(targets, ["work"])
    assert (states["work"].texts["timezone"], faults) == ("UTC", {})


def test_what_is_known_leaves_that_vm_out(full: QubesHost) -> None:
    with full.targets() as targets:
        found, faults = known.read(targets)
    assert {vm: one["keys"]["timezone"] for vm, one in found.items()} == {"quiet": "UTC", "work": "UTC"}
    assert list(faults) == ["full"]


def test_many_vms_that_hang_are_waited_for_together_and_not_longer_than_is_said(qubes: QubesHost) -> None:
    hung = [f"hung{number}" for number in range(12)]
    qubes.start_vm(*hung)
    with qubes.targets() as targets, qubes.daemons[hung[0]].stopped():
        started = Stopwatch()
        found, faults = known.read(targets, timeout=0.5)
        # One after the other would take 6 s, with the usual time for each a minute.
        started.check(4)
    assert list(found) == ["quiet", "work"]
    assert sorted(faults) == sorted(hung)
    assert all(isinstance(fault, DeadlineExceeded) and str(fault).startswith(vm) for vm, fault in faults.items())


def test_a_xenstore_that_is_gone_is_everybodys_fault(tmp_path: Path) -> None:
    need(missing())
    with Dom0(tmp_path / "x") as xen:
        xen.start_vm("work")
        with xen.targets() as targets:
            found = targets.find(["work"])
            xen.daemon.stop()
            with pytest.raises(ConnectionLost):
                observed.read_all(found.values())


def test_only_the_fields_that_are_asked_for_are_read(qubes: QubesHost) -> None:
    with qubes.targets() as targets:
        found = targets.find(["work"])
        states, _ = observed.read_all(found.values(), {"work": ["debug"]})
    assert states["work"].texts == {}
