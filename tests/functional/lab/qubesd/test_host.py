"""Properties of the host in the lab's qubesd, and GuiVMs, AudioVMs and relays: what other VMs have by them."""

from __future__ import annotations

from typing import Any

import pytest

from lab.qubesd import Qube
from tests.support.qubesdcalls import NOTHING, Error, Vm, ask, text_of


def set_host(qubesd: Any, name: str, value: str) -> Any:
    return ask(qubesd, "admin.property.Set", argument=name, payload=value)


def test_another_default_netvm_reaches_the_vms_that_go_by_it(qubesd: Any, work: Any, keys: Any) -> None:
    qubesd.qubes["other-net"] = Qube(properties={"template": "fedora", "provides_network": "True", "netvm": ""})
    Vm(qubesd, "personal").set("netvm", "sys-net")
    for vm in ("work", "other-net"):
        qubesd.start_vm(vm)
    assert set_host(qubesd, "default_netvm", "other-net") == ""
    assert keys["work"]["qubes-gateway"] == Vm(qubesd, "other-net").get("ip")
    assert keys["other-net"]["connected-ips"] == work.get("ip")
    assert keys["sys-net"]["connected-ips"] == Vm(qubesd, "personal").get("ip")
    assert work.call("property.Get", "netvm") == "default=True type=vm other-net"


def test_a_default_netvm_makes_no_loop(qubesd: Any) -> None:
    Vm(qubesd, "sys-net").call("property.Set", "netvm", "")
    Vm(qubesd, "personal").set("provides_network", "True")
    assert set_host(qubesd, "default_netvm", "personal") == Error(
        "QubesPropertyValueError", "Network loop on 'personal'"
    )
    assert text_of(ask(qubesd, "admin.property.Get", argument="default_netvm")).endswith(" sys-net")


def test_the_clockvm_has_the_service_and_the_one_before_it_no_more(qubesd: Any, work: Any) -> None:
    set_host(qubesd, "clockvm", "work")
    assert work.call("feature.Get", "service.clocksync") == "1"
    set_host(qubesd, "clockvm", "personal")
    assert work.call("feature.List") == ""
    assert Vm(qubesd, "personal").call("feature.Get", "service.clocksync") == "1"


def test_a_template_is_no_default_for_disposables_though_it_is_stored(qubesd: Any) -> None:
    assert set_host(qubesd, "default_dispvm", "fedora") is NOTHING
    assert text_of(ask(qubesd, "admin.property.Get", argument="default_dispvm")).endswith(" fedora")


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("default_kernel", "6.0", "QubesPropertyValueError"),
        ("default_template", "work", "QubesPropertyValueError"),
        ("stats_interval", "often", "QubesValueError"),
        ("nosuch", "1", "QubesNoSuchPropertyError"),
    ],
)
def test_what_the_host_refuses(qubesd: Any, name: Any, value: Any, kind: Any) -> None:
    before = ask(qubesd, "admin.property.Get", argument=name)
    assert set_host(qubesd, name, value).kind == kind
    assert ask(qubesd, "admin.property.Get", argument=name) == before


def test_vms_know_the_domains_of_their_guivm_and_audiovm(qubesd: Any, work: Any, keys: Any) -> None:
    for role in ("guivm", "audiovm"):
        work.set(role, "personal")
    qubesd.start_vm("work")
    assert not {"qubes-gui-domain-xid", "qubes-audio-domain-xid"} & keys["work"].keys()
    qubesd.start_vm("personal")
    xid = str(qubesd.qubes["personal"].xid)
    assert (keys["work"]["qubes-gui-domain-xid"], keys["work"]["qubes-audio-domain-xid"]) == (xid, xid)
    personal = Vm(qubesd, "personal")
    assert personal.call("Shutdown") == Error("QubesVMError", "There are running VMs using this VM as GuiVM: work")
    work.set("guivm", "")
    assert personal.call("Shutdown") == Error(
        "QubesVMInUseError", "There are running VMs using this VM as AudioVM: work"
    )
    work.set("audiovm", "")
    assert "qubes-audio-domain-xid" not in keys["work"]
    assert personal.call("Shutdown") == ""


def test_a_guivm_has_the_prefix_of_its_windows(qubesd: Any, work: Any, keys: Any) -> None:
    work.feature("service.guivm", "1")
    qubesd.start_vm("work")
    assert keys["work"]["guivm-windows-prefix"] == "GuiVM"
    work.feature("guivm-windows-prefix", "Desk")
    qubesd.start_vm("work")
    assert keys["work"]["guivm-windows-prefix"] == "Desk"


def test_the_layout_of_dom0_reaches_the_vms_that_go_by_it(qubesd: Any, work: Any, keys: Any) -> None:
    qubesd.start_vm("work")
    qubesd.start_vm("personal")
    Vm(qubesd, "personal").set("keyboard_layout", "pl++")
    Vm(qubesd, "dom0").set("keyboard_layout", "de++")
    assert (keys["work"]["keyboard-layout"], keys["personal"]["keyboard-layout"]) == ("de++", "pl++")
    assert ("work", "property-reset:keyboard_layout") in qubesd.events.log


def test_a_relay_is_told_the_names_of_remote_vms_there(qubesd: Any, work: Any, keys: Any) -> None:
    qubesd.qubes["far"] = Qube("RemoteVM", "Running", properties={"relayvm": "work", "remote_name": "there"})
    qubesd.qubes["near"] = Qube("RemoteVM", "Running", properties={"label": "red"})
    qubesd.start_vm("work")
    assert keys.below("work", "remote") == {"far": "there"}
    assert Vm(qubesd, "near").set("relayvm", "work") == "work"
    assert keys.below("work", "remote") == {"far": "there", "near": "near"}
    assert Vm(qubesd, "near").call("tag.List") == "relayvm-work\n"
    assert Vm(qubesd, "near").call("Start") == Error("QubesVMNotHaltedError", "Cannot start a RemoteVM.")


def test_a_boot_mode_may_have_a_user_of_its_own(qubesd: Any, work: Any, keys: Any) -> None:
    for name, value in (("kernelopts.safe", "single"), ("default-user.safe", "root"), ("active", "safe")):
        work.feature(f"boot-mode.{name}", value)
    assert work.get("bootmode") == "safe"
    qubesd.start_vm("work")
    assert keys["work"]["default-user"] == "root"
