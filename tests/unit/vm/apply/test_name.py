"""The host name, and the lines of the hosts file that hold it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vminterface.errors import InvalidValue, VMInterfaceError
from vminterface.vm.apply import name
from vminterface.vm.machine.machine import Machine

DEBIAN = """\
# a comment with 127.0.1.1 old
127.0.0.1\tlocalhost
127.0.1.1\told.example  old # keep me
::1     localhost ip6-localhost ip6-loopback
10.0.0.1 old
"""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(str(tmp_path))
    machine.write_file("/etc/hosts", DEBIAN)
    return machine


def test_on_debian_the_line_of_127_0_1_1_gets_the_name(machine: Machine) -> None:
    machine.write_file("/etc/debian_version", "12\n")
    assert name.apply({"name": "work"}, machine) == "host name work"
    assert machine.read_text("/etc/hostname") == "work\n"
    expected = DEBIAN.replace("old.example  old #", "old.example  work #")
    assert machine.read_text("/etc/hosts") == expected.replace("ip6-loopback\n", "ip6-loopback work\n")


def test_elsewhere_the_line_of_127_0_0_1_gets_it_and_localhost_keeps_its_own(machine: Machine) -> None:
    for new in ("first", "second"):
        name.apply({"name": new}, machine)
        lines = (machine.read_text("/etc/hosts") or "").splitlines()
        assert lines[1] == f"127.0.0.1\tlocalhost {new}"
        assert lines[2] == DEBIAN.splitlines()[2]
        assert lines[3].endswith(f"ip6-loopback {new}")


def test_a_machine_without_a_hosts_file_gets_none(machine: Machine) -> None:
    machine.remove("/etc/hosts")
    name.apply({"name": "work"}, machine)
    assert machine.names("/etc") == ["hostname"]


def test_protected_files_stay(machine: Machine) -> None:
    machine.write_file("/rw/config/protected-files.d/x", "/etc/hosts\n")
    name.apply({"name": "work"}, machine)
    assert machine.read_text("/etc/hosts") == DEBIAN
    machine.write_file("/rw/config/protected-files.d/x", "/etc/hostname\n")
    assert "protected" in name.apply({"name": "other"}, machine)
    assert machine.read_text("/etc/hostname") == "work\n"


@pytest.mark.parametrize("bad", ["", "-x", "none", "Domain-0", "a b", "x-dm", "a" * 32, "work\n", "$(reboot)"])
def test_what_is_no_name_is_refused(machine: Machine, bad: str) -> None:
    with pytest.raises(InvalidValue):
        name.apply({"name": bad}, machine)
    assert machine.read_text("/etc/hosts") == DEBIAN


def test_nothing_is_touched_when_it_is_so_already_or_no_name_is_given(machine: Machine, tmp_path: Path) -> None:
    assert name.apply({}, machine) == "no name from dom0: left unchanged"
    name.apply({"name": "work"}, machine)
    before = [(tmp_path / p).stat().st_ino for p in ("etc/hosts", "etc/hostname")]
    name.apply({"name": "work"}, machine)
    assert [(tmp_path / p).stat().st_ino for p in ("etc/hosts", "etc/hostname")] == before


def test_a_write_that_fails_puts_the_other_file_back(machine: Machine) -> None:
    name.apply({"name": "work"}, machine)
    before = machine.read_text("/etc/hosts")

    class Failing(Machine):
        def write_file(self, path: str, data: str | bytes, mode: int = 0o644, **options: Any) -> None:
            if path == "/etc/hosts" and b"other" in (data.encode() if isinstance(data, str) else data):
                raise VMInterfaceError("/etc/hosts: no room left")
            super().write_file(path, data, mode, **options)

    with pytest.raises(VMInterfaceError, match="no room"):
        name.apply({"name": "other"}, Failing(machine.root))
    assert machine.read_text("/etc/hostname") == "work\n"
    assert machine.read_text("/etc/hosts") == before
