"""Reports as a table: bars of memory to scale, a line for each device, nothing a terminal could trip over."""

from __future__ import annotations

import pytest

from vminterface.dom0.reports.devices import Report, as_data
from vminterface.dom0.reports.table import render, size
from vminterface.values.blockdevice import BlockDevice
from vminterface.values.usbdevice import UsbDevice


def table(*found: Report, columns: int = 80) -> list[str]:
    return render({report.vm: as_data(report) for report in found}, columns).splitlines()


@pytest.mark.parametrize(("used", "filled"), [(0, 0), (100, 9), (200, 18), (400, 36), (900, 36)])
def test_a_bar_shows_the_share_of_memory_that_is_used(used: int, filled: int) -> None:
    (line,) = table(Report("work", 1, used_kb=used * 1024, maximum_kb=400 * 1024))
    assert line.startswith(f"work  [{'#' * filled}{'.' * (36 - filled)}]")
    assert f"{min(100, used // 4)} %" in line


def test_without_a_maximum_there_is_a_number_and_no_bar() -> None:
    assert table(Report("work", 1, used_kb=210000, swap_used_kb=10240)) == ["work  205 MiB, swap 10.0 MiB"]


def test_a_vm_that_says_nothing_is_shown_as_such() -> None:
    (line,) = table(Report("work", 1))
    assert line == "work  does not report its memory"


def test_names_stand_in_one_column_and_devices_and_warnings_on_lines_of_their_own() -> None:
    work = Report("work", 1, used_kb=1024, maximum_kb=2048)
    work.block_devices.append(BlockDevice("sda", "Stick (X)", 15376318464, True, "/dev/sda"))
    work.usb_devices.append(UsbDevice("2-1", "046d:c52b Logi Mouse 7", 2, connected_to="personal"))
    work.warn("block device sdb: no size")
    lines = table(work, Report("a-long-name", 2))
    assert lines[0].startswith("work         [")
    assert lines[1:6] == [
        "  block work:sda             14.3 GiB r  Stick (X)",
        "        id :None",
        "  usb   work:2-1                USB 2    046d:c52b Logi Mouse 7  -> personal",
        "        id 046d:c52b:7:?******",
        "  ! work: block device sdb: no size",
    ]
    assert lines[6] == "a-long-name  does not report its memory"


def test_a_device_without_an_id_or_a_version_is_shown_without() -> None:
    report = Report("work", 1)
    report.usb_devices.append(UsbDevice.parse("2-1_4", {"desc": "Mouse", "interfaces": "zz"}))
    assert table(report)[1:] == ["  usb   work:2-1.4                USB    Mouse"]


def test_parts_that_were_not_asked_for_are_not_shown() -> None:
    data = {"work": as_data(Report("work", 1, used_kb=1024, maximum_kb=2048), ["block_devices"])}
    assert render(data) == "work\n"


@pytest.mark.parametrize("columns", [0, 20, 80, 500])
def test_a_bar_has_ten_to_forty_characters_whatever_the_terminal(columns: int) -> None:
    (line,) = table(Report("work", 1, used_kb=1024, maximum_kb=2048), columns=columns)
    assert 10 <= line.count("#") + line.count(".") - line.count("1.0") - line.count("2.0") <= 40


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (150 * 1024, "150 KiB"),
        (10**12, "931 GiB"),
        (2**80, "1048576 EiB"),
    ],
)
def test_sizes_have_the_unit_that_fits(number: int, shown: str) -> None:
    assert size(number) == shown
