"""The table of services: each has its module, and the files that the qrexec agent looks for."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from lab.qrexec.lookup import Configuration
from vminterface.values.rpcname import descriptor
from vminterface.vm.handlers.runtime.entry import configuration, entry
from vminterface.vm.handlers.runtime.table import SERVICES


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_a_module_that_names_it_first(name: str) -> None:
    service, _, argument = name.partition("+")
    assert descriptor(service, argument) == name
    module = importlib.import_module(f"vminterface.vm.handlers.{SERVICES[name].module}")
    assert callable(module.handle)
    assert name in (module.__doc__ or "").splitlines()[0]


def test_the_documentation_has_a_row_for_every_service_and_no_other() -> None:
    page = (Path(__file__).parents[5] / "docs/handlers.md").read_text()
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
    assert ("wait-for-session=1" in lines) == SERVICES[name].waits_for_session
    assert len(lines) == SERVICES[name].as_root + SERVICES[name].waits_for_session


@pytest.mark.parametrize("name", SERVICES)
def test_the_configuration_is_understood_by_the_agents_of_every_release(name: str) -> None:
    text, row = configuration(SERVICES[name]), SERVICES[name]
    # Qubes core-qrexec 4.1.0 to 4.2.11: sscanf(line, "wait-for-session=%d", ...) on each line.
    assert any(re.match(r"wait-for-session=\s*1", line) for line in text.splitlines()) == row.waits_for_session
    # Later ones: TOML of a kind.
    assert Configuration.parse(text) == Configuration(row.waits_for_session, "root" if row.as_root else None)


def test_a_program_is_python_whatever_its_library_is_called() -> None:
    text = entry("qubes.GetDate", '/opt/it\'s "here"', "/usr/bin/python3")
    assert text.startswith("#!/usr/bin/python3 -IS\n")
    compile(text, "entry", "exec")
