"""The time zone: both files or none, and only zones that this machine has."""

from __future__ import annotations

from pathlib import Path

import pytest

from vminterface.errors import InvalidValue, VMInterfaceError
from vminterface.vm.apply import timezone
from vminterface.vm.machine.machine import Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(str(tmp_path))
    for zone in ("Europe/Warsaw", "America/Indiana/Indianapolis"):
        machine.write_file(f"/usr/share/zoneinfo/{zone}", b"TZif2" + bytes(40))
    machine.write_file("/usr/share/zoneinfo/tzdata", "not a zone")
    machine.write_file("/etc/debian_version", "12\n")
    return machine


def test_debian_gets_the_link_and_the_name(machine: Machine) -> None:
    assert timezone.apply({"timezone": "America/Indiana/Indianapolis"}, machine) == (
        "time zone America/Indiana/Indianapolis"
    )
    assert machine.link_target("/etc/localtime") == "../usr/share/zoneinfo/America/Indiana/Indianapolis"
    assert machine.read_text("/etc/timezone") == "America/Indiana/Indianapolis\n"


def test_a_lasting_zone_goes_before_the_one_that_every_vm_is_given(machine: Machine) -> None:
    both = {"timezone": "Europe/Warsaw", "lasting:timezone": "America/Indiana/Indianapolis"}
    assert timezone.apply(both, machine) == "time zone America/Indiana/Indianapolis"
    assert timezone.apply({"lasting:timezone": "Europe/Warsaw"}, machine) == "time zone Europe/Warsaw"
    with pytest.raises(InvalidValue):
        timezone.apply({"timezone": "Europe/Warsaw", "lasting:timezone": "Europe/Nowhere"}, machine)


def test_fedora_gets_the_clock_file(machine: Machine) -> None:
    machine.remove("/etc/debian_version")
    machine.make_folder("/etc/sysconfig")
    timezone.apply({"timezone": "Europe/Warsaw"}, machine)
    lines = (machine.read_text("/etc/sysconfig/clock") or "").splitlines()
    assert lines[0].startswith("#")
    assert lines[1:] == ['ZONE="Europe/Warsaw"']
    assert machine.read_text("/etc/timezone") is None


def test_others_get_the_link_alone(machine: Machine) -> None:
    machine.remove("/etc/debian_version")
    timezone.apply({"timezone": "Europe/Warsaw"}, machine)
    assert sorted(machine.names("/etc")) == ["localtime"]


@pytest.mark.parametrize(
    "bad", ["", "Europe/Nowhere", "../../../etc/passwd", "/etc/passwd", "tzdata", "Europe", "Europe/Warsaw\n", "a b"]
)
def test_what_is_no_zone_of_this_machine_is_refused_and_the_old_one_stays(machine: Machine, bad: str) -> None:
    timezone.apply({"timezone": "Europe/Warsaw"}, machine)
    with pytest.raises(InvalidValue):
        timezone.apply({"timezone": bad}, machine)
    assert machine.link_target("/etc/localtime") == "../usr/share/zoneinfo/Europe/Warsaw"
    assert machine.read_text("/etc/timezone") == "Europe/Warsaw\n"


def test_a_missing_key_and_a_protected_file_leave_the_templates_zone(machine: Machine) -> None:
    machine.write_file("/etc/timezone", "Etc/UTC\n")
    assert timezone.apply({}, machine) == "no time zone from dom0: left unchanged"
    for path in ("/etc/timezone", "/etc/localtime"):
        machine.write_file("/etc/qubes/protected-files.d/x", f"{path}\n")
        note = timezone.apply({"timezone": "Europe/Warsaw"}, machine)
        assert note == f"left unchanged: {path} is protected in this VM"
        assert machine.read_text("/etc/timezone") == "Etc/UTC\n"
        assert machine.link_target("/etc/localtime") is None


def test_a_protected_clock_file_leaves_the_zone(machine: Machine) -> None:
    machine.remove("/etc/debian_version")
    machine.write_file("/etc/sysconfig/clock", "")
    machine.write_file("/etc/qubes/protected-files.d/x", "/etc/sysconfig/clock\n")
    assert timezone.apply({"timezone": "Europe/Warsaw"}, machine).startswith("left unchanged: /etc/sysconfig/clock")
    assert machine.read_text("/etc/sysconfig/clock") == ""
    assert machine.link_target("/etc/localtime") is None


def test_nothing_is_touched_when_it_is_so_already(machine: Machine, tmp_path: Path) -> None:
    timezone.apply({"timezone": "Europe/Warsaw"}, machine)
    before = [(tmp_path / p).lstat().st_ino for p in ("etc/localtime", "etc/timezone")]
    timezone.apply({"timezone": "Europe/Warsaw"}, machine)
    assert [(tmp_path / p).lstat().st_ino for p in ("etc/localtime", "etc/timezone")] == before


def test_both_files_or_none(machine: Machine) -> None:
    class Failing(Machine):
        def symlink(self, target: str, path: str) -> None:
            raise VMInterfaceError(f"{path}: no room left")

    with pytest.raises(VMInterfaceError, match="/etc/localtime: no room left"):
        timezone.apply({"timezone": "Europe/Warsaw"}, Failing(machine.root))
    assert machine.read_text("/etc/timezone") is None
    timezone.apply({"timezone": "Europe/Warsaw"}, machine)
    with pytest.raises(VMInterfaceError):
        timezone.apply({"timezone": "America/Indiana/Indianapolis"}, Failing(machine.root))
    assert machine.read_text("/etc/timezone") == "Europe/Warsaw\n"
