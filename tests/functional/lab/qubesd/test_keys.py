"""The keys that the lab's qubesd writes: at a VM's start, with another netvm, and in the provider."""

from __future__ import annotations

import threading

import pytest

from lab.qubesd.daemon import Qubesd
from tests.functional.lab.qubesd.conftest import Keys
from tests.support.qubesdcalls import NOTHING, Error, Vm, ask, error_of, text_of


def test_a_start_writes_all_keys_and_whatever_else_was_there_is_gone(qubesd: Qubesd, work: Vm, keys: Keys) -> None:
    qubesd.start_vm("work")
    keys["work"]["qubes-timezone"] = "Europe/Warsaw"
    keys["work"]["left/behind"] = "1"
    qubesd.start_vm("work")
    assert "left/behind" not in keys["work"]
    found = {key: text for key, text in keys["work"].items() if key != "qubes-random-seed"}
    assert found == {
        "name": "work",
        "type": "AppVM",
        "default-user": "user",
        "qubes-vm-updateable": "False",
        "qubes-vm-persistence": "rw-only",
        "qubes-debug-mode": "0",
        "qubes-base-template": "fedora",
        "qubes-mac": "00:16:3e:5e:6c:00",
        "qubes-ip": work.get("ip"),
        "qubes-netmask": "255.255.255.255",
        "qubes-gateway": Vm(qubesd, "sys-net").get("ip"),
        "qubes-primary-dns": "10.139.1.1",
        "qubes-secondary-dns": "10.139.1.2",
        "qubes-timezone": "Etc/UTC",
        "qubes-block-devices": "",
        "qubes-usb-devices": "",
        "qubes-vm-type": "AppVM",
        "qubes-service/meminfo-writer": "1",
        "qubes-gui-enabled": "True",
        "qubes-gui-domain-xid": "0",
        "qubes-audio-domain-xid": "0",
        "qubes-iptables-error": "",
        "keyboard-layout": "us++",
    }


def test_a_provider_is_started_first_and_has_keys_of_its_own(qubesd: Qubesd, work: Vm, keys: Keys) -> None:
    work.call("Start")
    assert qubesd.qubes["sys-net"].state == "Running"
    net = keys["sys-net"]
    assert (net["qubes-vm-type"], net["qubes-netvm-gateway"]) == ("NetVM", Vm(qubesd, "sys-net").get("ip"))
    assert net["connected-ips"].split() == [Vm(qubesd, "personal").get("ip"), work.get("ip")]
    assert keys.below("sys-net", f"mapped-ip/{work.get('ip')}") == {
        "visible-ip": work.get("ip"),
        "visible-gateway": net["qubes-netvm-gateway"],
    }


def test_what_the_vm_sees_is_the_faked_address(qubesd: Qubesd, work: Vm, keys: Keys) -> None:
    work.feature("net.fake-ip", "192.168.0.5")
    qubesd.start_vm("work")
    assert keys["work"]["qubes-ip"] == "192.168.0.5"
    assert keys["sys-net"][f"mapped-ip/{work.get('ip')}/visible-ip"] == "192.168.0.5"
    assert "192.168.0.5" in keys["sys-net"]["connected-ips"].split()


def test_a_vm_with_anon_timezone_has_none_its_templates_counts_too(qubesd: Qubesd, work: Vm, keys: Keys) -> None:
    Vm(qubesd, "fedora").feature("anon-timezone", "1")
    qubesd.start_vm("work")
    assert "qubes-timezone" not in keys["work"]


def test_another_netvm_writes_all_keys_anew_but_leaves_others(qubesd: Qubesd, work: Vm, keys: Keys) -> None:
    qubesd.start_vm("work")
    keys["work"] |= {"qubes-timezone": "Europe/Warsaw", "own/key": "1"}
    assert work.set("netvm", "sys-net") == "sys-net"
    assert (keys["work"]["qubes-timezone"], keys["work"]["own/key"]) == ("Etc/UTC", "1")
    keys["work"]["qubes-timezone"] = "Europe/Warsaw"
    assert work.set("netvm", "") == ""
    assert keys["work"]["qubes-timezone"] == "Europe/Warsaw"
    assert keys["sys-net"]["connected-ips"] == Vm(qubesd, "personal").get("ip")


def test_a_running_vm_is_not_attached_to_one_that_is_off(qubesd: Qubesd, work: Vm) -> None:
    qubesd.qubes["personal"].properties |= {"provides_network": "True", "netvm": ""}
    qubesd.start_vm("work")
    reply = Error("QubesVMNotStartedError", "Cannot dynamically attach to stopped qube personal")
    assert work.set("netvm", "personal") == reply
    assert work.get("netvm") == "sys-net"


def test_an_address_of_a_running_vm_changes_no_key_of_anybody(qubesd: Qubesd, work: Vm, keys: Keys) -> None:
    qubesd.start_vm("work")
    before = {vm: dict(found) for vm, found in keys.items()}
    assert work.set("ip", "10.137.9.9") == "10.137.9.9"
    assert keys == before


def test_the_layout_of_a_running_vm_is_its_key_at_once(qubesd: Qubesd, work: Vm, keys: Keys) -> None:
    qubesd.start_vm("work")
    work.set("keyboard_layout", "pl++")
    assert keys["work"]["keyboard-layout"] == "pl++"
    work.call("property.Reset", "keyboard_layout")
    assert keys["work"]["keyboard-layout"] == "us++"
    work.set("debug", "True")
    assert keys["work"]["qubes-debug-mode"] == "0"


@pytest.mark.parametrize("fault", ["fails", "takes long"])
def test_a_netvm_stays_where_attaching_it_fails(qubesd: Qubesd, work: Vm, fault: str) -> None:
    qubesd.start_vm("work")
    work.set("netvm", "")
    if fault == "fails":
        qubesd.faults.attach_fails.add("work")
        assert work.set("netvm", "sys-net") is NOTHING
    else:
        qubesd.faults.attach_seconds["work"] = 0.5
        setting = threading.Thread(target=work.set, args=("netvm", "sys-net"))
        setting.start()
        while qubesd.qubes["work"].properties["netvm"] == "":
            assert setting.is_alive()
        # Nobody else is served meanwhile; it is stored already.
        assert text_of(ask(qubesd, "admin.vm.property.Get", "work", "netvm")).endswith(" sys-net")
        setting.join(10)
    assert work.get("netvm") == "sys-net"


def test_states_are_those_of_a_domain(qubesd: Qubesd, work: Vm) -> None:
    assert work.call("CurrentState") == "mem=0 mem_static_max=0 cputime=0 power_state=Halted"
    assert work.call("Start") == ""
    assert work.call("CurrentState") == "mem=409600 mem_static_max=409600 cputime=0 power_state=Running"
    assert work.call("Start") == ""
    net = Vm(qubesd, "sys-net")
    in_use = Error("QubesVMInUseError", "There are other VMs connected to this VM: work")
    assert net.call("Shutdown") == in_use
    assert work.call("Shutdown") == ""
    assert work.call("Kill") == Error("QubesVMNotStartedError", "Domain is powered off: 'work'")
    assert net.call("Shutdown", "force+wait") == ""
    work.feature("prohibit-start", "broken")
    assert work.call("Start") == Error("QubesException", "Qube start is prohibited. Rationale: broken")
    assert error_of(Vm(qubesd, "dom0").call("Start")).kind == "QubesVMNotHaltedError"
    assert error_of(Vm(qubesd, "dom0").call("Kill")).kind == "QubesVMError"


def test_others_are_served_while_a_vm_waits_for_its_agent(qubesd: Qubesd, work: Vm) -> None:
    qubesd.faults.qrexec_seconds = 60
    starting = threading.Thread(target=qubesd.start_vm, args=("sys-net",))
    starting.start()
    while (state := text_of(ask(qubesd, "admin.vm.CurrentState", "sys-net")).rpartition("=")[2]) != "Transient":
        assert state in ("Halted", "Paused")
    assert work.feature("x", "1") == "1"
    qubesd.system.ending.set()
    starting.join(10)
