"""The VM's side knows dom0 by Xen's or Qubes' own sign below its root, and refuses to run there; a VM has neither."""

from __future__ import annotations

from pathlib import Path

import pytest

from vminterface.errors import ControlDomain
from vminterface.vm.agent import agent
from vminterface.vm.handlers.runtime import install
from vminterface.vm.machine import controldomain
from vminterface.vm.machine.controldomain import CAPABILITIES, QUBES_RELEASE, QUBES_VM
from vminterface.vm.machine.machine import Machine


def machine(root: Path, files: dict[str, str]) -> Machine:
    for path, text in files.items():
        (root / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        (root / path[1:]).write_text(text)
    return Machine(str(root))


DOM0 = {
    "xen": {CAPABILITIES: "control_d\n"},
    "qubes": {CAPABILITIES: "control_d\n", QUBES_RELEASE: "Qubes release 4.3 (R4.3)\n"},
    "qubes-without-xenfs": {QUBES_RELEASE: "Qubes release 4.3 (R4.3)\n"},
}
VMS = {
    "folder": {},
    "xen": {CAPABILITIES: ""},
    "qubes": {CAPABILITIES: "", QUBES_VM: "# This file marks a VM\n"},
    # One in which dom0's packages are built.
    "builder": {QUBES_RELEASE: "Qubes release 4.3 (R4.3)\n", QUBES_VM: ""},
}


@pytest.mark.parametrize("files", DOM0.values(), ids=DOM0)
def test_agent_and_handlers_refuse_in_dom0_and_change_nothing(tmp_path: Path, files: dict[str, str]) -> None:
    dom0 = machine(tmp_path, files)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ControlDomain, match=r"^vminterface agent: this is dom0 .*--targets TEMPLATE state.apply"):
        agent.run(root=str(tmp_path))
    for test in (True, False):
        with pytest.raises(ControlDomain, match=r"--skip-dom0 --targets TEMPLATE state.apply vminterface.handlers"):
            install.install(dom0, python="/usr/bin/python3", test=test)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("files", VMS.values(), ids=VMS)
def test_in_a_vm_they_run(tmp_path: Path, files: dict[str, str]) -> None:
    controldomain.require_vm(machine(tmp_path, files), "vminterface agent", "")


def test_what_was_put_into_dom0_before_can_be_removed_there(tmp_path: Path) -> None:
    dom0 = Machine(str(tmp_path))
    install.install(dom0, python="/usr/bin/python3")
    machine(tmp_path, DOM0["qubes"])
    assert "qubes.VMRootShell" in install.remove(dom0).changes
    assert not (tmp_path / "etc/qubes-rpc").exists()
