"""``vminterface.absent`` by the real salt-ssh: the VM has what it had before the other states, and its own handlers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.xenstored import fakexen
from tests.support import sshvm
from tests.support.dom0 import Dom0
from tests.support.formula import applier

pytestmark = [
    pytest.mark.allow_skip,
    pytest.mark.skipif(bool(fakexen.missing()), reason=fakexen.missing()),
    pytest.mark.skipif(bool(sshvm.missing()), reason=sshvm.missing()),
    pytest.mark.timeout(600),
]
AGENT = "/usr/bin/python3 -P /usr/bin/vminterface agent"
STOCK = "/etc/qubes-rpc/qubes.GetDate"
#: What the states in VMs write of the VM's own settings.
OPTIONS = {"handlers": {"replace": True}, "agent": {"accepts": {"timezone": "accept"}}}


@pytest.fixture
def vm(tmp_path: Path) -> Iterator[sshvm.SshVM]:
    with Dom0(tmp_path / "xen") as dom0:
        dom0.start_vm("work")
        with sshvm.SshVM(tmp_path, Path(dom0.daemon.socket(dom0.domids["work"])).parent) as made:
            yield made


def would_change(report: dict[str, dict[str, Any]]) -> set[str]:
    return {tag for tag, line in report.items() if line["changes"] or line["result"] is not True}


def test_a_vm_has_again_what_it_had_before_and_what_is_its_owners_stays(vm: sshvm.SshVM, tmp_path: Path) -> None:
    vm.run(f"mkdir -p /etc/qubes-rpc /etc/qubes/rpc-config && printf '#!/bin/sh\necho stock\n' > {STOCK}")
    vm.run(f"chmod 755 {STOCK}")
    vm.run("echo 'wait-for-session = true' > /etc/qubes/rpc-config/stock.Service")
    before = vm.written()
    apply = applier(tmp_path, vm, "vminterface.absent")
    options = "pillar=" + json.dumps({"vminterface": OPTIONS})
    apply(options, sls="vminterface.agent,vminterface.handlers")
    vm.wait_for(f"pgrep -xf '{AGENT}'")
    vm.run(f"! grep -q stock {STOCK} && test -e /etc/qubes-rpc/qubes.VMShell -a -e /etc/vminterface/agent.conf")
    vm.run("echo mine > /etc/vminterface/terminal-command")
    installed = vm.written()

    would = apply("test=True")
    assert would["vminterface-absent-handlers-cmd"]["changes"]["qubes.GetDate"] == "restored"
    assert {line["result"] for tag, line in would.items() if line["changes"]} == {None}
    assert vm.written() == installed

    report = apply()
    assert report["vminterface-absent-handlers-cmd"]["changes"]["qubes.GetDate"] == "restored"
    # What the agent has applied is the VM's: its name here.
    before.add("/etc/hostname")
    assert vm.written() == before | {"/etc/vminterface", "/etc/vminterface/terminal-command"}
    assert vm.run(STOCK) == "stock\n"
    vm.run(f"! pgrep -xf '{AGENT}' && ! ls /etc/rc?.d/*vminterface*")

    assert would_change(apply()) == set()

    # As dom0, where a watcher is given a file of settings.
    vm.run("rm /etc/vminterface/terminal-command && rmdir /etc/vminterface")
    vm.forget_grains()
    apply(sls="vminterface.library", minion="dom0")
    unit, pillar = "/etc/systemd/system/vminterface-watch.service", "/etc/vminterface/pillar.json"
    vm.run(f"mkdir -p /etc/vminterface /etc/systemd/system && echo > {unit} && echo '{{}}' > {pillar}")
    assert vm.written() >= {unit, pillar}
    apply(minion="dom0")
    assert vm.written() - {"/etc/systemd/system"} == before
    assert would_change(apply("test=True", minion="dom0")) == set()
