"""Timings of modes: whole lines and pixels in the right order, at every size that a monitor may have."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vminterface.values.modeline import Modeline, widths_of_cvt

#: What ``cvt`` of libxcvt 0.1.2 prints: every aspect ratio that it knows, and sizes where a small error shows.
CVT = """
640x480    23.75 640 664 720 800 480 483 487 500
1024x768   63.50 1024 1072 1176 1328 768 771 775 798
1280x1024  109.00 1280 1368 1496 1712 1024 1027 1034 1063
1800x1080  161.75 1800 1920 2104 2408 1080 1083 1090 1120
1280x800   83.50 1280 1352 1480 1680 800 803 809 831
1920x1200  193.25 1920 2056 2256 2592 1200 1203 1209 1245
1920x1080  173.00 1920 2048 2248 2576 1080 1083 1088 1120
3840x2160  712.75 3840 4160 4576 5312 2160 2163 2168 2237
800x480    29.50 800 824 896 992 480 483 493 500
8192x5120  3666.75 8192 8944 9864 11536 5120 5123 5129 5298
640x696    36.00 640 672 736 832 696 699 709 723
640x2094   114.50 640 696 760 880 2094 2097 2107 2169
640x570    28.25 640 664 720 800 570 573 583 593
648x486    24.50 648 672 728 808 486 489 493 506
864x486    32.50 864 888 968 1072 486 489 494 506
200x100    1.50 200 208 224 248 100 103 113 116
"""


@pytest.mark.parametrize("line", CVT.strip().splitlines())
def test_a_mode_is_that_of_cvt_written_as_xrandr_takes_it(line: str) -> None:
    size, *words = line.split()
    width, height = map(int, size.split("x"))
    assert Modeline.for_size(width, height).words() == [*words, "-hsync", "+vsync"]


def test_a_width_that_cvt_does_not_know_has_the_timings_of_the_next_one_and_is_as_wide_as_asked() -> None:
    odd, known = Modeline.for_size(1366, 768), Modeline.for_size(1368, 768)
    assert odd.horizontal == (1366, *known.horizontal[1:])
    assert (odd.clock, odd.vertical) == (known.clock, known.vertical)


def test_the_largest_sizes_are_refreshed_less_often_than_the_clock_of_randr_would_need() -> None:
    assert Modeline.for_size(16384, 6144).clock == 4_294_750


@pytest.mark.parametrize(
    ("width", "height", "widths"),
    [
        (1920, 1080, {1920}),
        (1361, 1000, {1361, 1368}),
        (1360, 768, {1360, 1366}),
        (1353, 768, {1353, 1360, 1366}),
        (1360, 769, {1360}),
        (1352, 768, {1352}),
    ],
)
def test_cvt_makes_the_next_multiple_of_eight_of_a_width_and_a_panels_of_one_size(
    width: int, height: int, widths: set[int]
) -> None:
    assert widths_of_cvt(width, height) == widths


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
