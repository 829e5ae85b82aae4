"""When a VM tells dom0 of its memory, and in which words: the thresholds of Qubes' own writer."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from vminterface.channel.store import KeyStore
from vminterface.errors import InvalidValue, KeyNotFound
from vminterface.vm.machine.machine import Machine
from vminterface.vm.report.memory import (
    CALM_AFTER,
    CALM_PERIOD,
    PERIOD,
    QUIET_AFTER,
    QUIET_PERIOD,
    MemoryReport,
    wants_lines,
)

TOTAL = 1_000_000
CURRENT_KB = "sys/devices/system/xen_memory/xen_memory0/info/current_kb"


class Store:
    """Keeps what is written; ``refused`` keys do not exist."""

    def __init__(self, *refused: str) -> None:
        self.refused = refused
        self.writes: list[tuple[str, str]] = []

    def write(self, path: str, value: bytes) -> None:
        if path in self.refused:
            raise KeyNotFound(path)
        self.writes.append((path, value.decode()))

    def taken(self, path: str = "memory/meminfo") -> list[str]:
        values = [value for written, value in self.writes if written == path]
        self.writes = [pair for pair in self.writes if pair[0] != path]
        return values


@pytest.fixture
def vm(tmp_path: Path) -> Path:
    (tmp_path / "proc").mkdir()
    return tmp_path


def use(vm: Path, used: int, swap: int = 0, total: Any = TOTAL) -> None:
    """Let the kernel say that *used* kB are used, of these *swap* in swap."""
    free = total - (used - swap) - 30_000
    (vm / "proc/meminfo").write_text(
        f"MemTotal:       {total} kB\nMemFree:        {free} kB\nMemAvailable: 1 kB\nBuffers: 10000 kB\n"
        f"Cached: 20000 kB\nSwapCached: 5 kB\nSwapTotal: 500000 kB\nSwapFree: {500_000 - swap} kB\n"
    )


def step(report: MemoryReport, store: Store) -> float:
    return report.step(cast("KeyStore", store))


def reports(vm: Path, *steps: int, **options: Any) -> list[list[str]]:
    """What each of *steps* (used kB) makes the VM write."""
    store, report, found = Store(), None, []
    for used in steps:
        use(vm, used)
        report = report or MemoryReport(Machine(str(vm)), **options)
        step(report, store)
        found.append(store.taken())
    return found


def test_the_first_reading_is_written_as_digits_alone(vm: Path) -> None:
    assert reports(vm, 210_000) == [["210000"]]


def test_a_change_beyond_the_threshold_is_written_either_way(vm: Path) -> None:
    assert reports(vm, 200_000, 230_000, 230_001, 200_001, 200_000) == [["200000"], [], ["230001"], [], ["200000"]]


def test_slow_growth_adds_up(vm: Path) -> None:
    assert [len(each) for each in reports(vm, 200_000, 215_000, 229_000, 231_000)] == [1, 0, 0, 1]


def test_where_memory_is_tight_half_of_the_threshold_of_growth_is_enough(vm: Path) -> None:
    assert reports(vm, 780_000, 795_000, 795_001, 775_001) == [["780000"], [], ["795001"], []]


def test_used_swap_counts_and_has_a_key_of_its_own_written_when_it_changes(vm: Path) -> None:
    store = Store()
    use(vm, 210_000, swap=10_000)
    report = MemoryReport(Machine(str(vm)))
    step(report, store)
    assert store.writes == [("memory/meminfo", "210000"), ("memory/swapinfo", "10000")]
    step(report, store)
    assert len(store.writes) == 2
    use(vm, 210_000, swap=9_000)
    step(report, store)
    assert store.taken("memory/swapinfo") == ["10000", "9000"]


def test_a_dom0_without_the_younger_key_gets_the_other(vm: Path) -> None:
    store = Store("memory/swapinfo")
    use(vm, 210_000)
    step(MemoryReport(Machine(str(vm))), store)
    assert store.taken() == ["210000"]


def test_xens_total_counts_where_the_kernel_tells_it(vm: Path) -> None:
    (vm / CURRENT_KB).parent.mkdir(parents=True)
    (vm / CURRENT_KB).write_text(f"{TOTAL + 50_000}\n")
    assert reports(vm, 210_000) == [["260000"]]
    (vm / CURRENT_KB).write_text("nonsense\n")
    assert reports(vm, 210_000) == [["210000"]]


@pytest.mark.parametrize(
    ("path", "text", "lines"),
    [
        ("etc/qubes-release", "Qubes release 3.2 (R3.2)\n", True),
        ("etc/qubes-release", "Qubes release 2 (R2)\n", True),
        ("etc/qubes-release", "Qubes release 4.2.4 (R4.2.4)\n", False),
        ("usr/share/qubes/marker-vm", "# This file tells that\n4.1\n", False),
        ("etc/other", "R3", False),
    ],
)
def test_r2_and_r3_get_the_old_text_all_others_a_number(vm: Path, path: str, text: str, lines: bool) -> None:
    (vm / path).parent.mkdir(parents=True)
    (vm / path).write_text(text)
    assert wants_lines(Machine(str(vm))) is lines
    ((written,),) = reports(vm, 210_000)
    assert written == (
        "MemTotal: 1000000 kB\nMemFree: 760000 kB\nBuffers: 10000 kB\nCached: 20000 kB\n"
        "SwapTotal: 500000 kB\nSwapFree: 500000 kB\n"
        if lines
        else "210000"
    )


@pytest.mark.parametrize("text", ["", "MemTotal: 1 kB\n", "MemTotal: x kB\n", "\x00\xff"])
def test_numbers_that_do_not_fit_together_are_never_written(vm: Path, text: str) -> None:
    (vm / "proc/meminfo").write_text(text)
    store = Store()
    with pytest.raises(InvalidValue):
        step(MemoryReport(Machine(str(vm))), store)
    assert store.writes == []


def test_it_looks_often_while_memory_moves_and_seldom_when_it_does_not(vm: Path) -> None:
    store = Store()
    use(vm, 200_000)
    report = MemoryReport(Machine(str(vm)))
    assert [step(report, store) for _ in range(QUIET_AFTER + 2)] == [PERIOD] * QUIET_AFTER + [QUIET_PERIOD] * 2
    assert {step(report, store) for _ in range(CALM_AFTER - QUIET_AFTER - 2)} == {QUIET_PERIOD}
    assert [step(report, store) for _ in range(2)] == [CALM_PERIOD] * 2
    use(vm, 203_000)
    assert step(report, store) == PERIOD
