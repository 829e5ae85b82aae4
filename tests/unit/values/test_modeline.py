"""Timings of modes: whole lines and pixels in the right order, at every size that a monitor may have."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vminterface.values.modeline import Modeline


def test_a_mode_is_written_as_xrandr_takes_it() -> None:
    assert " ".join(Modeline.for_size(1280, 800).words()) == ("83.50 1280 1352 1480 1680 800 803 809 831 -hsync +vsync")


@given(st.integers(200, 16384), st.integers(64, 6144))
def test_every_size_of_a_monitor_has_timings_that_one_could_show(width: int, height: int) -> None:
    mode = Modeline.for_size(width, height)
    assert (mode.horizontal[0], mode.vertical[0]) == (width, height)
    for numbers in (mode.horizontal, mode.vertical):
        shown, start, end, total = numbers
        assert shown < start < end <= total < 2**16
    assert 0 < 1000 * mode.clock < 2**32
    assert mode.clock % 250 == 0


@given(st.integers(1, 16384), st.integers(1, 6144))
def test_every_size_has_timings_that_fit_into_the_protocol(width: int, height: int) -> None:
    mode = Modeline.for_size(width, height)
    assert all(0 < number < 2**16 for number in mode.horizontal + mode.vertical)
    assert 0 <= 1000 * mode.clock < 2**32


@given(st.integers(400, 4096), st.integers(200, 2160))
def test_usual_sizes_are_shown_about_sixty_times_a_second(width: int, height: int) -> None:
    mode = Modeline.for_size(width, height)
    rate = 1000 * mode.clock / mode.horizontal[3] / mode.vertical[3]
    assert 50 < rate < 62
