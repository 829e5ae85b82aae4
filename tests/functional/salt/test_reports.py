"""What VMs say, through Salt: functions, table, grain and beacon."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import salt.loader
from salt.exceptions import CommandExecutionError
from salt.loader.lazy import LazyLoader
from saltfactories.utils.functional import Loaders

from tests.functional.salt.conftest import REPOSITORY
from tests.support.dom0 import Dom0
from tests.support.qubesdb import QubesHost
from vminterface.channel.qubesdb import connection
from vminterface.dom0.push.grants import grant

STICK = {"desc": "Stick (X)", "size": "1048576", "mode": "w", "parent": ""}
MOUSE = {"desc": r"046d:c52b Logi USB\x20Mouse 7", "usb-ver": "2", "interfaces": ""}


def say(host: Dom0, vm: str, texts: dict[str, str]) -> None:
    with host.guest_store(vm) as store:
        for key, text in texts.items():
            store.write(key, text.encode())


def prepare(host: Dom0, vm: str) -> None:
    with host.store() as store:
        grant(store, host.domids[vm], f"/local/domain/{host.domids[vm]}/")
        store.write(f"/local/domain/{host.domids[vm]}/memory/static-max", b"400000")


@pytest.fixture
def host(host: Dom0) -> Dom0:
    prepare(host, "work")
    say(host, "work", {"memory/meminfo": "210000"})
    say(host, "work", {f"qubes-block-devices/sda/{key}": text for key, text in STICK.items()})
    say(host, "work", {f"qubes-usb-devices/2-1/{key}": text for key, text in MOUSE.items()})
    return host


@pytest.fixture
def in_vm(host: Dom0, monkeypatch: pytest.MonkeyPatch) -> Dom0:
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


def test_all_that_vms_say_in_one_call(host: Dom0, modules: Any) -> None:
    host.start_vm("silent")
    found = modules.qubes_vm.report()
    assert list(found) == ["silent", "work"]
    assert found["silent"]["memory"]["used_kb"] is None
    assert found["work"] == {
        "domid": 1,
        "memory": {"used_kb": 210000, "swap_used_kb": None, "maximum_kb": 400000},
        "block_devices": {
            "sda": {
                "port": "work:sda",
                "device_id": ":None",
                "desc": "Stick (X)",
                "size": 1048576,
                "mode": "w",
                "device": "/dev/sda",
                "parent": "",
                "assumed": [],
            }
        },
        "usb_devices": {
            "2-1": {
                "port": "work:2-1",
                "device_id": "046d:c52b:7:?******",
                "ids": "046d:c52b",
                "description": "Logi USB Mouse 7",
                "usb_version": 2,
                "interfaces": "",
                "connected_to": "",
                "assumed": [],
            }
        },
        "warnings": [],
    }


def test_one_part_of_one_vm(host: Dom0, modules: Any) -> None:
    assert modules.qubes_vm.memory("work")["memory"]["used_kb"] == 210000
    assert list(modules.qubes_vm.block_devices("work")["block_devices"]) == ["sda"]
    assert list(modules.qubes_vm.usb_devices("work")["usb_devices"]) == ["2-1"]
    assert set(modules.qubes_vm.memory("work")) == {"domid", "memory", "warnings"}
    with pytest.raises(CommandExecutionError, match="nosuch: there is no running VM with this name"):
        modules.qubes_vm.memory("nosuch")


class Terminal:
    def isatty(self) -> bool:
        return True


def test_the_outputter_shows_a_table_in_a_terminal_and_json_elsewhere(
    host: Dom0, modules: Any, minion_opts: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
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
    assert table[2].split() == ["block", "work:sda", "1.0", "MiB", "w", "Stick", "(X)"]
    assert table[3].split() == ["id", ":None"]
    assert table[4].split() == ["usb", "work:2-1", "USB", "2", "046d:c52b", "Logi", "USB", "Mouse", "7"]
    assert table[5].split() == ["id", "046d:c52b:7:?******"]
    assert table[6].startswith("  ! work: qubes-block-devices: 'SDB'")
    assert json.loads(show({"dom0": "an error"})) == {"dom0": "an error"}


def grain(minion_opts: dict[str, Any]) -> Any:
    """What the grain's own function says, found by Salt's loader."""
    return salt.loader.grain_funcs(minion_opts)["qubes_vm.qubes_vm"]()


def test_a_vms_grain_says_what_dom0_made_it(in_vm: Dom0, minion_opts: dict[str, Any]) -> None:
    assert grain(minion_opts) == {
        "qubes_vm": {
            "name": "work",
            "type": "AppVM",
            "ip": "10.137.0.12",
            "gateway": "10.137.0.5",
            "services": {"clocksync": False, "cups": True},
        }
    }


def test_dom0_and_machines_without_a_store_have_no_such_grain(
    host: Dom0, minion_opts: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert grain(minion_opts) == {}
    monkeypatch.setenv("XENSTORED_PATH", str(tmp_path / "nothing"))
    assert grain(minion_opts) == {}


@pytest.fixture
def beacons(minion_opts: dict[str, Any], modules: Any) -> LazyLoader:
    context: dict[str, Any] = {}
    return salt.loader.beacons(minion_opts, modules, context=context)


def told(beacons: LazyLoader, config: list[Any]) -> list[Any]:
    events = beacons["qubes_vm.beacon"](config)
    return [(event["tag"], {k: v for k, v in event.items() if k not in ("tag", "vm", "event")}) for event in events]


def test_a_beacon_tells_of_vms_that_start_and_stop(host: Dom0, beacons: LazyLoader) -> None:
    assert told(beacons, []) == []
    host.start_vm("personal")
    assert told(beacons, []) == [("personal/started", {"domid": 2})]
    assert told(beacons, []) == []
    host.stop_vm("personal")
    host.start_vm("personal")
    assert told(beacons, []) == [("personal/stopped", {"domid": 2}), ("personal/started", {"domid": 3})]


def test_a_beacon_tells_of_keys_that_change_in_the_vms_it_is_given(host: Dom0, beacons: LazyLoader) -> None:
    host.start_vm("personal")
    config = [{"vms": ["work"]}, {"fields": ["timezone", "services:cups"]}]
    assert told(beacons, config) == []
    with host.store() as store:
        for domid in host.domids.values():
            store.write(f"/local/domain/{domid}/qubes-timezone", b"Asia/Tokyo")
            store.write(f"/local/domain/{domid}/qubes-keyboard", b"x")
    assert told(beacons, config) == [("work/changed", {"field": "timezone", "old": None, "new": "Asia/Tokyo"})]
    assert told(beacons, config) == []


def test_a_beacon_tells_once_that_memory_is_above_its_bound_and_once_that_it_is_below(
    host: Dom0, beacons: LazyLoader
) -> None:
    config = [{"memory": 75}]
    assert told(beacons, config) == []
    say(host, "work", {"memory/meminfo": "360000"})
    assert told(beacons, config) == [("work/memory_high", {"percent": 90.0, "used_kb": 360000})]
    assert told(beacons, config) == []
    say(host, "work", {"memory/meminfo": "200000"})
    assert told(beacons, config) == [("work/memory_normal", {"percent": 50.0, "used_kb": 200000})]


def test_a_beacon_counts_memory_against_what_can_be_plugged_in(host: Dom0, beacons: LazyLoader) -> None:
    """308 MiB of a current 400 MiB are 77 percent, of a possible 4 GiB 8."""
    with host.store() as store:
        store.write(f"/local/domain/{host.domids['work']}/memory/hotplug-max", b"4194304")
        store.write(f"/local/domain/{host.domids['work']}/memory/static-max", b"409600")
    say(host, "work", {"memory/meminfo": "315392"})
    assert told(beacons, [{"memory": 75}]) == []
    assert told(beacons, [{"memory": 7}]) == [("work/memory_high", {"percent": 7.5, "used_kb": 315392})]


@pytest.fixture
def full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[QubesHost]:
    """Beside work, a VM that has written more into its QubesDB than dom0 reads of one, whose limit is lowered here."""
    monkeypatch.setattr(connection, "BYTES_MAX", 30_000)
    with QubesHost(tmp_path / "q") as qubes:
        monkeypatch.setenv("VMINTERFACE_QUBESDB_DIR", str(qubes.folder))
        qubes.start_vm("work")
        qubes.start_vm("full")
        qubes.fill("full", 30_000)
        yield qubes


def test_a_beacon_goes_on_without_a_vm_whose_qubesdb_cannot_be_read_and_says_so_once(
    host: Dom0, full: QubesHost, beacons: LazyLoader, caplog: pytest.LogCaptureFixture
) -> None:
    config = [{"fields": ["timezone"]}]
    assert told(beacons, config) == []
    with full.store("work") as store:
        store.write("/qubes-timezone", b"Asia/Tokyo")
    assert told(beacons, config) == [("work/changed", {"field": "timezone", "old": None, "new": "Asia/Tokyo"})]
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert line.startswith("beacon qubes_vm: full: /: more than ")


def test_the_list_of_vms_leaves_out_one_whose_qubesdb_cannot_be_read(
    host: Dom0, full: QubesHost, modules: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert set(modules.qubes_vm.vms()) == {"work"}
    assert "qubes_vm.vms: full: /: more than " in caplog.text


def test_the_pillar_leaves_out_a_vm_whose_qubesdb_cannot_be_read(
    host: Dom0, full: QubesHost, loaders: Loaders, minion_opts: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    opts = {**minion_opts, "pillar_dirs": [str(REPOSITORY / "_pillar")]}
    ext_pillar = salt.loader.pillars(opts, loaders.modules)["qubes_vm"]
    assert set(ext_pillar("dom0", {})["qubes_known"]) == {"work"}
    assert "pillar qubes_known: full: /: more than " in caplog.text


def test_a_store_that_is_gone_is_no_news(host: Dom0, beacons: LazyLoader) -> None:
    assert told(beacons, []) == []
    host.daemon.stop()
    assert told(beacons, []) == []


def fill_memory(host: Dom0, vm: str) -> None:
    """Let a VM that has just started report that it uses 90 percent of its memory."""
    prepare(host, vm)
    say(host, vm, {"memory/meminfo": "360000"})


@pytest.fixture
def compared(minion_opts: dict[str, Any], modules: Any) -> LazyLoader:
    """The beacon of a minion whose pillar has work and halted, and not personal."""
    pillar = {"qubes": {"defaults": {"timezone": "Europe/Warsaw"}, "vms": {"work": {}, "halted": {}}}}
    context: dict[str, Any] = {}
    return salt.loader.beacons({**minion_opts, "pillar": pillar}, modules, context=context)


def test_a_beacon_makes_one_event_of_the_vms_of_the_pillar_to_which_a_push_is_due(
    host: Dom0, compared: LazyLoader
) -> None:
    config = [{"pillar": True}, {"hold": 60}, {"memory": 75}]
    assert told(compared, config) == [
        ("work/drifted", {"fields": ["timezone"]}), ("push_due", {"vms": ["work"]})
    ]  # fmt: skip
    host.stop_vm("work")
    for vm in ("work", "personal"):
        host.start_vm(vm)
    fill_memory(host, "personal")
    tags = dict(told(compared, config))
    # No pillar names personal: its start is no event, but its memory was asked for.
    assert set(tags) == {"work/stopped", "work/started", "personal/memory_high", "push_due"}
    assert tags["push_due"] == {"vms": ["work"]}
    host.stop_vm("personal")
    assert told(compared, config) == []


def test_a_wrong_pillar_is_logged_once_and_other_events_still_come(
    host: Dom0, minion_opts: dict[str, Any], modules: Any, caplog: pytest.LogCaptureFixture
) -> None:
    pillar = {"qubes": {"vms": {"work": {"timezone": 5}}}}
    context: dict[str, Any] = {}
    wrong = salt.loader.beacons({**minion_opts, "pillar": pillar}, modules, context=context)
    config = [{"pillar": True}, {"memory": 75}]
    assert told(wrong, config) == []
    host.start_vm("personal")
    fill_memory(host, "personal")
    assert [tag for tag, _ in told(wrong, config)] == ["personal/memory_high"]
    (line,) = [one.getMessage() for one in caplog.records if "compared with the pillar" in one.getMessage()]
    assert "qubes:vms:work:timezone" in line


def test_a_store_that_hangs_costs_the_minion_a_second_and_then_a_tenth_of_its_time(
    host: Dom0, beacons: LazyLoader, caplog: pytest.LogCaptureFixture
) -> None:
    assert told(beacons, []) == []
    assert host.daemon.process is not None
    host.daemon.process.send_signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        assert [told(beacons, []) for _ in range(20)] == [[]] * 20
        took = time.monotonic() - began
    finally:
        host.daemon.process.send_signal(signal.SIGCONT)
    # Its second, and what a busy machine takes beside.
    assert 0.9 < took < 6
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert "the next check is in 10 s" in line


@pytest.mark.parametrize(
    ("config", "fault"),
    [
        ([], None),
        ([{"vms": ["work"]}, {"fields": ["timezone"]}, {"memory": 85}, {"interval": 5}], None),
        ({}, "list of mappings"),
        ([{"vms": "work"}], "vms: is not valid (expected a list"),
        ([{"fields": ["nonsense"]}], "unknown field 'nonsense'"),
        ([{"memory": "85 %"}], "expected percent from 0 to 100"),
        ([{"memory": 101}], "expected percent from 0 to 100"),
        ([{"pillar": True}, {"hold": 5}], None),
        ([{"pillar": "yes"}], "pillar: is not valid (expected true or false"),
        ([{"hold": 0}], "hold: is not valid (expected seconds from 1 to 3600"),
    ],
)
def test_a_beacons_configuration_is_checked(
    beacons: LazyLoader, config: dict[Any, Any] | list[Any], fault: str | None
) -> None:
    valid, comment = beacons["qubes_vm.validate"](config)
    assert valid is (fault is None)
    assert fault is None or fault in comment


#: Prints whether the loader called like the first word has what the second names, synced into the third's folder.
LOADED = """
import sys
import salt.config
import salt.loader
options = {**salt.config.DEFAULT_MINION_OPTS, "extension_modules": sys.argv[3]}
loader = getattr(salt.loader, sys.argv[1])(options, *[{}] * (sys.argv[1] == "beacons"))
print(sys.argv[2] in loader, any(sys.argv[3] in folder for folder in sys.path))
"""


@pytest.mark.parametrize(
    ("loader", "folder", "name"), [("beacons", "beacons", "qubes_vm.beacon"), ("outputters", "output", "vm_report")]
)
def test_a_process_that_has_loaded_nothing_else_finds_the_synced_library(
    loader: str, folder: str, name: str, tmp_path: Path
) -> None:
    """As the minion's own process, which looks at the beacons, and the ``salt`` command on a master."""
    for kind in (folder, "utils"):
        # What another process compiles at this moment has such a name until it is written.
        shutil.copytree(REPOSITORY / f"_{kind}", tmp_path / kind, ignore=shutil.ignore_patterns("*.pyc.*"))
    done = subprocess.run(
        [sys.executable, "-c", LOADED, loader, name, str(tmp_path)],
        cwd=tmp_path,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.split() == ["True", "False"]
