"""Which block devices a VM offers, and what it says of them; sysfs and udev's database are played by files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.fakesysfs import STICK, FakeSysfs
from vminterface.vm.report.blockdevices import read


@pytest.fixture
def vm(tmp_path: Path) -> FakeSysfs:
    return FakeSysfs(tmp_path)


def test_a_machine_without_devices_offers_none(vm: FakeSysfs) -> None:
    assert read(vm.machine) == {}


def test_a_disk_and_its_partition_are_offered_with_all_keys(vm: FakeSysfs) -> None:
    vm.block("sda", "8:0", sectors=30031872, udev={"ID_MODEL": "SanDisk", "ID_FS_LABEL": ""})
    vm.partition("sda1", "8:1", "sda", udev={"ID_MODEL": "SanDisk", "ID_FS_LABEL": "PHOTOS"}, read_only=True)
    assert read(vm.machine) == {
        "sda": {"desc": "SanDisk ()", "size": "15376318464", "mode": "w", "parent": "ata1"},
        "sda1": {"desc": "SanDisk (PHOTOS)", "size": "1048576", "mode": "r", "parent": "sda"},
    }


def test_a_usb_sticks_disk_names_its_interface_and_its_partition_the_disk(vm: FakeSysfs) -> None:
    vm.block("sdb", "8:16", folder=STICK)
    vm.partition("sdb1", "8:17", "sdb", folder=STICK)
    found = read(vm.machine)
    assert found["sdb"]["parent"] == "2-1:1.0"
    assert found["sdb1"]["parent"] == "sdb"


def card_reader(vm: FakeSysfs, **ids: str) -> None:
    """The files of a USB card reader whose SCSI model is blank."""
    vm.block("sdb", "8:16", folder=STICK, files={"device/model": "                "})
    device = STICK.partition("/2-1:1.0")[0]
    for name, number in ids.items():
        vm.write(f"sys/{device}/{name}", f"{number}\n")


def test_a_card_reader_without_strings_shows_the_numbers_of_vendor_and_product(vm: FakeSysfs) -> None:
    card_reader(vm, idVendor="0bda", idProduct="0129")
    vm.partition("sdb1", "8:17", "sdb", folder=STICK)
    assert [device["desc"] for device in read(vm.machine).values()] == ["0bda:0129 ()", "0bda:0129 ()"]


def test_what_udev_made_of_no_strings_shows_both_numbers_too(vm: FakeSysfs) -> None:
    card_reader(vm, idVendor="0bda", idProduct="0129")
    ids = {"ID_VENDOR": "0bda", "ID_VENDOR_ID": "0bda", "ID_MODEL": "0129", "ID_MODEL_ID": "0129"}
    vm.udev("b8:16", {**ids, "ID_FS_LABEL": "CAM"})
    assert read(vm.machine)["sdb"]["desc"] == "0bda:0129 (CAM)"


def test_a_memory_card_shows_its_name_or_its_readers_numbers(vm: FakeSysfs) -> None:
    """A card of a PCI reader has no model; its name is what its maker wrote into it."""
    reader = "devices/pci0000:00/0000:02:00.0"
    folder = f"{reader}/rtsx_pci_sdmmc.0/mmc_host/mmc0/mmc0:aaaa/block"
    vm.write(f"sys/{reader}/vendor", "0x10ec\n")
    vm.write(f"sys/{reader}/device", "0x525a\n")
    vm.block("mmcblk0", "179:0", folder=folder, files={"device/name": "SC16G"})
    vm.partition("mmcblk0p1", "179:1", "mmcblk0", folder=folder)
    assert [device["desc"] for device in read(vm.machine).values()] == ["SC16G ()", "SC16G ()"]
    vm.write(f"sys/{folder}/mmcblk0/device/name", "\n")
    assert [device["desc"] for device in read(vm.machine).values()] == ["10ec:525a ()", "10ec:525a ()"]


def test_a_disk_of_which_nothing_is_known_shows_its_own_name(vm: FakeSysfs) -> None:
    vm.block("sda", "8:0")
    assert read(vm.machine)["sda"]["desc"] == "sda ()"


@pytest.mark.parametrize(
    ("label", "written"),
    [("Łódź", "Lodz"), ("Grüße", "Grusse"), ("Ørsted", "Orsted"), ("a\N{EN DASH}b", "a-b"), ("a\x1b[2J;日", "a_[2J;?")],
)
def test_a_label_is_transliterated_and_printable(vm: FakeSysfs, label: str, written: str) -> None:
    vm.block("sda", "8:0", udev={"ID_MODEL": "Żółty", "ID_FS_LABEL": label})
    assert read(vm.machine)["sda"]["desc"] == f"Zolty ({written})"


@pytest.mark.parametrize(
    ("name", "number", "known"),
    [
        ("xvda", "202:0", {}),
        ("zram0", "252:0", {}),
        ("ram0", "1:0", {}),
        ("sda", "8:0", {"UDISKS_IGNORE": "1"}),
        ("sda", "8:0", {"QUBES_EXPORT_BLOCK_DEVICE": "0"}),
        ("sda", "8:0", {"DM_UDEV_DISABLE_DISK_RULES_FLAG": "1"}),
        ("sr0", "11:0", {"ID_MODEL": "DVD"}),
    ],
)
def test_what_is_flagged_or_xens_own_or_empty_is_not_offered(
    vm: FakeSysfs, name: str, number: str, known: dict[str, str]
) -> None:
    vm.block(name, number, udev=known)
    assert read(vm.machine) == {}


def test_udevs_word_overrules_device_mappers_flag(vm: FakeSysfs) -> None:
    vm.block("sda", "8:0", udev={"DM_UDEV_DISABLE_DISK_RULES_FLAG": "1", "QUBES_EXPORT_BLOCK_DEVICE": "1"})
    assert list(read(vm.machine)) == ["sda"]


def test_a_storage_vms_volumes_for_vms_are_not_offered(vm: FakeSysfs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Qubes' own rules flag them so; a volume of the VM's owner has no such flag."""
    stand_in(vm, monkeypatch, 0)
    vm.block("dm-0", "253:0", files={"dm/name": "vg-vm--work"}, udev={"DM_UDEV_DISABLE_DISK_RULES_FLAG": "1"})
    vm.block("dm-1", "253:1", files={"dm/name": "vg-data"}, udev={"DM_UDEV_DISABLE_OTHER_RULES_FLAG": "1"})
    assert list(read(vm.machine)) == ["dm-1"]


def test_a_reader_without_a_card_is_offered_with_the_size_0_and_a_drive_without_a_disc_is_not(vm: FakeSysfs) -> None:
    vm.block("sdb", "8:16", folder=STICK, sectors=0)
    vm.block("sr0", "11:0", sectors=0)
    vm.block("sr1", "11:1", sectors=2097151, udev={"ID_TYPE": "cd"})
    assert {name: keys["size"] for name, keys in read(vm.machine).items()} == {"sdb": "0"}


def test_a_drive_with_a_medium_is_read_only(vm: FakeSysfs) -> None:
    vm.block("sr0", "11:0", udev={"ID_MODEL": "DVD", "ID_CDROM_MEDIA": "1"})
    assert read(vm.machine)["sr0"]["mode"] == "r"


@pytest.mark.parametrize("dm_name", ["snapshot-1:2", "origin-1:2", ""])
def test_device_mappers_inner_devices_are_not_offered(vm: FakeSysfs, dm_name: str) -> None:
    vm.block("dm-0", "253:0", files={"dm/name": dm_name})
    assert read(vm.machine) == {}


def stand_in(vm: FakeSysfs, monkeypatch: pytest.MonkeyPatch, open_count: int) -> None:
    monkeypatch.setenv("PATH", f"{vm.dmsetup(open_count)}:/usr/bin:/bin")


def test_a_device_mapper_that_nobody_has_open_is_offered_by_its_name(
    vm: FakeSysfs, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm.block("dm-0", "253:0", files={"dm/name": "luks-data"})
    stand_in(vm, monkeypatch, 0)
    assert read(vm.machine)["dm-0"]["desc"] == "luks-data"
    stand_in(vm, monkeypatch, 1)
    assert read(vm.machine) == {}


def test_a_name_that_no_program_can_be_asked_for_is_not_offered(vm: FakeSysfs, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(vm, monkeypatch, 0)
    vm.block("dm-0", "253:0", files={"dm/name": "luks\0data"})
    assert read(vm.machine) == {}


def test_a_loop_device_is_its_file_and_an_empty_one_is_nothing(vm: FakeSysfs) -> None:
    vm.block("loop0", "7:0", files={"loop/backing_file": "/home/user/disk.img"})
    vm.block("loop1", "7:1", sectors=0)
    assert {name: keys["desc"] for name, keys in read(vm.machine).items()} == {"loop0": "/home/user/disk.img"}


def test_a_mark_in_any_folder_above_keeps_a_loop_devices_file_here(vm: FakeSysfs) -> None:
    vm.block("loop0", "7:0", files={"loop/backing_file": "/var/lib/images/a/disk.img"})
    vm.write("var/lib/.qubes-exclude-block-devices", "")
    assert read(vm.machine) == {}


def test_a_network_disk_without_its_other_end_is_not_offered(vm: FakeSysfs) -> None:
    vm.block("nbd0", "43:0")
    assert read(vm.machine) == {}
    vm.write("sys/class/block/nbd0/pid", "812\n")
    assert list(read(vm.machine)) == ["nbd0"]


def test_a_mounted_partition_takes_its_disk_back_but_not_its_neighbour(vm: FakeSysfs) -> None:
    vm.block("sda", "8:0")
    vm.partition("sda1", "8:1", "sda")
    vm.partition("sda2", "8:2", "sda")
    vm.mounted("8:1 /mnt ext4 /dev/sda1")
    assert list(read(vm.machine)) == ["sda2"]
    vm.mounted()
    assert list(read(vm.machine)) == ["sda", "sda1", "sda2"]


def test_a_mount_is_known_by_its_source_where_the_number_is_the_file_systems_own(vm: FakeSysfs) -> None:
    vm.block("sda", "8:0")
    vm.mounted("0:45 /mnt btrfs /dev/sda")
    assert read(vm.machine) == {}


def test_swap_and_held_devices_are_in_use(vm: FakeSysfs) -> None:
    vm.block("sda", "8:0")
    vm.block("sdb", "8:16")
    vm.block("sdc", "8:32")
    vm.write("proc/swaps", "Filename\tType\n/dev/sda                partition\t1\t0\t-2\n")
    (vm.root / "sys/class/block/sdb/holders/md0").mkdir()
    assert list(read(vm.machine)) == ["sdc"]


def test_what_another_vm_has_keeps_its_entry_and_holds_its_disk_and_partitions_back(vm: FakeSysfs) -> None:
    vm.block("sda", "8:0")
    vm.partition("sda1", "8:1", "sda")
    vm.partition("sda2", "8:2", "sda")
    assert list(read(vm.machine, frozenset({"8:1"}))) == ["sda1", "sda2"]
    assert list(read(vm.machine, frozenset({"8:0"}))) == ["sda"]
    vm.mounted("8:0 /mnt ext4 /dev/sda")
    assert list(read(vm.machine, frozenset({"8:0"}))) == ["sda"]


def test_a_device_that_udev_has_yet_to_look_at_waits_for_its_event(vm: FakeSysfs) -> None:
    vm.write("run/udev/control", "")
    vm.block("sda", "8:0")
    assert read(vm.machine) == {}
    vm.udev("b8:0", {"ID_MODEL": "Disk"})
    assert list(read(vm.machine)) == ["sda"]


def test_a_device_that_nobody_could_attach_is_not_offered(vm: FakeSysfs) -> None:
    vm.block("sda", "8:0")
    vm.block("averylongname0", "8:16")
    vm.remove("dev/sda")
    assert read(vm.machine) == {}


@pytest.mark.parametrize("file", ["dev", "size"])
@pytest.mark.parametrize("text", ["", "x", "-1", "\x00", "9" * 100])
def test_a_file_of_sysfs_that_makes_no_sense_makes_no_device(vm: FakeSysfs, file: str, text: str) -> None:
    vm.block("sda", "8:0", files={file: text})
    assert read(vm.machine) == {}
