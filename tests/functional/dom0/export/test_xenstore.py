"""What VMs have in the real xenstored is exported as a pillar that changes nothing when it is pushed back."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.xenstored.fakexen import missing
from tests.support.dom0 import Dom0
from tests.support.stores import need
from vminterface.cli import pillaryaml
from vminterface.dom0.desired.settings import VMSettings, parse_pillar
from vminterface.dom0.export import render
from vminterface.dom0.export.export import export
from vminterface.dom0.export.vmexport import VMExport
from vminterface.dom0.push.push import diff, push

WHOLE: dict[str, Any] = {
    "type": "AppVM", "updateable": "off", "persistence": "rw-only", "base_template": "fedora-41",
    "default_user": "user", "timezone": "Europe/Warsaw", "keyboard": "pl+dvorak", "debug": "on",
    "services": {"cups": "on", "own-x": "off"},
    "vm_config": {"quoted": "a: b # c", "jinja": "{{ salt['cmd.run']('id') }} {% x %} {#", "yes": "on", "n": "1e3",
                  "empty": "", "back": "\\x7b \"'", "dash": "- a", "tilde": "~", "number": "010", "colon": "22:30"},
    "network": {
        "ip": "10.137.0.12", "netmask": "255.255.255.0", "gateway": "10.137.0.5", "dns": ["10.139.1.1", "fd00::53"],
        "dns_search": ["corp.example.org"], "mac": "00:16:3e:5e:6c:00", "ip6": "fd09::c", "gateway6": "fe80::1",
    },
}  # fmt: skip
PROVIDER: dict[str, Any] = {
    "type": "NetVM",
    "provides_network": {
        "gateway": "10.137.0.5", "netmask": "255.255.255.0", "network": "10.137.0.0", "dns": ["10.139.1.1"],
        "connected": [{"ip": "10.137.0.12", "mac": "00:16:3e:5e:6c:00", "vif": "vif5.0"}, {"ip": "fd00::9"}],
    },
    "keymap": 'xkb_keymap {\n\txkb_symbols { include "pc+us" };\n};\n',
}  # fmt: skip


PROVIDER_DESIRED = {
    name: value for name, value in VMSettings.parse("sys-net", PROVIDER).desired.items() if value is not None
}


@pytest.fixture
def dom0(tmp_path: Path) -> Iterator[Dom0]:
    need(missing())
    with Dom0(tmp_path / "x") as host:
        for vm in ("work", "sys-net"):
            host.start_vm(vm)
        yield host


def give(dom0: Dom0, vm: str, raw: dict[str, Any]) -> None:
    with dom0.targets() as targets:
        [outcome] = push([VMSettings.parse(vm, {**raw, "confirm": False})], targets)
    assert outcome.ok, outcome.comment()


def write(dom0: Dom0, vm: str, name: str, value: bytes) -> None:
    with dom0.store() as store:
        store.write(f"/local/domain/{dom0.domids[vm]}/{name}", value)


def exported(dom0: Dom0, *vms: str) -> dict[str, VMExport]:
    with dom0.targets() as targets:
        return {one.vm: one for one in export(targets, vms)}


def pushed_back(dom0: Dom0, text: str) -> None:
    """Assert that a diff and a push of the file change nothing at all."""
    settings = parse_pillar(pillaryaml.load("exported", text))
    before = dom0.dump()
    with dom0.targets() as targets:
        assert {one.vm: (one.changes, one.error) for one in diff(settings, targets)} == {
            one.vm: ({}, None) for one in settings
        }
        assert [one.changes for one in push(settings, targets)] == [{}] * len(settings)
    assert dom0.dump() == before


def test_a_vm_with_every_field_goes_there_and_back(dom0: Dom0) -> None:
    give(dom0, "work", WHOLE)
    give(dom0, "sys-net", PROVIDER)
    found = exported(dom0)
    assert {one.vm: (one.error, one.left_out) for one in found.values()} == {"sys-net": ("", {}), "work": ("", {})}
    text = render.as_yaml([*found.values()])
    vms = pillaryaml.load("exported", text)["qubes"]["vms"]
    assert parse_pillar({"qubes": {"vms": vms}})[1].desired == VMSettings.parse("work", WHOLE).desired
    provider = parse_pillar({"qubes": {"vms": vms}})[0].desired
    assert {name: provider[name] for name in PROVIDER_DESIRED} == PROVIDER_DESIRED
    assert vms["work"]["vm_config"] == WHOLE["vm_config"]
    pushed_back(dom0, text)


def test_the_file_is_for_people_and_means_the_same_to_every_reader(dom0: Dom0) -> None:
    give(dom0, "work", {name: WHOLE[name] for name in ("timezone", "services", "vm_config", "network")})
    text = render.as_yaml([*exported(dom0, "work").values()])
    lines = text.splitlines()
    assert lines[0] == "# yaml-language-server: $schema=vminterface.schema.json"
    assert "      timezone: Europe/Warsaw" in lines
    assert "        cups: on" in lines
    assert '        dns: [10.139.1.1, "fd00::53"]' in lines
    assert not {"{{", "{%", "{#"} & {text[at : at + 2] for at in range(len(text))}
    assert yaml.safe_load(text) == pillaryaml.load("exported", text)


def test_keys_that_a_vm_wrote_and_no_pillar_can_say_are_comments_with_the_reason(dom0: Dom0) -> None:
    write(dom0, "work", "qubes-timezone", b"../../etc/passwd")
    write(dom0, "work", "qubes-keyboard", b"\x1b[2J{{ evil }}")
    write(dom0, "work", "qubes-service/good", b"1")
    write(dom0, "work", "qubes-service/bad", b"maybe\nqubes: {}\n")
    write(dom0, "work", "qubes-service/-x", b"1")
    write(dom0, "work", "vm-config/vminterface-own", b"x")
    write(dom0, "work", "vm-config/text", b"\xff\xfe")
    write(dom0, "work", "vm-config/word", b"default")
    write(dom0, "work", "qubes-ip", b"10.137.0.12")
    one = exported(dom0, "work")["work"]
    assert one.values == {("services", "good"): True}
    assert "is not a valid time zone name" in one.left_out[("timezone",)]
    assert "is not a valid keymap" in one.left_out[("keymap",)]
    assert "is neither '1' nor '0'" in one.left_out[("services", "bad")]
    assert "is not a valid service name" in one.left_out[("services", "-x")]
    assert "is reserved for vminterface" in one.left_out[("vm_config", "vminterface-own")]
    assert "is not printable ASCII" in one.left_out[("vm_config", "text")]
    assert "'default' is a keyword of the pillar" in one.left_out[("vm_config", "word")]
    assert "also needs ip and gateway" in one.left_out[("network", "ip")]
    text = render.as_yaml([one])
    assert text.isascii()
    assert text.isprintable() or set(text) - set(map(chr, range(32, 127))) == {"\n"}
    assert "{{" not in text
    assert pillaryaml.load("exported", text) == {"qubes": {"vms": {"work": {"services": {"good": True}}}}}
    pushed_back(dom0, text)


@pytest.mark.parametrize(
    ("keys", "left"),
    [
        # What follows from a field in the pillar is not always what the store has.
        ({"qubes-ip": "10.0.0.2", "qubes-gateway": "10.0.0.1"}, {"network:ip", "network:gateway"}),
        ({"qubes-ip": "10.0.0.2", "qubes-gateway": "10.0.0.1", "qubes-netmask": "255.255.255.0"}, set()),
        ({"qubes-vm-type": "NetVM", "qubes-ip": "10.0.0.2", "qubes-gateway": "10.0.0.1",
          "qubes-netmask": "255.255.255.0"}, {"network:ip", "network:gateway", "network:netmask", "type"}),
        ({"qubes-ip": "10.0.0.2", "qubes-gateway": "10.0.0.1", "qubes-netmask": "255.255.255.0",
          "qubes-secondary-dns": "10.0.0.3"}, {"network:dns"}),
        ({"keyboard-layout": "us++"}, set()),
        ({"keyboard-layout": "us++", "qubes-keyboard": "xkb_keymap { };"}, set()),
        ({"qubes-keyboard": "xkb_keymap { };"}, set()),
        ({"qubes-vm-updatable": "True"}, set()),
        ({"qubes-netvm-gateway": "10.0.0.1"}, {"provides_network:gateway"}),
    ],
)  # fmt: skip
def test_whatever_hangs_together_a_push_back_changes_nothing(dom0: Dom0, keys: dict[str, str], left: set[str]) -> None:
    for name, value in keys.items():
        write(dom0, "work", name, value.encode())
    one = exported(dom0, "work")["work"]
    assert one.error == ""
    assert {":".join(path) for path in one.left_out} == left, one.left_out
    pushed_back(dom0, render.as_yaml([one]))


def test_two_vms_with_one_address_are_not_both_exported(dom0: Dom0) -> None:
    for vm in ("work", "sys-net"):
        give(dom0, vm, {"network": {"ip": "10.0.0.2", "gateway": "10.0.0.1"}})
    found = exported(dom0)
    assert ("network", "ip") in found["sys-net"].values
    assert "sys-net already has 10.0.0.2" in found["work"].left_out[("network", "ip")]
    pushed_back(dom0, render.as_yaml([*found.values()]))


def test_a_vm_that_does_not_run_is_named_and_the_others_are_exported(dom0: Dom0) -> None:
    give(dom0, "work", {"timezone": "UTC"})
    found = exported(dom0, "work", "nosuch")
    assert found["nosuch"].error == "nosuch: there is no running VM with this name"
    text = render.as_yaml([*found.values()])
    assert "    # nosuch: left out: nosuch: there is no running VM with this name" in text.splitlines()
    assert render.as_data([*found.values()]) == {
        "qubes": {"vms": {"work": {"timezone": "UTC"}}},
        "left_out": {},
        "errors": {"nosuch": "nosuch: there is no running VM with this name"},
    }


def test_a_domain_whose_name_no_vm_can_have_is_a_comment(dom0: Dom0) -> None:
    dom0.start_vm("a b{{ x }}#")
    found = exported(dom0)
    text = render.as_yaml([*found.values()])
    assert "is not a valid VM name" in text
    assert "{{" not in text
    assert pillaryaml.load("exported", text) == {"qubes": {"vms": {"work": {}, "sys-net": {}}}}


def test_without_vms_it_is_a_pillar_that_wants_nothing(tmp_path: Path) -> None:
    need(missing())
    with Dom0(tmp_path / "x") as host:
        text = render.as_yaml([*exported(host).values()])
    assert pillaryaml.load("exported", text) == {"qubes": {"vms": {}}}


def test_a_hundred_vms_are_read_and_compared_in_seconds(dom0: Dom0) -> None:
    with dom0.store() as store:
        for number in range(100):
            vm = f"vm{number}"
            dom0.start_vm(vm)
            home = f"/local/domain/{dom0.domids[vm]}"
            for name in range(20):
                store.write(f"{home}/qubes-service/s{name}", b"1")
    start = time.monotonic()
    found = exported(dom0)
    assert time.monotonic() - start < 20
    assert len(found) == 102
    assert sum(len(one.values) for one in found.values()) == 2000


def test_a_xenstored_that_hangs_costs_its_deadline(dom0: Dom0, monkeypatch: pytest.MonkeyPatch) -> None:
    from vminterface.dom0.inventory import targets as module
    from vminterface.errors import DeadlineExceeded

    with dom0.targets() as targets:
        targets.xenstore.timeout = 1.0
        monkeypatch.setattr(module, "STORE_TIMEOUT", 1.0)
        process = dom0.daemon.process
        assert process is not None
        os.kill(process.pid, signal.SIGSTOP)
        try:
            start = time.monotonic()
            with pytest.raises(DeadlineExceeded):
                export(targets)
            assert time.monotonic() - start < 10
        finally:
            os.kill(process.pid, signal.SIGCONT)
