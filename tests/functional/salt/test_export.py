"""``qubes_vm.export`` returns a file that Salt itself reads as the pillar of what VMs have."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError
from salt.pillar import get_pillar

from tests.support.dom0 import Dom0
from vminterface.cli.main import main

TEXT = "{{ 1 + 1 }} {% raw %} {# x #}"


@pytest.fixture
def host(host: Dom0) -> Dom0:
    host.start_vm("personal")
    with host.store() as store:
        for name, value in {"qubes-timezone": "Asia/Tokyo", "vm-config/t": TEXT, "qubes-service/cups": "1"}.items():
            store.write(f"/local/domain/{host.domids['work']}/{name}", value.encode())
    return host


def test_the_text_is_a_pillar_file_that_jinja_reads_first_and_nothing_drifts(
    host: Dom0, modules: Any, minion_opts: dict[str, Any], pillar: Callable[..., Any]
) -> None:
    text = modules.qubes_vm.export()
    pillar({})
    file = Path(minion_opts["pillar_roots"]["base"][0]) / "data.sls"
    file.write_text(text)
    compiled = get_pillar(minion_opts, {}, "dom0", "base").compile_pillar()
    held = json.loads(json.dumps(compiled))["qubes"]["vms"]
    assert held["work"] == {"timezone": "Asia/Tokyo", "vm_config": {"t": TEXT}, "services": {"cups": True}}
    assert held["personal"] == {}


def test_it_is_what_the_command_prints(
    host: Dom0, modules: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["export", "work"]) == 0
    printed = capsys.readouterr().out
    assert printed == modules.qubes_vm.export(vms=["work"])
    (tmp_path / "pillar.sls").write_text(printed)
    assert main(["diff", "--pillar", str(tmp_path / "pillar.sls")]) == 0
    assert main(["check", str(tmp_path / "pillar.sls")]) == 0


def test_a_vm_that_cannot_be_read_is_said_and_the_exit_status_too(
    host: Dom0, modules: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "# nosuch: left out: nosuch: there is no running VM with this name" in modules.qubes_vm.export(
        vms=["nosuch", "work"]
    )
    assert main(["export", "nosuch", "work"]) == 1
    assert capsys.readouterr().err == "vminterface: nosuch: there is no running VM with this name\n"
    assert main(["export", "dom0"]) == 1
    assert "is dom0 itself" in capsys.readouterr().err


def test_a_new_file_is_written_and_one_that_is_there_is_left(host: Dom0, modules: Any, tmp_path: Path) -> None:
    file = tmp_path / "exported.sls"
    assert modules.qubes_vm.export(path=str(file)) == str(file)
    assert file.read_text() == modules.qubes_vm.export()
    file.write_text("mine")
    with pytest.raises(CommandExecutionError, match=r"exported\.sls: cannot be written: File exists"):
        modules.qubes_vm.export(path=str(file))
    assert file.read_text() == "mine"


def test_a_file_that_does_not_fit_leaves_nothing(host: Dom0, modules: Any, tmp_path: Path) -> None:
    file = tmp_path / "exported.sls"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, before[1]))  # to a file, this limit is a full disk
    try:
        with pytest.raises(CommandExecutionError, match=r"exported\.sls: cannot be written: File too large"):
            modules.qubes_vm.export(path=str(file))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not file.exists()


def test_programs_get_data_that_can_be_pushed_as_it_is(
    host: Dom0, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["export", "--json"]) == 0
    (tmp_path / "pillar.json").write_text(capsys.readouterr().out)
    assert main(["diff", "--pillar", str(tmp_path / "pillar.json")]) == 0
    assert "2 VMs" not in capsys.readouterr().err
