"""Services: files that dom0's word and the VM's type decide about."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from vminterface.errors import ProgramFailed
from vminterface.values.vmtype import VMType
from vminterface.vm.apply import services
from vminterface.vm.machine.machine import Machine

APP = ["evolution-data-server", "meminfo-writer", "qubes-update-check", "software-rendering", "tracker"]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(str(tmp_path))


@pytest.fixture
def started_machine(machine: Machine) -> Machine:
    """One whose distribution has made the folder, with choices of its own."""
    machine.touch("/run/qubes-service/meminfo-writer")
    machine.touch("/run/qubes-service/local-choice")
    return machine


def on(machine: Machine) -> list[str]:
    return machine.names(services.FOLDER)


@pytest.mark.parametrize(
    ("vm_type", "some", "count"),
    [
        (VMType.NET_VM, "network-manager", 7),
        (VMType.PROXY_VM, "qubes-firewall", 5),
        (VMType.APP_VM, "tracker", 5),
        (VMType.TEMPLATE_VM, "updates-proxy-setup", 6),
        (VMType.DISP_VM, "meminfo-writer", 2),
        (None, "tracker", 5),
    ],
)
def test_each_type_has_its_defaults(vm_type: VMType | None, some: str, count: int) -> None:
    assert some in services.defaults_for(vm_type)
    assert len(services.defaults_for(vm_type)) == count


def test_where_nobody_else_did_the_defaults_are_made_and_dom0_has_the_last_word(machine: Machine) -> None:
    note = services.apply({"services:cups": "1", "services:tracker": "0"}, machine, vm_type=VMType.APP_VM)
    assert note == "on: cups; off: tracker"
    assert on(machine) == sorted({*APP, "cups"} - {"tracker"})
    assert services.apply({}, machine, vm_type=VMType.APP_VM) == "all at the defaults of the VM's type"
    assert on(machine) == APP


def test_where_the_distribution_did_only_what_dom0_names_is_touched(started_machine: Machine) -> None:
    services.apply({"services:cups": "1", "services:meminfo-writer": "0"}, started_machine, vm_type=VMType.APP_VM)
    assert on(started_machine) == ["cups", "local-choice"]
    services.apply({}, started_machine, vm_type=VMType.APP_VM)
    assert on(started_machine) == ["local-choice", "meminfo-writer"]
    started_machine.remove("/run/qubes-service/meminfo-writer")
    services.apply({}, started_machine, vm_type=VMType.APP_VM)
    assert on(started_machine) == ["local-choice"]


@pytest.mark.parametrize(
    ("field", "text", "shown"),
    [
        ("services:cups", "True", "'cups' (neither 0 nor 1)"),
        ("services:cups", "", "'cups' (neither 0 nor 1)"),
        ("services:cups", "10", "'cups' (neither 0 nor 1)"),
        ("services:getty@tty", "1", "'getty@tty' (not a valid service name)"),
        ("services:-x", "0", "'-x' (not a valid service name)"),
        ("services:.x", "1", "'.x' (not a valid service name)"),
        ("services:../../etc/x", "1", "'../../etc/x' (not a valid service name)"),
        ("services:\x1b[2J", "1", "'\\x1b[2J' (not a valid service name)"),
        ("services:", "1", "'' (not a valid service name)"),
    ],
)
def test_a_key_that_does_not_parse_is_ignored_and_named_and_the_others_hold(
    started_machine: Machine, field: str, text: str, shown: str
) -> None:
    note = services.apply({"services:aaa": "1", field: text, "services:zzz": "0"}, started_machine)
    assert note == f"ignored: {shown}; on: aaa; off: zzz"
    assert on(started_machine) == ["aaa", "local-choice", "meminfo-writer"]


def test_a_service_whose_value_does_not_parse_any_more_is_at_its_default_again(started_machine: Machine) -> None:
    services.apply({"services:cups": "1"}, started_machine)
    note = services.apply({"services:cups": "True"}, started_machine)
    assert note == "ignored: 'cups' (neither 0 nor 1); all at the defaults of the VM's type"
    assert on(started_machine) == ["local-choice", "meminfo-writer"]


def test_many_keys_that_do_not_parse_leave_room_for_what_holds(started_machine: Machine) -> None:
    odd = {f"services:{number:048}@": "1" for number in range(1000)}
    note = services.apply({**odd, "services:cups": "1"}, started_machine)
    assert note.endswith(", 998 more; on: cups")
    assert len(note) < 200


def test_nothing_is_touched_when_it_is_so_already(started_machine: Machine, tmp_path: Path) -> None:
    services.apply({"services:cups": "1"}, started_machine)
    files = [tmp_path / "run/qubes-service/cups", tmp_path / "run/vminterface/services.json"]
    before = [(f.stat().st_ino, f.stat().st_mtime_ns) for f in files]
    services.apply({"services:cups": "1"}, started_machine)
    assert [(f.stat().st_ino, f.stat().st_mtime_ns) for f in files] == before


@pytest.mark.parametrize("record", ["", "[", "[1]", '{"names": [1]}', '{"names": ["../x"]}', "null", '{"names": 3}'])
def test_a_record_that_is_not_whole_counts_as_none(started_machine: Machine, record: str) -> None:
    started_machine.write_file(services.STATE, record)
    services.apply({"services:cups": "1"}, started_machine)
    assert on(started_machine) == ["cups", "local-choice", "meminfo-writer"]


class WithUnits(Machine):
    """A machine whose systemctl is played: one cannot be started in a test."""

    units = ("cups.service", "bad.service")
    is_whole = True

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.told: list[str] = []

    def run(self, argv: Sequence[str], **options: Any) -> bytes:
        program, verb, dashes, unit = argv
        assert (program, dashes) == ("systemctl", "--")
        if verb == "cat":
            if unit not in self.units:
                raise ProgramFailed("systemctl ended with status 1")
            return b""
        self.told.append(f"{verb} {unit}")
        if unit == "bad.service":
            raise ProgramFailed("systemctl ended with status 1: bad.service")
        return b""


def test_a_folder_on_a_host_leaves_the_hosts_units_alone(tmp_path: Path) -> None:
    machine = WithUnits(str(tmp_path))
    machine.is_whole = False
    services.apply({"services:cups": "1"}, machine, live_units=True)
    assert machine.told == []


def test_live_units_follow_the_changes_alone(tmp_path: Path) -> None:
    machine = WithUnits(str(tmp_path))
    machine.make_folder(services.FOLDER)
    inputs = {"services:cups": "1", "services:no-unit": "1"}
    services.apply(inputs, machine, live_units=True)
    services.apply(inputs, machine, live_units=True)
    assert machine.told == ["start cups.service"]
    services.apply({**inputs, "services:cups": "0"}, machine, live_units=True)
    assert machine.told == ["start cups.service", "stop cups.service"]


def test_a_unit_that_does_not_start_takes_its_file_back(tmp_path: Path) -> None:
    machine = WithUnits(str(tmp_path))
    machine.make_folder(services.FOLDER)
    with pytest.raises(ProgramFailed, match="bad"):
        services.apply({"services:bad": "1", "services:aaa": "1"}, machine, live_units=True)
    assert on(machine) == []
