"""Debug mode: one line in the GUI agent's environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from vminterface.errors import InvalidValue
from vminterface.vm.apply import debug
from vminterface.vm.machine.machine import Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(str(tmp_path))


def test_the_line_is_added_once_and_taken_away(machine: Machine) -> None:
    machine.write_file(debug.ENVIRONMENT, "OTHER=1")
    assert debug.apply({"debug": "1"}, machine) == "debug mode on for the GUI agent's next start"
    debug.apply({"debug": "1"}, machine)
    assert machine.read_text(debug.ENVIRONMENT) == "OTHER=1\nGUI_OPTS=-vv\n"
    assert debug.apply({"debug": "0"}, machine) == "debug mode off for the GUI agent's next start"
    assert machine.read_text(debug.ENVIRONMENT) == "OTHER=1\n"


def test_without_the_key_debug_mode_is_off(machine: Machine) -> None:
    debug.apply({"debug": "1"}, machine)
    debug.apply({}, machine)
    assert machine.read_text(debug.ENVIRONMENT) == ""


def test_off_makes_no_file(machine: Machine) -> None:
    debug.apply({"debug": "0"}, machine)
    assert machine.read_text(debug.ENVIRONMENT) is None


@pytest.mark.parametrize("bad", ["", "yes", "2", "-1", "1 ", "True", "\u0661"])
def test_anything_else_is_refused_and_the_old_state_stays(machine: Machine, bad: str) -> None:
    debug.apply({"debug": "1"}, machine)
    with pytest.raises(InvalidValue):
        debug.apply({"debug": bad}, machine)
    assert machine.read_text(debug.ENVIRONMENT) == "GUI_OPTS=-vv\n"
