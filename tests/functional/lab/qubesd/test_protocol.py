"""The lab's qubesd replies as R4.3's does: finished sentences, and nothing where that one sends nothing."""

from __future__ import annotations

import pytest

from lab.qubesd.daemon import Qubesd
from tests.support.qubesdcalls import NOTHING, Error, ask, error_of, exchange, text_of


@pytest.mark.parametrize(
    "request_",
    [
        b"",
        b"admin.vm.List+ dom0 name dom0",
        b"admin.vm.List+ dom0 dom0\0",
        b"admin.vm.List+ dom0 keyword work\0",
        b"admin.vm.List+ dom0 tag dom0\0",
        b"admin.vm.List+\xff dom0 name dom0\0",
        b"admin.vm.feature.Set+x dom0 name work\0" + b"x" * 65536,
    ],
)
def test_what_breaks_the_protocol_is_not_answered(qubesd: Qubesd, request_: bytes) -> None:
    assert exchange(qubesd, request_) == b""


def test_dom0_has_a_name_and_a_keyword_and_the_plus_may_be_left_out(qubesd: Qubesd) -> None:
    named = exchange(qubesd, b"admin.vm.List+ dom0 name dom0\0")
    assert named.startswith(b"0\0dom0 class=AdminVM state=Running uuid=00000000-0000-0000-0000-000000000000\n")
    assert exchange(qubesd, b"admin.vm.List dom0 keyword adminvm\0") == named


@pytest.mark.parametrize(
    ("method", "vm", "argument", "payload"),
    [
        ("admin.vm.List", "dom0", "x", ""),
        ("admin.vm.List", "dom0", "", "x"),
        ("admin.vm.feature.List", "work", "x", ""),
        ("admin.vm.feature.Get", "work", "x", "payload"),
        ("admin.vm.property.Get", "work", "ip", "payload"),
        ("admin.vm.property.Reset", "work", "ip", "payload"),
        ("admin.vm.property.GetAll", "work", "ip", ""),
        ("admin.vm.firewall.Get", "work", "x", ""),
        ("admin.vm.firewall.Get", "dom0", "", ""),
        ("admin.vm.firewall.Set", "work", "x", "action=accept"),
        ("admin.vm.CurrentState", "work", "x", ""),
        ("admin.vm.Shutdown", "work", "now", ""),
        ("admin.Events", "dom0", "x", ""),
        ("admin.property.List", "work", "", ""),
        ("admin.label.List", "work", "", ""),
        ("admin.vm.NoSuch", "work", "", ""),
    ],
)
def test_what_qubesd_does_not_take_is_not_answered(
    qubesd: Qubesd, method: str, vm: str, argument: str, payload: str
) -> None:
    assert ask(qubesd, method, vm, argument, payload) is NOTHING


@pytest.mark.parametrize(
    ("vm", "kind", "sentence"),
    [
        ("nosuch", "QubesVMNotFoundError", "No such domain: 'nosuch'"),
        ("-x", "QubesValueError", "VM name cannot start with hyphen, underscore, dot or numbers"),
        ("none", "QubesValueError", "VM name cannot be 'none' nor 'default'"),
        ("x" * 32, "QubesValueError", "VM name must be shorter than 32 characters"),
        ("a/b", "QubesValueError", "VM name contains illegal characters"),
        ("work-dm", "QubesValueError", "VM name cannot end with -dm"),
    ],
)
def test_an_error_is_its_class_and_a_finished_sentence(qubesd: Qubesd, vm: str, kind: str, sentence: str) -> None:
    assert ask(qubesd, "admin.vm.feature.List", vm) == Error(kind, sentence)
    assert ask(qubesd, "admin.vm.List", "dom0", source=vm) == Error(kind, sentence)


def test_the_list_has_uuids_and_is_of_one_vm_where_one_is_named(qubesd: Qubesd) -> None:
    lines = text_of(ask(qubesd, "admin.vm.List")).splitlines()
    assert [line.split(" uuid=")[0] for line in lines] == [
        "dom0 class=AdminVM state=Running",
        "fedora class=TemplateVM state=Halted",
        "personal class=AppVM state=Halted",
        "sys-net class=AppVM state=Halted",
        "work class=AppVM state=Halted",
    ]
    assert len({line.split("uuid=")[1] for line in lines}) == 5
    assert ask(qubesd, "admin.vm.List", "work") == lines[-1] + "\n"
    # No policy lets a VM see the others.
    assert ask(qubesd, "admin.vm.List", "dom0", source="work") is NOTHING


def test_the_host_has_labels_classes_and_properties_of_its_own(qubesd: Qubesd) -> None:
    labels = text_of(ask(qubesd, "admin.label.List")).split()
    assert labels == ["red", "orange", "yellow", "green", "gray", "blue", "purple", "black"]
    assert ask(qubesd, "admin.label.Get", argument="blue") == "0x3465a4"
    assert ask(qubesd, "admin.label.Index", argument="blue") == "6"
    assert "AppVM" in text_of(ask(qubesd, "admin.vmclass.List")).split()
    assert "default_netvm" in text_of(ask(qubesd, "admin.property.List")).split()
    assert ask(qubesd, "admin.property.Get", argument="default_netvm") == "default=False type=vm sys-net"
    assert ask(qubesd, "admin.property.GetDefault", argument="default_netvm") == "type=vm "
    assert ask(qubesd, "admin.property.Set", argument="check_updates_vm", payload="off") == ""
    assert "check_updates_vm default=False type=bool False\n" in text_of(ask(qubesd, "admin.property.GetAll"))
    assert ask(qubesd, "admin.property.Reset", argument="check_updates_vm") == ""
    assert ask(qubesd, "admin.property.Get", argument="check_updates_vm") == "default=True type=bool True"
    assert error_of(ask(qubesd, "admin.property.Get", argument="x")).kind == "QubesNoSuchPropertyError"
