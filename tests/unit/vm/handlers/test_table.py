"""The table of services: each has its module, and the files that the qrexec agent looks for."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from vminterface.values.rpcname import descriptor
from vminterface.vm.handlers.entry import configuration, entry
from vminterface.vm.handlers.table import SERVICES


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_a_module_that_names_it_first(name: str) -> None:
    service, _, argument = name.partition("+")
    assert descriptor(service, argument) == name
    module = importlib.import_module(f"vminterface.vm.handlers.{SERVICES[name].module}")
    assert callable(module.handle)
    assert name in (module.__doc__ or "").splitlines()[0]


def test_the_documentation_has_a_row_for_every_service_and_no_other() -> None:
    page = (Path(__file__).parents[4] / "docs/handlers.md").read_text()
    rows = re.findall(r"^\|((?: `qubes\.[^`]+`,?)+) \|", page, re.MULTILINE)
    assert sorted(re.findall(r"`([^`]+)`", "".join(rows))) == sorted(SERVICES)


def test_what_changes_the_machine_itself_runs_as_root() -> None:
    as_root = {name for name, row in SERVICES.items() if row.as_root}
    assert {"qubes.SetDateTime", "qubes.ResizeDisk", "qubes.DetachPciDevice"} <= as_root
    assert not as_root & {"qubes.GetAppmenus", "qubes.GetImageRGBA", "qubes.GetDate", "qubes.SetMonitorLayout"}


@pytest.mark.parametrize("name", SERVICES)
def test_the_configuration_has_the_agents_own_form(name: str) -> None:
    lines = configuration(SERVICES[name]).splitlines()
    assert ("force-user = 'root'" in lines) == SERVICES[name].as_root
    assert ("wait-for-session = true" in lines) == SERVICES[name].waits_for_session
    assert len(lines) == SERVICES[name].as_root + SERVICES[name].waits_for_session


def test_a_program_is_python_whatever_its_library_is_called() -> None:
    text = entry("qubes.GetDate", '/opt/it\'s "here"', "/usr/bin/python3")
    assert text.startswith("#!/usr/bin/python3 -IS\n")
    compile(text, "entry", "exec")
