"""Devices in the lab's qubesd: which VM gets them, which kinds it denies, and what hangs on that."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.qubesdcalls import NOTHING, Error, ask, text_of

PAYLOAD = "device_id='0951:1666:08**' port_id='2-1' devclass='usb' backend_domain='sys-net' mode='auto-attach'"
LINE = f"sys-net+2-1:0951:1666:08** {PAYLOAD} frontend_domain='work' _read-only='yes'\n"


def test_an_assignment_is_listed_until_it_is_taken_back(qubesd: Any, work: Any) -> None:
    which = "sys-net+2-1:0951:1666:08**"
    qubesd.events.log.clear()
    assert work.call("device.usb.Assign", which, f"{PAYLOAD} frontend_domain='work' _read-only='yes'") == ""
    assert work.call("device.usb.Assigned") == LINE
    assert work.call("device.usb.Assigned", "sys-net+2-1") == LINE
    assert work.call("device.usb.Assigned", "sys-net+2-2") == ""
    assert work.call("device.block.Assigned") == ""
    assert work.call("device.usb.Assign", which, PAYLOAD) == Error(
        "DeviceAlreadyAssigned", "usb device sys-net:2-1:0951:1666:08** already assigned to work"
    )
    assert work.call("device.usb.Set.assignment", which, "required") == ""
    assert work.call("device.usb.Assigned") == LINE.replace("auto-attach", "required")
    assert work.call("device.usb.Unassign", which) == ""
    assert work.call("device.usb.Assigned") == ""
    assert work.call("device.usb.Unassign", which) == Error(
        "DeviceNotAssigned", "usb device sys-net:2-1:0951:1666:08** not assigned to work"
    )
    assert [event for _, event in qubesd.events.log] == [
        "device-pre-assign:usb", "device-assign:usb", "device-pre-assign:usb", "device-assignment-changed:usb",
        "device-unassign:usb",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("which", "payload"),
    [
        ("sys-net", PAYLOAD),
        ("nosuch+2-1", PAYLOAD),
        ("sys-net+2-2", PAYLOAD),
        ("sys-net+2-1", "mode='manual'"),
        ("sys-net+2-1", "mode='never'"),
        ("sys-net+2-1", "mode=required"),
        ("sys-net+2-1", "colour='red' mode='required'"),
        ("sys-net+2-1", "devclass='block' mode='required'"),
        ("sys-net+2-1", b"mode='\xff'"),
    ],
)
def test_what_does_not_fit_is_not_answered(work: Any, which: Any, payload: Any) -> None:
    assert work.call("device.usb.Assign", which, payload) is NOTHING
    assert work.call("device.usb.Assigned") == ""


def test_a_mode_belongs_to_an_assignment_and_is_one_of_three(work: Any) -> None:
    assert work.call("device.usb.Set.assignment", "sys-net+2-1", "required") == Error(
        "QubesValueError", "Device sys-net:2-1: not assigned to work".replace("2-1:", "2-1:*")
    )
    assert work.call("device.usb.Set.assignment", "sys-net+2-1", "manual") is NOTHING


def test_a_required_device_that_nobody_offers_lets_the_vm_not_start(qubesd: Any, work: Any) -> None:
    work.call("device.block.Assign", "sys-net+sda", "mode='required'")
    assert work.call("Start") == Error("QubesException", "Block device sys-net:sda:* not available")
    assert ("work", "domain-start-failed") in qubesd.events.log
    work.call("device.block.Set.assignment", "sys-net+sda", "auto-attach")
    assert work.call("Start") == ""


def test_pci_devices_decide_on_mode_memory_and_options(qubesd: Any, work: Any) -> None:
    def found() -> list[str]:
        return [work.get(name) for name in ("virt_mode", "maxmem", "kernelopts")]

    before = found()
    work.call("device.pci.Assign", "dom0+00_14.0", "mode='required'")
    assert found() == ["hvm", "0", ""]
    assert work.set("virt_mode", "pvh").sentence == "pvh mode can't be set if pci devices are assigned"
    work.call("device.pci.Unassign", "dom0+00_14.0")
    assert found() == before == ["pvh", "4000", "swiotlb=2048"]


def test_kinds_are_denied_in_their_order_each_once(work: Any) -> None:
    assert work.call("device.denied.List") == ""
    assert work.call("device.denied.Add", payload="u03****b******") == ""
    assert work.call("device.denied.Add", payload="b******") == ""
    assert work.call("device.denied.List") == "b******\nu03****"
    assert work.get("devices_denied") == "b******u03****"
    assert work.call("device.denied.Add", payload="u03****u03****").kind == "QubesValueError"
    assert work.call("device.denied.Add", payload="u03").kind == "QubesValueError"
    assert work.call("device.denied.Add", payload="X03****").kind == "QubesPropertyValueError"
    assert work.call("device.denied.Remove", payload="b******m******") == ""
    assert work.call("device.denied.List") == "u03****"
    assert work.call("device.denied.Remove", payload="all") == ""
    assert work.call("device.denied.List") == ""


def test_there_are_four_classes(qubesd: Any) -> None:
    assert text_of(ask(qubesd, "admin.deviceclass.List")).split() == ["block", "mic", "pci", "usb"]
    assert ask(qubesd, "admin.vm.device.nosuch.Assigned", "work") is NOTHING
