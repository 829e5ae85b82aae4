"""What happened to VMs between two looks at the real xenstored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.xenstored.fakexen import missing
from tests.support.dom0 import Dom0
from tests.support.qubesdb import QubesHost
from tests.support.stores import need
from vminterface.channel.qubesdb import connection
from vminterface.dom0.reports.changes import Seen, inspect
from vminterface.errors import InvalidValue, VMInterfaceError

Look = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Dom0]:
    need(missing())
    with Dom0(tmp_path / "xen") as host:
        host.start_vm("work")
        yield host


@pytest.fixture
def again(host: Dom0) -> Look:
    """Looks once more, with what the look before has found."""
    seen = Seen()

    def again(**options: Any) -> list[dict[str, Any]]:
        with host.targets() as targets:
            return inspect(targets, seen, **options)

    return again


def write(host: Dom0, vm: str, key: str, value: bytes | None) -> None:
    with host.store() as store:
        path = f"/local/domain/{host.domids[vm]}/{key}"
        if value is None:
            store.remove(path)
        else:
            store.write(path, value)


def test_the_first_look_finds_no_news_and_neither_does_one_at_rest(again: Look) -> None:
    assert again(fields=["timezone"], memory=1) == []
    assert again(fields=["timezone"], memory=1) == []


def test_a_vm_that_started_again_stopped_and_started(host: Dom0, again: Look) -> None:
    again(fields=["timezone"])
    write(host, "work", "qubes-timezone", b"UTC")
    host.stop_vm("work")
    host.start_vm("work")
    # Its former keys are another domain's.
    assert again(fields=["timezone"]) == [
        {"event": "stopped", "vm": "work", "domid": 1},
        {"event": "started", "vm": "work", "domid": 2},
    ]


def test_a_key_comes_changes_and_goes(host: Dom0, again: Look) -> None:
    again(fields=["timezone", "services:cups"])
    found = []
    for value in (b"UTC", b"a\x1b[2Jb", None):
        write(host, "work", "qubes-timezone", value)
        found += [(event["old"], event["new"]) for event in again(fields=["timezone", "services:cups"])]
    assert found == [(None, "UTC"), ("UTC", "a\\x1b[2Jb"), ("a\\x1b[2Jb", None)]


def test_resolvers_are_one_field_and_its_values_are_those_of_the_pillar(host: Dom0, again: Look) -> None:
    fields = ["network:dns", "services:cups"]
    again(fields=fields)
    write(host, "work", "qubes-primary-dns", b"10.139.1.1")
    write(host, "work", "qubes-secondary-dns", b"10.139.1.2")
    write(host, "work", "qubes-service/cups", b"0")
    assert again(fields=fields) == [
        {"event": "changed", "vm": "work", "field": "network:dns", "old": None, "new": ["10.139.1.1", "10.139.1.2"]},
        {"event": "changed", "vm": "work", "field": "services:cups", "old": None, "new": "off"},
    ]


def test_memory_above_its_bound_is_told_at_the_first_look_too(host: Dom0, again: Look) -> None:
    write(host, "work", "memory/static-max", b"400000")
    write(host, "work", "memory/meminfo", b"300000")
    assert again(memory=70) == [{"event": "memory_high", "vm": "work", "percent": 75.0, "used_kb": 300000}]
    assert again(memory=70) == []
    write(host, "work", "memory/meminfo", b"nonsense")
    assert again(memory=70) == []


def test_a_vm_whose_qubesdb_cannot_be_read_keeps_its_news_and_costs_nobody_else_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Seen()
    monkeypatch.setattr(connection, "BYTES_MAX", 30_000)

    with QubesHost(tmp_path / "q") as qubes:

        def news() -> list[tuple[str, str]]:
            with qubes.targets() as targets:
                return [(one["vm"], one["event"]) for one in inspect(targets, seen, fields=["timezone"])]

        for vm in ("full", "work"):
            qubes.start_vm(vm)
        assert news() == []
        assert seen.errors == {}
        qubes.fill("full", 30_000)
        for vm in ("full", "work"):
            with qubes.store(vm) as store:
                store.write("/qubes-timezone", b"UTC")
        qubes.start_vm("late")
        assert news() == [("late", "started"), ("work", "changed")]
        assert list(seen.errors) == ["full"]
        with qubes.store("full") as store:
            store.remove("/own")
        assert news() == [("full", "changed")]
        assert seen.errors == {}


def test_only_the_vms_that_are_asked_for_are_looked_at(host: Dom0, again: Look) -> None:
    again(vms=["work"])
    host.start_vm("other")
    assert again(vms=["work"]) == []


def test_a_field_that_does_not_exist_is_an_error(again: Look) -> None:
    with pytest.raises(InvalidValue, match="unknown field 'nonsense'"):
        again(fields=["nonsense"])


def test_a_look_that_failed_is_made_up_for_by_the_next(host: Dom0) -> None:
    seen = Seen()
    with host.targets() as targets:
        inspect(targets, seen)
        host.start_vm("late")
        targets.xenstore.close()
        with pytest.raises(VMInterfaceError):
            inspect(targets, seen)
    with host.targets() as targets:
        assert [(event["event"], event["vm"]) for event in inspect(targets, seen)] == [("started", "late")]
