"""``vminterface.agent`` by the real salt-ssh, into a VM: it installs the agent, which then does what dom0 says."""

from pathlib import Path

import pytest

from lab import fakexen
from tests.support import sshvm
from tests.support.dom0 import Dom0
from tests.support.formula import applier
from vminterface.dom0.push import push
from vminterface.dom0.settings import VMSettings

pytestmark = [
    pytest.mark.allow_skip,
    pytest.mark.skipif(bool(fakexen.missing()), reason=fakexen.missing()),
    pytest.mark.skipif(bool(sshvm.missing()), reason=sshvm.missing()),
    pytest.mark.timeout(300),
]
AGENT = "/usr/bin/python3 -P /usr/bin/vminterface agent"


@pytest.fixture
def dom0(tmp_path):
    with Dom0(tmp_path / "xen") as host:
        host.start_vm("work")
        yield host


@pytest.fixture
def vm(tmp_path, dom0):
    with sshvm.SshVM(tmp_path, Path(dom0.daemon.socket(dom0.domids["work"])).parent) as made:
        yield made


@pytest.fixture
def apply(tmp_path, vm):
    """Applies vminterface.agent and returns the lines of the report by ID."""
    return applier(tmp_path, vm, "vminterface.agent")


def test_the_agent_is_installed_once_and_does_what_dom0_says(dom0, vm, apply):
    would = apply("test=True")
    assert {line["result"] for line in would.values()} == {None}
    assert vm.run("ls /usr/lib/vminterface /usr/bin/vminterface 2>&1 || true").count("No such file") == 2

    first = apply()
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
    vm.run("echo >> /usr/lib/vminterface/vminterface/vm/agent.py")
    third = apply()
    assert {key for key, line in third.items() if line["changes"]} == {
        "vminterface-library-file",
        "vminterface-library-compiled-cmd",
        "vminterface-agent-service",
    }
    assert vm.wait_for(f"pgrep -xf '{AGENT}'") != pid

    vm.run("service vminterface-agent stop")
    vm.run(f"! pgrep -xf '{AGENT}'")
    fourth = apply()
    assert fourth["vminterface-agent-service"]["changes"], fourth["vminterface-agent-service"]
    vm.wait_for(f"pgrep -xf '{AGENT}'")


def test_an_agent_that_does_not_say_that_it_runs_fails_the_state(vm, apply):
    """A program in the place of Python that ends at once, but for the question of its version."""
    apply()
    vm.run("service vminterface-agent stop")
    vm.run("printf '#!/bin/sh\\necho no agent here >&2; exit 1\\n' > /usr/lib/vminterface/vminterface/cli.py")
    broken = vm.run("service vminterface-agent start 2>&1 || echo status $?")
    assert "vminterface-agent did not start" in broken
    assert broken.endswith("status 1\n")
    vm.run("! service vminterface-agent status")
