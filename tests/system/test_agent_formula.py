"""``vminterface.agent`` by the real salt-ssh, into a VM: it installs the agent, which then does what dom0 says."""

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
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.push.push import push

pytestmark = [
    pytest.mark.allow_skip,
    pytest.mark.skipif(bool(fakexen.missing()), reason=fakexen.missing()),
    pytest.mark.skipif(bool(sshvm.missing()), reason=sshvm.missing()),
    pytest.mark.timeout(600),
]
AGENT = "/usr/bin/python3 -P /usr/bin/vminterface agent"
LIVE = f"{AGENT} --live-services"


@pytest.fixture
def dom0(tmp_path: Any) -> Iterator[Any]:
    with Dom0(tmp_path / "xen") as host:
        domid = host.start_vm("work")
        # As on Qubes; the grain of a VM has it from there.
        with host.store() as store:
            store.write(f"/local/domain/{domid}/qubes-vm-type", b"TemplateVM")
        yield host


@pytest.fixture
def vm(tmp_path: Any, dom0: Any) -> Iterator[Any]:
    with sshvm.SshVM(tmp_path, Path(dom0.daemon.socket(dom0.domids["work"])).parent) as made:
        yield made


@pytest.fixture
def apply(tmp_path: Any, vm: Any) -> Any:
    """Applies vminterface.agent and returns the lines of the report by ID."""
    return applier(tmp_path, vm, "vminterface.agent")


def test_the_agent_is_installed_once_and_does_what_dom0_says(dom0: Any, vm: Any, apply: Any) -> None:
    # The first time as on Qubes: from the top file of all templates, and with what dom0 knows of this VM and of others.
    apply.dom0.qubesd({"work": {"type": "template", "features": {"service.cups": "1"}, "tags": []}})
    apply.dom0.pillar({"vms": {"personal": {"timezone": "Asia/Tokyo"}, "work": {"timezone": "Europe/Lisbon"}}})
    apply.dom0.enable("vminterface", "vminterface.agent")
    apply.dom0.call("saltutil.sync_all")
    would = apply("test=True")
    assert {line["result"] for line in would.values()} == {None}
    assert vm.run("ls /usr/lib/vminterface /usr/bin/vminterface 2>&1 || true").count("No such file") == 2

    first = apply(sls="")
    assert "type: template" in apply.sent()
    assert not any(word in apply.sent() for word in ("personal", "Tokyo", "Lisbon"))
    replies = first.pop("vminterface-agent-replies-cmd")
    assert (replies["result"], replies["changes"]) == (True, {})
    assert replies["comment"].endswith(" replies, and has its store")
    assert all(line["changes"] for line in first.values())
    assert set(first) == {
        "vminterface-library-file",
        "vminterface-library-compiled-cmd",
        "vminterface-command-file",
        "vminterface-agent-file",
        "vminterface-agent-service",
        "vminterface-agent-at-boot-cmd",
    }
    assert vm.run("find /usr/lib/vminterface -name '.*'") == ""
    assert "vminterface 0" in vm.run("vminterface --version")
    assert vm.run("ls /etc/rc2.d | grep vminterface-agent").startswith("S")
    pid = vm.wait_for(f"pgrep -xf '{AGENT}'")

    # What the agent does is dom0's to see: a push is acknowledged.
    with dom0.targets() as targets:
        (outcome,) = push([VMSettings.parse("work", {"timezone": "Europe/Warsaw"})], targets)
    assert outcome.comment() == "work: timezone set"
    assert vm.run("readlink /etc/localtime").strip().endswith("Europe/Warsaw")

    second = apply()
    assert [line for line in second.values() if line["changes"] or line["result"] is not True] == []
    assert vm.run(f"pgrep -xf '{AGENT}'") == pid

    # A changed file is put right, and the agent started anew with it.
    vm.run("echo >> /usr/lib/vminterface/vminterface/vm/agent/agent.py")
    third = apply()
    assert {key for key, line in third.items() if line["changes"]} == {
        "vminterface-library-file",
        "vminterface-library-compiled-cmd",
        "vminterface-agent-service",
    }
    assert vm.wait_for(f"pgrep -xf '{AGENT}'") != pid

    # An option of the VM's side reaches it; a stopped agent is started.
    vm.run("service vminterface-agent stop")
    vm.run(f"! pgrep -xf '{AGENT}'")
    fourth = apply(own={"agent": {"live_services": True}})
    assert fourth["vminterface-agent-service"]["changes"], fourth["vminterface-agent-service"]
    vm.wait_for(f"pgrep -xf '{LIVE}'")

    # What the agent's library is good for beside it; the modules of dom0 come along without it, and say so.
    vm.forget_grains()
    assert apply.run("grains.item", "qubes_vm")["qubes_vm"]["name"] == "work"
    assert "thin_extra_mods" in str(apply.run("qubes_vm.vms"))


@pytest.mark.any_salt
def test_an_agent_that_hangs_is_no_success(vm: Any, apply: Any) -> None:
    apply()
    vm.run(f"kill -STOP $(pgrep -xf '{AGENT}')")
    status = vm.run("vminterface agent --check --json --timeout 1 || echo $?")
    assert json.loads(status.splitlines()[0]) == {"changed": False, "comment": "the agent of this VM does not reply"}
    assert status.endswith("1\n")


@pytest.mark.any_salt
def test_an_agent_that_does_not_say_that_it_runs_fails_the_state(vm: Any, apply: Any) -> None:
    """A program in the place of Python that ends at once, but for the question of its version."""
    apply()
    vm.run("service vminterface-agent stop")
    vm.run("printf '#!/bin/sh\\necho no agent here >&2; exit 1\\n' > /usr/lib/vminterface/vminterface/cli/main.py")
    broken = vm.run("service vminterface-agent start 2>&1 || echo status $?")
    assert "vminterface-agent did not start" in broken
    assert broken.endswith("status 1\n")
    vm.run("! service vminterface-agent status")


CONF = "/etc/vminterface/agent.conf"
OWNER = {"agent": {"accepts": {"timezone": "refuse", "qubes.VMShell": "ignore"}}}


@pytest.mark.any_salt
def test_the_admins_default_of_what_a_vm_accepts_leaves_its_owners_own_alone(tmp_path: Any, vm: Any) -> None:
    apply = applier(tmp_path, vm, "vminterface.owner")
    assert apply(own=OWNER)["vminterface-owner-file"]["changes"]
    mark, *rules = vm.run(f"cat {CONF}").splitlines()
    assert mark.startswith("# Managed by Salt")
    assert rules == ["qubes.VMShell = ignore", "timezone = refuse"]

    # Without a default the file goes; what the owner has written stays.
    assert apply()["vminterface-owner-file"]["changes"] == {"removed": CONF}
    vm.run(f"echo 'timezone = accept' > {CONF}")
    kept = apply(own=OWNER)["vminterface-owner-test"]
    assert (kept["comment"], kept["changes"]) == (f"{CONF} is the VM owner's own: left as it is", {})
    vm.run(f"rm {CONF}; mkdir -p /etc/qubes/protected-files.d; echo {CONF} > /etc/qubes/protected-files.d/mine")
    assert apply(own=OWNER)["vminterface-owner-test"]["comment"] == f"{CONF} is protected in this VM: left as it is"
    assert vm.run(f"ls {CONF} 2>&1 || true").endswith("No such file or directory\n")
