"""What a master knows of many hosts: each host's reply stands for itself, and those without one are named."""

from __future__ import annotations

import json

import pytest

from tests.unit.dom0.fleet.test_record import HOST
from vminterface.dom0.fleet.fleet import Fleet, Host
from vminterface.dom0.fleet.record import HostRecord, VMRecord
from vminterface.errors import InvalidValue

WELL = HostRecord(1796000709, "0.1.0", {"work": VMRecord("work", "converged")})
SILENT = Host("dom0-mute", error="no reply within 15 s", silent=True)
FLEET = Fleet.of(
    1796000800.5, [Host.of_return("dom0-warsaw", HOST.as_data()), SILENT, Host.of_return("dom0-paris", WELL.as_data())]
)


def test_hosts_are_sorted_and_two_may_have_a_vm_of_one_name() -> None:
    assert list(FLEET.hosts) == ["dom0-mute", "dom0-paris", "dom0-warsaw"]
    found = [(host.name, vm.name, vm.state) for host, vm in FLEET.vms() if vm.name == "work"]
    assert found == [("dom0-paris", "work", "converged"), ("dom0-warsaw", "work", "drifted")]


def test_a_partial_reply_is_counted_as_one() -> None:
    counts = {name: count for name, count in FLEET.counts.items() if count}
    assert counts == {
        "hosts": 3,
        "replied": 2,
        "silent": 1,
        "vms": 4,
        "converged": 2,
        "drifted": 1,
        "not_running": 1,
        "no_agent": 1,
    }
    assert not FLEET.well
    assert Fleet.of(0, [Host.of_return("dom0-paris", WELL.as_data())]).well
    assert not Fleet.of(0, [SILENT]).well


def test_what_is_written_is_read_again_by_way_of_json() -> None:
    assert Fleet.parse(json.loads(json.dumps(FLEET.as_data()))) == FLEET


@pytest.mark.parametrize(
    ("returned", "error"),
    [
        ("'qubes_vm.summary' is not available.\n", "'qubes_vm.summary' is not available."),
        ("", "an empty reply"),
        ("a\x1b[2J\nb", "a\\x1b[2J b"),
        ({"format": 2}, "the reply cannot be read: a record of format 2"),
        (None, "the reply cannot be read: is of type NoneType (expected a mapping)"),
    ],
)
def test_a_reply_that_is_no_record_is_its_hosts_error_alone(returned: object, error: str) -> None:
    host = Host.of_return("dom0-\x1bparis", returned)
    assert host.name == "dom0-\\x1bparis"
    assert host.error.startswith(error)
    assert host.message == host.error
    assert not host.well
    assert not host.silent


@pytest.mark.parametrize("data", [None, [], {"format": 1}, {"format": 1, "hosts": {}}, {"format": 2}])
def test_a_file_that_is_no_fleet_is_refused(data: object) -> None:
    with pytest.raises(InvalidValue):
        Fleet.parse(data)
