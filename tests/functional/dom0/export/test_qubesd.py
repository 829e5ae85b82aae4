"""On Qubes R4 what qubesd keeps is exported, running or not, and what it writes by itself is left to it."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.qubesd import Qube
from lab.qubesd.firewall import Rule
from tests.support.qubesr4 import QubesR4, whole_r4
from vminterface.cli import pillaryaml
from vminterface.dom0.desired.settings import parse_pillar
from vminterface.dom0.export import render
from vminterface.dom0.export.export import export
from vminterface.dom0.export.vmexport import VMExport


@pytest.fixture
def r4(tmp_path: Path) -> Iterator[QubesR4]:
    with whole_r4(tmp_path) as host:
        host.start("sys-net")
        yield host


def exported(r4: QubesR4, *vms: str) -> dict[str, VMExport]:
    with r4.host.targets() as targets:
        return {one.vm: one for one in export(targets, vms)}


def pushed_back(r4: QubesR4, text: str) -> None:
    settings = parse_pillar(pillaryaml.load("exported", text))
    before = r4.host.dump()
    r4.changed()
    assert {one.vm: (one.changes, one.error) for one in r4.diff(*settings)} == {one.vm: ({}, None) for one in settings}
    assert [one.changes for one in r4.push(*settings)] == [{}] * len(settings)
    assert r4.changed() == []
    assert r4.host.dump() == before


def set_up(r4: QubesR4) -> None:
    work = r4.qubesd.qubes["work"]
    work.features.update(
        {
            "service.cups": "1", "service.crond": "", "vm-config.mode": "{{ a }}: b", "vm-config.n": "on",
            "vm-config.vminterface-timezone": "Asia/Tokyo", "check-updates": "", "gui-allow-fullscreen": "1",
            "x-own": "no", "gui-trayicon-mode": "nosuch", "menu-items": "a.desktop b.desktop", "prohibit-start": "",
            "os-version": "13", "supported-rpc.qubes.GetDate": "1", "service.meminfo-writer": "",
        }
    )  # fmt: skip
    work.properties.update(
        {"label": "blue", "memory": "500", "keyboard_layout": "pl+dvorak+", "debug": "True", "default_user": "me"}
    )
    work.firewall[:] = [Rule.parse("action=accept proto=tcp dstports=443-443"), Rule.parse("action=drop")]


def test_what_somebody_set_goes_there_and_back_and_qubesds_own_stays_with_it(r4: QubesR4) -> None:
    set_up(r4)
    r4.qubesd.qubes["work"].properties["netvm"] = "sys-net"
    r4.start("work")
    # A push has told the running VM what qubesd keeps.
    with r4.host.store("work") as store:
        store.write("/qubes-timezone", b"Asia/Tokyo")
    found = exported(r4)
    assert {one.vm: one.error for one in found.values() if one.error} == {}
    text = render.as_yaml([*found.values()])
    vms = pillaryaml.load("exported", text)["qubes"]["vms"]
    work = vms["work"]
    assert work["services"] == {"cups": True, "crond": False}
    assert work["vm_config"] == {"mode": "{{ a }}: b", "n": "on"}
    assert work["features"] == {
        "check-updates": False, "gui-allow-fullscreen": True, "x-own": "no", "menu-items": "a.desktop b.desktop",
        "prohibit-start": False,
    }  # fmt: skip
    fields = ("timezone", "label", "memory", "keyboard", "debug", "default_user", "netvm")
    assert [work[name] for name in fields] == ["Asia/Tokyo", "blue", 500, "pl+dvorak", True, "me", "sys-net"]
    assert work["firewall"]["policy"] == "drop"
    assert work["firewall"]["rules"] == [{"action": "accept", "proto": "tcp", "dstports": 443}]
    assert vms["sys-net"]["provides_network"] is True
    assert vms["sys-net"]["features"]["qubes-firewall"] is True
    assert "is not a valid value" in found["work"].left_out[("features", "gui-trayicon-mode")]
    assert "features os-version, supported-rpc.qubes.GetDate" in "; ".join(found["work"].notes)
    assert "written by qubesd at each start of the VM: base_template" in "; ".join(found["work"].notes)
    assert found["work"].left_out["services", "meminfo-writer"] == "a push would change it from on to off"
    assert "type" not in work
    pushed_back(r4, text)


def test_a_vm_that_does_not_run_has_what_qubesd_keeps_of_it(r4: QubesR4) -> None:
    set_up(r4)
    one = exported(r4, "work")["work"]
    assert one.error == ""
    assert (one.values["services", "cups"], one.values[("timezone",)]) == (True, "Asia/Tokyo")
    assert one.notes[0] == "not running: only what qubesd stores"
    pushed_back(r4, render.as_yaml([one]))


def test_what_the_running_vm_alone_has_is_a_comment_also_what_it_wrote_itself(r4: QubesR4) -> None:
    r4.start("work")
    with r4.host.store("work") as store:
        store.write("/qubes-service/own", b"1")
        store.write("/vm-config/own", b'a"b')
        store.write("/vm-config/1@x:y", b"1")
        store.write("/qubes-service/odd", b"\x1b[31m")
        store.write("/qubes-ip", b"not an address {{ y }}")
    one = exported(r4, "work")["work"]
    assert one.left_out["services", "own"] == "on only in the running VM, because qubesd does not store it"
    assert "only in the running VM" in one.left_out["vm_config", "own"]
    assert "is not a valid name of a vm-config key" in one.left_out["vm_config", "1@x:y"]
    assert "\\x1b[31m" in one.left_out["services", "odd"]
    assert "is not a valid IPv4 address" in one.left_out["network", "ip"]
    text = render.as_yaml([one])
    assert "{{" not in text
    pushed_back(r4, text)


def test_a_network_that_somebody_set_is_exported_with_its_gateway(r4: QubesR4) -> None:
    r4.qubesd.qubes["work"].properties.update({"netvm": "sys-net", "ip": "10.137.0.99", "mac": "00:16:3e:5e:6c:07"})
    r4.start("work")
    one = exported(r4, "work")["work"]
    assert one.values["network", "ip"] == "10.137.0.99"
    assert one.values["network", "mac"] == "00:16:3e:5e:6c:07"
    assert ("network", "gateway") in one.values
    pushed_back(r4, render.as_yaml([one]))


def test_every_vm_of_qubesd_is_there_but_dom0_and_disposables(r4: QubesR4) -> None:
    r4.qubesd.qubes["disp1234"] = Qube(klass="DispVM")
    found = exported(r4)
    assert [*found] == ["disp1234", "personal", "sys-net", "work"]
    assert (found["disp1234"].error, found["disp1234"].expected) == (
        "a disposable VM, which is lost when it stops",
        True,
    )
    assert "    # disp1234: left out: a disposable VM" in render.as_yaml([*found.values()])


def test_a_name_that_qubesd_does_not_know_is_that_vms_error_with_the_nearest(r4: QubesR4) -> None:
    found = exported(r4, "wrok", "personal")
    assert "qubesd does not know a VM 'wrok' (did you mean 'work'?)" in found["wrok"].error
    assert found["personal"].error == ""


def test_a_vm_whose_qubesdb_hangs_costs_its_deadline_and_the_others_are_exported(r4: QubesR4) -> None:
    for vm in ("personal", "work"):
        r4.start(vm)
    r4.host.daemons["work"].signal(signal.SIGSTOP)
    try:
        start = time.monotonic()
        found = exported(r4)
        assert time.monotonic() - start < 15
    finally:
        r4.host.daemons["work"].signal(signal.SIGCONT)
    assert found["work"].error.startswith("work: ")
    assert found["personal"].error == ""
    text = render.as_yaml([*found.values()])
    assert "    # work: left out: " in text
    assert "work" not in pillaryaml.load("exported", text)["qubes"]["vms"]


def test_a_qubesd_that_hangs_is_one_sentence_within_its_deadline(r4: QubesR4, monkeypatch: pytest.MonkeyPatch) -> None:
    from vminterface.channel import adminapi
    from vminterface.errors import DeadlineExceeded

    open_ = adminapi.AdminAPI.open
    monkeypatch.setattr(adminapi.AdminAPI, "open", lambda timeout=0.5: open_(0.5))
    r4.qubesd.hung.set()
    try:
        with pytest.raises(DeadlineExceeded) as caught:
            exported(r4)
    finally:
        r4.qubesd.hung.clear()
    assert str(caught.value) == "admin.vm.List of dom0: no reply from qubesd within 0.5 s"
