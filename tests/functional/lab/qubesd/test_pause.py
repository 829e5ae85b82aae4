"""VMs that pause in the lab's qubesd, and the netvm that a paused one is given: as in qubesd, it waits."""

from __future__ import annotations

from typing import Any

import pytest

from lab.qubesd import Machines
from lab.qubesd.network import DEFERRED, UPLINK
from tests.support.qubesdcalls import NOTHING, Error, Vm, error_of


class Log(Machines):
    """What was done with domains."""

    def __init__(self) -> None:
        self.done: list[tuple[str, ...]] = []

    def attach(self, vm: str, netvm: str, mac: str) -> None:
        self.done.append(("attach", vm, netvm, mac))

    def detach(self, vm: str) -> None:
        self.done.append(("detach", vm))

    def pause(self, vm: str) -> None:
        self.done.append(("pause", vm))

    def unpause(self, vm: str) -> None:
        self.done.append(("unpause", vm))


@pytest.fixture
def log(qubesd: Any, keys: Any, monkeypatch: Any) -> Log:
    """Work runs, and what is done from now on with domains is written down."""
    qubesd.start_vm("work")
    log = Log()
    log.create, log.destroy = keys.create, keys.destroy  # type: ignore[method-assign]
    monkeypatch.setattr(qubesd.system, "machines", log)
    monkeypatch.setattr(qubesd.system, "serve", lambda vm, service, data: log.done.append((service, vm)))
    return log


def test_a_paused_vm_says_so_and_goes_on(qubesd: Any, work: Any, log: Any) -> None:
    assert work.call("Pause") == ""
    assert work.call("CurrentState").endswith("power_state=Paused")
    assert work.call("Shutdown") == Error(
        "QubesVMNotRunningError", "Domain not running (either powered off or paused): 'work'"
    )
    assert work.call("Unpause") == ""
    assert work.call("CurrentState").endswith("power_state=Running")
    assert work.call("Unpause") == Error("QubesVMNotPausedError", "Domain is not paused: 'work'")
    assert log.done == [("pause", "work"), ("unpause", "work")]
    events = [event for vm, event in qubesd.events.log if vm == "work" and "paused" in event]
    assert events[-4:] == ["domain-pre-paused", "domain-paused", "domain-pre-unpaused", "domain-unpaused"]
    assert error_of(Vm(qubesd, "personal").call("Pause")).kind == "QubesVMNotRunningError"
    assert Vm(qubesd, "dom0").call("Pause") is NOTHING


def test_a_netvm_is_attached_at_once_where_the_vm_runs(work: Any, log: Any) -> None:
    work.set("mac", "00:16:3e:5e:6c:01")
    work.set("netvm", "sys-net")
    assert log.done == [("detach", "work"), ("attach", "work", "sys-net", "00:16:3e:5e:6c:01")]
    work.set("netvm", "")
    assert log.done[2:] == [("detach", "work")]


def test_a_netvm_of_a_paused_vm_waits_until_that_goes_on(qubesd: Any, work: Any, log: Any, keys: Any) -> None:
    work.call("Pause")
    keys["work"]["qubes-gateway"] = "10.0.0.1"
    assert work.set("netvm", "sys-net") == "sys-net"
    assert work.call("feature.Get", DEFERRED) == "sys-net"
    # Its keys are new already, its device is the old one.
    assert keys["work"]["qubes-gateway"] == Vm(qubesd, "sys-net").get("ip")
    assert log.done == [("pause", "work")]
    keys["work"]["qubes-gateway"] = "10.0.0.1"
    work.call("Unpause")
    mac = work.get("mac")
    assert log.done[1:] == [
        ("unpause", "work"), ("detach", "work"), ("attach", "work", "sys-net", mac), (UPLINK, "work"),
    ]  # fmt: skip
    assert work.call("feature.List") == ""
    assert keys["work"]["qubes-gateway"] == Vm(qubesd, "sys-net").get("ip")


def test_a_paused_vm_that_is_to_have_no_netvm_loses_it_when_it_goes_on(work: Any, log: Any) -> None:
    work.call("Pause")
    work.set("netvm", "")
    work.call("Unpause")
    assert log.done[1:] == [("unpause", "work"), ("detach", "work"), (UPLINK, "work")]


def test_a_vm_whose_uplink_does_not_come_goes_on_all_the_same(
    qubesd: Any, work: Any, log: Any, monkeypatch: Any
) -> None:
    def fail(vm: str, service: str, data: bytes) -> None:
        raise TimeoutError

    monkeypatch.setattr(qubesd.system, "serve", fail)
    work.call("Pause")
    work.set("netvm", "sys-net")
    assert work.call("Unpause") is NOTHING
    assert work.call("CurrentState").endswith("power_state=Running")
    assert work.call("feature.List") == ""


def test_what_waited_is_forgotten_when_the_vm_ends(qubesd: Any, work: Any, log: Any) -> None:
    work.call("Pause")
    work.set("netvm", "")
    work.call("Kill")
    assert work.call("feature.List") == ""


def test_clients_of_a_provider_that_ends_have_no_device_until_it_is_back(qubesd: Any, work: Any, log: Any) -> None:
    qubesd.stop_vm("sys-net")
    assert ("detach", "work") in log.done
    log.done.clear()
    qubesd.start_vm("sys-net")
    assert ("attach", "work", "sys-net", work.get("mac")) in log.done


def test_a_vm_that_was_paused_while_its_provider_ended_is_attached_when_both_are_back(
    qubesd: Any, work: Any, log: Any
) -> None:
    work.call("Pause")
    qubesd.stop_vm("sys-net")
    assert work.call("feature.Get", DEFERRED) == "sys-net"
    work.call("Unpause")
    assert work.call("feature.Get", DEFERRED) == "sys-net"
    log.done.clear()
    qubesd.start_vm("sys-net")
    assert log.done[-3:] == [("detach", "work"), ("attach", "work", "sys-net", work.get("mac")), (UPLINK, "work")]
    assert work.call("feature.List") == ""
