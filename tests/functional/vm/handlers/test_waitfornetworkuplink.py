"""WaitForNetworkUplink: which interface is waited for, and what it needs to be in work."""

from __future__ import annotations

import json
import os

import pytest

from tests.support.agentcall import within
from tests.support.handlers import VM, Reply
from vminterface.errors import ServiceFailed
from vminterface.vm.handlers import waitfornetworkuplink

SERVICE = "qubes.WaitForNetworkUplink"
MAC = "00:16:3e:5e:6c:00"


@pytest.fixture
def vm(vm: VM, monkeypatch: pytest.MonkeyPatch) -> VM:
    monkeypatch.setenv("PATH", f"{vm.root}/bin:{os.environ['PATH']}")
    monkeypatch.setattr(waitfornetworkuplink, "TIMEOUT", 1.0)
    return vm


def program(vm: VM, name: str, script: str) -> None:
    vm.write(f"bin/{name}", f"#!/bin/sh\ncd {vm.root}\n{script}\n", 0o755)


def interface(vm: VM, name: str = "eth0", mac: str = MAC, state: str = "up") -> None:
    vm.write(f"sys/class/net/{name}/address", f"{mac}\n")
    vm.write(f"sys/class/net/{name}/operstate", f"{state}\n")


def told(vm: VM, mac: str = MAC) -> None:
    program(vm, "qubesdb-read", f'[ "$1" = /qubes-mac ] || exit 2; echo {mac}')


def call(vm: VM) -> Reply:
    return vm.call(SERVICE, b"", PATH=os.environ["PATH"])


def why_not(vm: VM) -> str:
    """Call it in this process, where it waits for a second, and return why the interface is not in work."""
    with within(vm, SERVICE, b"") as (one, _), pytest.raises(ServiceFailed) as caught:
        waitfornetworkuplink.handle(one)
    assert caught.value.status == 3
    return str(caught.value)


def test_a_vm_without_network_of_dom0s_has_nothing_to_wait_for(vm: VM) -> None:
    reply = call(vm)
    assert (reply.status, reply.stdout, reply.stderr) == (0, b"", "")
    program(vm, "qubesdb-read", "exit 2")
    interface(vm, state="down")
    assert call(vm).status == 0
    told(vm)
    (vm.root / "sys/class/net/eth0/address").unlink()
    (vm.root / "sys/class/net/eth0/operstate").unlink()
    (vm.root / "sys/class/net/eth0").rmdir()
    assert call(vm).status == 0


def test_the_interface_is_the_one_with_dom0s_address_else_eth0(vm: VM) -> None:
    told(vm, MAC.upper())
    interface(vm, "eth0", "00:16:3e:5e:6c:09", "down")
    interface(vm, "eth1", MAC)
    assert call(vm).status == 0
    interface(vm, "eth1", "00:16:3e:5e:6c:08")
    assert why_not(vm) == "eth0 is not up within 1 s: its state is 'down' (expected 'up')"


def test_the_handler_itself_gives_up_before_qubesd_does(vm: VM) -> None:
    told(vm)
    interface(vm, state="down")
    reply = call(vm)
    assert reply.status == 3
    assert reply.refused(SERVICE) == "eth0 is not up within 8 s: its state is 'down' (expected 'up')"


def test_it_is_in_work_when_stocks_own_unit_is_done(vm: VM) -> None:
    told(vm)
    interface(vm)
    vm.write("lib/systemd/system/qubes-network-uplink@.service")
    program(vm, "systemctl", 'echo "$*" >>asked; [ $(wc -l <asked) -ge 3 ] || exit 3')
    assert call(vm).status == 0
    assert vm.read("asked") == "is-active --quiet qubes-network-uplink@eth0.service\n" * 3
    program(vm, "systemctl", "exit 3")
    assert why_not(vm).endswith("qubes-network-uplink@eth0.service is not active")


def test_a_systemctl_that_hangs_leaves_the_reason_that_there_was(vm: VM) -> None:
    told(vm)
    interface(vm)
    vm.write("lib/systemd/system/qubes-network-uplink@.service")
    program(vm, "systemctl", "exec sleep 60")
    assert why_not(vm) == "eth0 is not up within 1 s: systemctl does not reply"
    program(vm, "systemctl", "[ -e asked ] || { touch asked; exit 3; }; exec sleep 60")
    assert why_not(vm).endswith("qubes-network-uplink@eth0.service is not active")


def test_it_is_in_work_when_the_agent_has_configured_it(vm: VM) -> None:
    told(vm)
    interface(vm, "eth1")
    vm.write("run/vminterface/network.json", json.dumps({"interface": "eth0"}))
    assert why_not(vm).endswith("the agent has not configured it yet")
    vm.write("run/vminterface/network.json", json.dumps({"interface": "eth1"}))
    assert call(vm).status == 0


@pytest.mark.parametrize("record", ["", "null", "[]", "{}", "{", "5"])
def test_a_record_that_is_not_whole_is_none(vm: VM, record: str) -> None:
    vm.write("run/vminterface/network.json", record)
    assert call(vm).status == 0


def test_without_qubesdb_the_agent_knows_which_interface_it_is(vm: VM) -> None:
    vm.write("run/vminterface/network.json", json.dumps({"interface": "eth0"}))
    interface(vm, state="down")
    assert "its state is 'down'" in why_not(vm)
    interface(vm)
    assert call(vm).status == 0
