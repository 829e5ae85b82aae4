"""What VMs say, through Salt: functions, table, grain and beacon."""

import json
import sys

import pytest
import salt.loader
from salt.exceptions import CommandExecutionError

from tests.functional.salt.conftest import REPOSITORY
from tests.support.qubesdb import QubesHost
from vminterface.channel import qubesdb_connection
from vminterface.dom0.introduce import introduce

STICK = {"desc": "Stick (X)", "size": "1048576", "mode": "w", "parent": ""}
MOUSE = {"desc": r"046d:c52b Logi USB\x20Mouse 7", "usb-ver": "2", "interfaces": ""}


def say(host, vm, texts):
    with host.guest_store(vm) as store:
        for key, text in texts.items():
            store.write(key, text.encode())


def prepare(host, vm):
    with host.store() as store:
        introduce(store, host.domids[vm], f"/local/domain/{host.domids[vm]}/")
        store.write(f"/local/domain/{host.domids[vm]}/memory/static-max", b"400000")


@pytest.fixture
def host(host):
    prepare(host, "work")
    say(host, "work", {"memory/meminfo": "210000"})
    say(host, "work", {f"qubes-block-devices/sda/{key}": text for key, text in STICK.items()})
    say(host, "work", {f"qubes-usb-devices/2-1/{key}": text for key, text in MOUSE.items()})
    return host


@pytest.fixture
def in_vm(host, monkeypatch):
    """The same host as its VM work sees it."""
    with host.store() as store:
        home = f"/local/domain/{host.domids['work']}"
        for key, text in {
            "qubes-vm-type": "AppVM",
            "qubes-ip": "10.137.0.12",
            "qubes-gateway": "10.137.0.5",
            "qubes-service/cups": "1",
            "qubes-service/clocksync": "0",
            "qubes-service/bad": "yes",
        }.items():
            store.write(f"{home}/{key}", text.encode())
    monkeypatch.setenv("XENSTORED_PATH", host.daemon.socket(host.domids["work"]))
    return host


def test_all_that_vms_say_in_one_call(host, modules):
    host.start_vm("silent")
    found = modules.qubes_vm.report()
    assert list(found) == ["silent", "work"]
    assert found["silent"]["memory"]["used_kb"] is None
    assert found["work"] == {
        "domid": 1,
        "memory": {"used_kb": 210000, "swap_used_kb": None, "maximum_kb": 400000},
        "block_devices": {
            "sda": {"desc": "Stick (X)", "size": 1048576, "mode": "w", "device": "/dev/sda", "parent": ""}
        },
        "usb_devices": {
            "2-1": {
                "ids": "046d:c52b",
                "description": "Logi USB Mouse 7",
                "usb_version": 2,
                "interfaces": "",
                "connected_to": "",
            }
        },
        "warnings": [],
    }


def test_one_part_of_one_vm(host, modules):
    assert modules.qubes_vm.memory("work")["memory"]["used_kb"] == 210000
    assert list(modules.qubes_vm.block_devices("work")["block_devices"]) == ["sda"]
    assert list(modules.qubes_vm.usb_devices("work")["usb_devices"]) == ["2-1"]
    assert set(modules.qubes_vm.memory("work")) == {"domid", "memory", "warnings"}
    with pytest.raises(CommandExecutionError, match="nosuch: no running VM has this name"):
        modules.qubes_vm.memory("nosuch")


class Terminal:
    def isatty(self):
        return True


def test_the_outputter_shows_a_table_in_a_terminal_and_json_elsewhere(host, modules, minion_opts, monkeypatch):
    say(host, "work", {"qubes-block-devices/SDB/desc": "x"})
    show = salt.loader.outputters(minion_opts)["vm_report"]
    data = {"dom0": modules.qubes_vm.report()}
    assert json.loads(show(data)) == data
    monkeypatch.setattr(sys, "stdout", Terminal())
    table = show(data).splitlines()
    assert table[0] == "dom0:"
    assert "work" in table[1]
    assert "#.........." in table[1]
    assert "52 %  205 MiB of 391 MiB" in table[1]
    assert table[2].split() == ["block", "sda", "1.0", "MiB", "w", "Stick", "(X)"]
    assert table[3].split() == ["usb", "2-1", "USB", "2", "046d:c52b", "Logi", "USB", "Mouse", "7"]
    assert table[4].startswith("  ! work: qubes-block-devices: 'SDB'")
    assert json.loads(show({"dom0": "an error"})) == {"dom0": "an error"}


def grain(minion_opts):
    """What the grain's own function says, found by Salt's loader."""
    return salt.loader.grain_funcs(minion_opts)["qubes_vm.qubes_vm"]()


def test_a_vms_grain_says_what_dom0_made_it(in_vm, minion_opts):
    assert grain(minion_opts) == {
        "qubes_vm": {
            "name": "work",
            "type": "AppVM",
            "ip": "10.137.0.12",
            "gateway": "10.137.0.5",
            "services": {"clocksync": False, "cups": True},
        }
    }


def test_dom0_and_machines_without_a_store_have_no_such_grain(host, minion_opts, monkeypatch, tmp_path):
    assert grain(minion_opts) == {}
    monkeypatch.setenv("XENSTORED_PATH", str(tmp_path / "nothing"))
    assert grain(minion_opts) == {}


@pytest.fixture
def beacons(minion_opts, modules):
    context = {}
    return salt.loader.beacons(minion_opts, modules, context=context)


def told(beacons, config):
    events = beacons["qubes_vm.beacon"](config)
    return [(event["tag"], {k: v for k, v in event.items() if k not in ("tag", "vm", "event")}) for event in events]


def test_a_beacon_tells_of_vms_that_start_and_stop(host, beacons):
    assert told(beacons, []) == []
    host.start_vm("personal")
    assert told(beacons, []) == [("personal/started", {"domid": 2})]
    assert told(beacons, []) == []
    host.stop_vm("personal")
    host.start_vm("personal")
    assert told(beacons, []) == [("personal/stopped", {"domid": 2}), ("personal/started", {"domid": 3})]


def test_a_beacon_tells_of_keys_that_change_in_the_vms_it_is_given(host, beacons):
    host.start_vm("personal")
    config = [{"vms": ["work"]}, {"fields": ["timezone", "services:cups"]}]
    assert told(beacons, config) == []
    with host.store() as store:
        for domid in host.domids.values():
            store.write(f"/local/domain/{domid}/qubes-timezone", b"Asia/Tokyo")
            store.write(f"/local/domain/{domid}/qubes-keyboard", b"x")
    assert told(beacons, config) == [("work/changed", {"field": "timezone", "old": None, "new": "Asia/Tokyo"})]
    assert told(beacons, config) == []


def test_a_beacon_tells_once_that_memory_is_above_its_bound_and_once_that_it_is_below(host, beacons):
    config = [{"memory": 75}]
    assert told(beacons, config) == []
    say(host, "work", {"memory/meminfo": "360000"})
    assert told(beacons, config) == [("work/memory_high", {"percent": 90.0, "used_kb": 360000})]
    assert told(beacons, config) == []
    say(host, "work", {"memory/meminfo": "200000"})
    assert told(beacons, config) == [("work/memory_normal", {"percent": 50.0, "used_kb": 200000})]


@pytest.fixture
def full(tmp_path, monkeypatch):
    """Beside work, a VM that has written more into its QubesDB than dom0 reads of one, whose limit is lowered here."""
    monkeypatch.setattr(qubesdb_connection, "BYTES_MAX", 30_000)
    with QubesHost(tmp_path / "q") as qubes:
        monkeypatch.setenv("VMINTERFACE_QUBESDB_DIR", str(qubes.folder))
        qubes.start_vm("work")
        qubes.start_vm("full")
        qubes.fill("full", 30_000)
        yield qubes


def test_a_beacon_goes_on_without_a_vm_whose_qubesdb_cannot_be_read_and_says_so_once(host, full, beacons, caplog):
    config = [{"fields": ["timezone"]}]
    assert told(beacons, config) == []
    with full.store("work") as store:
        store.write("/qubes-timezone", b"Asia/Tokyo")
    assert told(beacons, config) == [("work/changed", {"field": "timezone", "old": None, "new": "Asia/Tokyo"})]
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert line.startswith("beacon qubes_vm: full: /: more than ")


def test_the_list_of_vms_leaves_out_one_whose_qubesdb_cannot_be_read(host, full, modules, caplog):
    assert set(modules.qubes_vm.vms()) == {"work"}
    assert "qubes_vm.vms: full: /: more than " in caplog.text


def test_the_pillar_leaves_out_a_vm_whose_qubesdb_cannot_be_read(host, full, loaders, minion_opts, caplog):
    opts = {**minion_opts, "pillar_dirs": [str(REPOSITORY / "_pillar")]}
    ext_pillar = salt.loader.pillars(opts, loaders.modules)["qubes_vm"]
    assert set(ext_pillar("dom0", {})["qubes_known"]) == {"work"}
    assert "pillar qubes_known: full: /: more than " in caplog.text


def test_a_store_that_is_gone_is_no_news(host, beacons):
    assert told(beacons, []) == []
    host.daemon.stop()
    assert told(beacons, []) == []


@pytest.mark.parametrize(
    ("config", "fault"),
    [
        ([], None),
        ([{"vms": ["work"]}, {"fields": ["timezone"]}, {"memory": 85}, {"interval": 5}], None),
        ({}, "list of mappings"),
        ([{"vms": "work"}], "vms must be a list"),
        ([{"fields": ["nonsense"]}], "there is no field 'nonsense'"),
        ([{"memory": "85 %"}], "number of percent"),
        ([{"memory": 101}], "number of percent"),
    ],
)
def test_a_beacons_configuration_is_checked(beacons, config, fault):
    valid, comment = beacons["qubes_vm.validate"](config)
    assert valid is (fault is None)
    assert fault is None or fault in comment
