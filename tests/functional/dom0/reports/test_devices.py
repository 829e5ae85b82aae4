"""What VMs say, read from the real xenstored as what it is: all that R4 lists, the wrong marked, nobody held up."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.xenstored.fakexen import missing
from tests.support.dom0 import Dom0
from tests.support.qubesdb import Daemons
from tests.support.stores import need
from vminterface.channel.store import Write
from vminterface.dom0.inventory.targets import Targets
from vminterface.dom0.push.grants import grant
from vminterface.dom0.reports import devices as reports
from vminterface.dom0.reports.devices import BLOCK, MEMORY, Report, as_data
from vminterface.errors import ConnectionLost, VMInterfaceError, VMNotRunning
from vminterface.values.blockdevice import BlockDevice
from vminterface.values.memory import Meminfo
from vminterface.vm.machine.machine import Machine
from vminterface.vm.report import blockdevices
from vminterface.vm.report.devices import DeviceReport

STICK = {"desc": "Stick (X)", "size": "512", "mode": "w", "parent": "2-1:1.0"}
MOUSE = {"desc": r"046d:c52b Logi USB\x20Mouse 7", "usb-ver": "2", "interfaces": ":030102:"}


class Host(Dom0):
    """A dom0 whose VMs have what a push gives them."""

    def start_vm(self, name: str) -> int:
        domid = super().start_vm(name)
        with self.store() as store:
            grant(store, domid, f"/local/domain/{domid}/")
            store.write(f"/local/domain/{domid}/memory/static-max", b"400000")
        return domid

    def say(self, vm: str, **texts: str) -> None:
        """Let the VM write *texts*; ``__`` stands for the slash and ``_`` for the dash of their keys."""
        with self.guest_store(vm) as store:
            for key, text in texts.items():
                store.write(key.replace("__", "/").replace("_", "-"), text.encode("utf-8", "surrogateescape"))

    def list_device(self, vm: str, path: str, keys: dict[str, str]) -> None:
        with self.guest_store(vm) as store:
            for key, text in keys.items():
                store.write(f"{path}/{key}", text.encode("utf-8", "surrogateescape"))

    def plant(self, vm: str, writes: dict[str, bytes]) -> None:
        """Put into the VM's home what its own quota would not allow."""
        with self.store() as store:
            home = f"/local/domain/{self.domids[vm]}"
            outcomes = store.batch([Write(f"{home}/{path}", value) for path, value in writes.items()], timeout=60)
        assert not [outcome for outcome in outcomes if isinstance(outcome, VMInterfaceError)]

    def read(self, *vms: str, **options: object) -> dict[str, Report]:  # type: ignore[override]
        with self.targets() as targets:
            return reports.read(targets, vms or None, **options)  # type: ignore[arg-type]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    need(missing())
    with Host(tmp_path / "xen") as host:
        host.start_vm("work")
        yield host


def test_a_vm_that_says_nothing_has_an_empty_report(host: Host) -> None:
    (report,) = host.read().values()
    assert report == Report("work", 1, maximum_kb=400000)
    assert report.used_share is None


def test_memory_and_devices_are_read(host: Host) -> None:
    host.say("work", memory__meminfo="210000", memory__swapinfo="10000")
    host.list_device("work", "qubes-block-devices/sda", STICK)
    host.list_device("work", "qubes-usb-devices/2-1_4", MOUSE)
    report = host.read("work")["work"]
    assert (report.used_kb, report.swap_used_kb, report.maximum_kb) == (210000, 10000, 400000)
    assert report.used_share == 0.525
    assert report.block_devices == [BlockDevice("sda", "Stick (X)", 512, False, "/dev/sda", "2-1:1.0")]
    (mouse,) = report.usb_devices
    assert (mouse.name, mouse.ids, mouse.description) == ("2-1_4", "046d:c52b", "Logi USB Mouse 7")
    assert report.warnings == []


def test_the_old_text_of_memory_is_read_too(host: Host) -> None:
    host.say("work", memory__meminfo=Meminfo(400000, 100000, 20000, 80000, 1000000, 990000).render())
    assert host.read()["work"].used_kb == 210000


@pytest.mark.parametrize("text", ["210000\n", "-1", "1e9", "\x1b[2J", "9" * 2000, "MemTotal: 1 kB\n", "\udcff"])
def test_a_bad_number_is_a_warning_and_no_number(host: Host, text: str) -> None:
    host.say("work", memory__meminfo=text, memory__swapinfo="5")
    report = host.read()["work"]
    assert report.used_kb is None
    assert report.swap_used_kb == 5
    if text != "\udcff":  # bytes beyond ASCII count as not there, and then nothing is there
        (warning,) = report.warnings
        assert warning.startswith("work: memory/meminfo: ")
        assert warning.isascii()
        assert warning.isprintable()


def test_a_bad_entry_is_a_device_with_a_warning_for_each_value_that_is_assumed(host: Host) -> None:
    base = "qubes-block-devices"
    host.list_device("work", f"{base}/sda", STICK)
    host.list_device("work", f"{base}/sdb", {**STICK, "size": "many"})
    host.list_device("work", f"{base}/sdc", {"desc": "no size", "mode": "r"})
    host.list_device("work", f"{base}/SDD", STICK)
    host.list_device("work", f"{base}/sde", {"other": "x"})
    host.list_device("work", f"{base}/sdf/desc/deeper/and/deeper", {"desc": "x"})
    host.list_device("work", f"{base}/sdg", {**STICK, "desc": "a\x1b[2J\udcffb"})
    host.say("work", **{f"{base}/sdh": ""})
    report = host.read()["work"]
    assert [(device.name, device.desc, device.size, list(device.assumed)) for device in report.block_devices] == [
        ("sda", "Stick (X)", 512, []),
        ("sdb", "Stick (X)", 0, ["size"]),
        ("sdc", "no size", 0, ["size"]),
        ("sde", "", 0, ["size", "mode"]),
        ("sdf", "", 0, ["size", "mode"]),
        ("sdg", "a__2Jb", 512, []),
    ]
    told = sorted(warning.removeprefix("work: ") for warning in report.warnings)
    assert len(told) == 8
    for start in (
        "block device sdb: the size 'many' (expected 1 to 20 digits; '0' is assumed)",
        "block device sdc: no size",
        "block device sde: no size",
        "block device sde: no mode (expected 'r' or 'w'; 'w' is assumed)",
        "block device sdf: no size",
        "block device sdf: no mode",
        "block device sdh: has no keys and is left out",
        "qubes-block-devices: 'SDD' is not a valid block device name",
    ):
        assert any(line.startswith(start) for line in told), start
    assert all(line.isascii() and line.isprintable() for line in told)
    assert as_data(report)["block_devices"]["sdb"]["assumed"] == ["size"]


def test_a_usb_device_that_belongs_to_no_vm_that_runs_belongs_to_none(host: Host) -> None:
    host.start_vm("personal")
    host.list_device("work", "qubes-usb-devices/2-1", {**MOUSE, "connected-to": "personal"})
    host.list_device("work", "qubes-usb-devices/2-2", {**MOUSE, "connected-to": "nobody"})
    report = host.read("work")["work"]
    assert [(device.name, device.connected_to, list(device.assumed)) for device in report.usb_devices] == [
        ("2-1", "personal", []),
        ("2-2", "", ["connected-to"]),
    ]
    assert report.warnings == [
        "work: USB device 2-2: connected-to: no running VM has the name nobody; treated as not attached"
    ]


def test_what_the_real_reader_lists_is_listed(host: Host) -> None:
    """Long texts, several lines, versions to come, bytes beyond ASCII, and the form of R2 to R4.2."""
    host.list_device("work", "qubes-block-devices/sda", {**STICK, "desc": f"two\nlines{300 * 'x'}"})
    host.list_device("work", "qubes-usb-devices/1-1", {**MOUSE, "usb-ver": "4", "desc": f"046d:c52b a b {300 * 'x'}"})
    host.list_device("work", "qubes-usb-devices/1-2", {**MOUSE, "desc": "046d:c52b Logi_Mouse"})
    host.list_device("work", "qubes-usb-devices/1-3", {**MOUSE, "desc": "046d:c52b a b \u00e9"})
    data = as_data(host.read()["work"])
    assert data["block_devices"]["sda"]["desc"] == f"two_lines{300 * 'x'}"[:255]
    usb = data["usb_devices"]
    assert usb["1-1"]["usb_version"] == 4
    assert len(usb["1-1"]["description"]) == 255
    assert (usb["1-2"]["ids"], usb["1-2"]["description"]) == ("046d:c52b", "Logi_Mouse")
    # qubesd reads the bytes of UTF-8 one by one.
    assert usb["1-3"]["device_id"] == "046d:c52b:__:u030102"
    assert data["warnings"] == []


def test_devices_have_the_ports_and_ids_of_r4_3(host: Host) -> None:
    host.list_device("work", "qubes-usb-devices/2-1_4", MOUSE)
    host.list_device("work", "qubes-block-devices/sda", {**STICK, "parent": "2-1.4:1.0"})
    host.list_device("work", "qubes-block-devices/sda1", {**STICK, "parent": "sda"})
    host.list_device("work", "qubes-block-devices/sdb", {**STICK, "parent": "ata9"})
    data = as_data(host.read()["work"])
    assert [(device["port"], device["device_id"]) for device in data["usb_devices"].values()] == [
        ("work:2-1.4", "046d:c52b:7:u030102")
    ]
    blocks = [
        ("work:sda", "046d:c52b:7:u030102:1.0"),
        ("work:sda1", "046d:c52b:7:u030102:1.0:1"),
        ("work:sdb", "0000:0000::?******:None"),
    ]
    assert [(device["port"], device["device_id"]) for device in data["block_devices"].values()] == blocks
    alone = as_data(host.read(parts=[BLOCK])["work"], [BLOCK])
    assert "usb_devices" not in alone
    assert [(device["port"], device["device_id"]) for device in alone["block_devices"].values()] == blocks


@pytest.mark.parametrize(
    ("hotplug", "maximum", "warnings"),
    [
        (b"4194304", 4194304, []),
        (b"", 400000, []),
        (
            b"4 GiB",
            400000,
            ["work: memory/hotplug-max: '4 GiB' is not a valid number of kB (expected digits alone, 15 at most)"],
        ),
    ],
)
def test_the_maximum_is_what_can_be_plugged_in_where_memory_is(
    host: Host, hotplug: bytes, maximum: int, warnings: list[str]
) -> None:
    """static-max is no more than what the VM may have now then."""
    host.say("work", memory__meminfo="314572")
    host.plant("work", {"memory/hotplug-max": hotplug})
    report = host.read()["work"]
    assert report.maximum_kb == maximum
    assert report.used_share == pytest.approx(314572 / maximum)
    assert report.warnings == warnings


def test_five_thousand_devices_and_many_bad_names_are_read_in_bounded_time(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "ENTRIES_MAX", 5000)
    host.start_vm("personal")
    host.list_device("personal", "qubes-block-devices/sda", STICK)
    writes = {f"qubes-block-devices/d{n}/{key}": text.encode() for n in range(5000) for key, text in STICK.items()}
    writes |= {f"qubes-block-devices/B{n}/desc": b"x" for n in range(2500)}
    host.plant("work", writes)
    began = time.monotonic()
    found = host.read()
    assert time.monotonic() - began < 10
    assert len(found["work"].block_devices) == 5000
    assert len(found["work"].warnings) == reports.WARNINGS_MAX
    assert found["work"].more_warnings == 2500 - reports.WARNINGS_MAX
    assert as_data(found["work"])["warnings"][-1] == "work: 2480 more warnings"
    assert [device.name for device in found["personal"].block_devices] == ["sda"]


def test_more_entries_than_are_looked_at_are_a_warning(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "ENTRIES_MAX", 3)
    for name in ("sdd", "sda", "sdc", "sdb"):
        host.list_device("work", f"qubes-block-devices/{name}", STICK)
    report = host.read()["work"]
    assert [device.name for device in report.block_devices] == ["sda", "sdb", "sdc"]
    assert report.warnings == ["work: qubes-block-devices: 4 devices, of which only the first 3 by name are read"]


def test_a_list_without_time_left_is_a_warning_and_the_others_are_read(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.start_vm("personal")
    host.list_device("personal", "qubes-block-devices/sda", STICK)
    host.plant("work", {f"qubes-block-devices/d{n}/{k}": t.encode() for n in range(2000) for k, t in STICK.items()})
    monkeypatch.setattr(reports, "TIMEOUT", 0.05)
    monkeypatch.setattr(reports, "ENTRIES_MAX", 2000)
    found = host.read()
    assert [device.name for device in found["personal"].block_devices] == ["sda"]
    assert found["work"].warnings == ["work: not all of its devices could be read within 0.05 s"]


def test_a_list_that_changes_all_the_time_costs_no_other_vm_its_report(host: Host) -> None:
    host.start_vm("personal")
    host.list_device("personal", "qubes-block-devices/sda", STICK)
    # So many that the store tells their names in parts.
    host.plant("work", {f"qubes-block-devices/device{n}": b"" for n in range(900)})
    stop = threading.Event()

    def change() -> None:
        with host.store() as store:
            home = f"/local/domain/{host.domids['work']}/qubes-block-devices"
            while not stop.is_set():
                store.write(f"{home}/new", b"")
                store.remove(f"{home}/new")

    changing = threading.Thread(target=change)
    changing.start()
    try:
        began = time.monotonic()
        found = host.read()
        assert time.monotonic() - began < 10
    finally:
        stop.set()
        changing.join(10)
    assert [device.name for device in found["personal"].block_devices] == ["sda"]
    assert found["work"].block_devices == []
    assert found["work"].warnings


def test_parts_that_are_not_asked_for_are_not_read(host: Host) -> None:
    host.say("work", memory__meminfo="210000")
    host.list_device("work", "qubes-block-devices/sda", STICK)
    assert as_data(host.read(parts=[MEMORY])["work"], [MEMORY]) == {
        "domid": 1,
        "memory": {"used_kb": 210000, "swap_used_kb": None, "maximum_kb": 400000},
        "warnings": [],
    }
    report = host.read(parts=[BLOCK])["work"]
    assert report.used_kb is None
    assert len(report.block_devices) == 1


def test_a_vm_that_does_not_run_has_no_report(host: Host) -> None:
    with pytest.raises(VMNotRunning, match="nosuch: there is no running VM with this name"):
        host.read("nosuch")


def test_a_daemon_that_hangs_is_an_error_within_its_time(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    with host.targets() as targets:
        host.daemon.stop()
        with pytest.raises(ConnectionLost):
            reports.read(targets)


def test_devices_are_read_in_a_vms_qubesdb_and_its_memory_in_the_xenstore(host: Host, tmp_path: Path) -> None:
    (tmp_path / "qdb").mkdir()
    with Daemons(tmp_path / "qdb", "work") as daemons:
        host.say("work", memory__meminfo="210000")
        with daemons.guest("work") as guest:
            assert DeviceReport(Machine("/"), blockdevices).publish(guest, {"sda": STICK})
            assert not DeviceReport(Machine("/"), blockdevices).publish(guest, {"sda": STICK})
            guest.write("/qubes-block-devices/sdb/desc", b"half")
        with Targets(host.store, qubesdb_folder=str(daemons.folder)) as targets:
            report = reports.read(targets)["work"]
            assert report.used_kb == 210000
            assert [device.name for device in report.block_devices] == ["sda", "sdb"]
            assert [warning.partition(" (")[0] for warning in report.warnings] == [
                "work: block device sdb: no size",
                "work: block device sdb: no mode",
            ]
            with daemons.guest("work") as guest:
                guest.remove("/qubes-block-devices/sdb")
                guest.write("/qubes-block-devices/sdc", b"a key without any below it")
                guest.write("/qubes-block-devices/sdd/other", b"x")
            assert [device.name for device in reports.read(targets)["work"].block_devices] == ["sda", "sdd"]
            with daemons.guest("work") as guest:
                assert DeviceReport(Machine("/"), blockdevices).publish(guest, {})
            assert reports.read(targets)["work"].block_devices == []
