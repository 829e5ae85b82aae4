"""``memory/meminfo``: digits today, six lines in R2 and R3, and what they add up to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vminterface.errors import InvalidValue
from vminterface.values.memory import Meminfo, parse_kb, parse_report, render_kb

LINES = (
    "MemTotal: 400000 kB\nMemFree: 100000 kB\nBuffers: 20000 kB\nCached: 80000 kB\n"
    "SwapTotal: 1000000 kB\nSwapFree: 990000 kB\n"
)


def test_the_old_text_and_the_number_of_one_state_say_the_same() -> None:
    assert Meminfo.parse(LINES).used == 210000
    assert parse_report(LINES) == parse_report("210000") == 210000
    assert render_kb(210000) == "210000"


def test_the_old_text_is_rendered_byte_for_byte() -> None:
    assert Meminfo.parse(LINES).render() == LINES
    assert Meminfo(400000, 100000, 20000, 80000, 1000000, 990000).render() == LINES


@pytest.mark.parametrize("text", ["210000\n", " 210000", "+1", "-1", "", "1.5", "0x10", "1_0", "\u0661", "9" * 16])
def test_a_number_is_digits_alone(text: str) -> None:
    with pytest.raises(InvalidValue, match="digits alone"):
        parse_kb(text)


def test_a_number_that_could_not_be_read_is_not_rendered() -> None:
    with pytest.raises(InvalidValue, match="expected"):
        render_kb(-1)


def test_order_and_other_lines_do_not_matter() -> None:
    shuffled = "SwapCached: 5 kB\nHugePages_Total:       0\n" + "\n".join(reversed(LINES.splitlines()))
    assert Meminfo.parse(shuffled) == Meminfo.parse(LINES)


def test_the_kernels_own_file_is_read() -> None:
    with open("/proc/meminfo") as file:
        assert Meminfo.parse(file.read()).used > 0


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("MemFree: 100000 kB\n", "", "expected a line 'MemFree"),
        ("MemFree: 100000 kB", "MemFree: 100000", "MemFree: 100000' is not the one line 'MemFree: N kB' of a meminfo"),
        ("MemFree: 100000 kB", "MemFree: -1 kB", "MemFree: -1 kB'"),
        ("MemFree: 100000 kB", "MemFree: 400000 kB", "500000 kB are free, buffers or cached, of a total of 400000 kB"),
        ("SwapFree: 990000 kB", "SwapFree: 1000001 kB", "of swap are free"),
        ("Buffers: 20000 kB", "Buffers: 20000 kB\nBuffers: 1 kB", "Buffers: 1 kB'"),
    ],
)
def test_a_text_that_does_not_fit_together_is_refused(old: str, new: str, told: str) -> None:
    with pytest.raises(InvalidValue, match="kB") as caught:
        parse_report(LINES.replace(old, new))
    assert told in str(caught.value)


def test_a_text_without_end_is_not_even_looked_at() -> None:
    with pytest.raises(InvalidValue, match="characters"):
        parse_report(LINES + "x\n" * 4096)


def test_xens_total_replaces_the_kernels() -> None:
    assert Meminfo.parse(LINES).of_total(500000).used == 310000
    with pytest.raises(InvalidValue, match="of a total of 100000 kB"):
        Meminfo.parse(LINES).of_total(100000)


def test_a_number_beyond_all_memory_is_told_with_its_field() -> None:
    with pytest.raises(InvalidValue) as caught:
        Meminfo(10**15, 0, 0, 0, 0, 0)
    assert caught.value.where == "total"


@pytest.mark.parametrize("text", ["0", "007", "9" * 15])
def test_a_number_has_up_to_15_digits(text: str) -> None:
    assert parse_report(text) == int(text)


def test_all_memory_and_all_swap_may_be_free() -> None:
    meminfo = Meminfo(600, 100, 200, 300, 50, 50)
    assert (meminfo.used, meminfo.swap_used) == (0, 0)
    assert Meminfo(10**15 - 1, 0, 0, 0, 0, 0).used == 10**15 - 1


@pytest.mark.parametrize("field", ["total", "free", "buffers", "cached", "swap_total", "swap_free"])
def test_no_field_is_negative(field: str) -> None:
    with pytest.raises(InvalidValue, match="expected 0 to 15 digits") as caught:
        replace(Meminfo.parse(LINES), **{field: -1})
    assert caught.value.where == field


def test_a_text_has_up_to_4096_characters() -> None:
    longest = LINES.ljust(4096, "x")
    assert Meminfo.parse(longest) == Meminfo.parse(LINES)
    with pytest.raises(InvalidValue, match="a text of 4097 characters"):
        Meminfo.parse(longest + "x")


def test_blanks_behind_a_name_do_not_matter_but_before_it_make_another_line() -> None:
    assert Meminfo.parse(LINES.replace("MemFree: ", "MemFree:\t  ")) == Meminfo.parse(LINES)
    with pytest.raises(InvalidValue, match="expected a line 'MemFree: N kB'"):
        Meminfo.parse(LINES.replace("MemFree", " MemFree"))
