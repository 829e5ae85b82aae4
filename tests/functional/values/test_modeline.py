"""Timings beside those of the program that X.Org has for them."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests.support import seeds
from tests.support.stores import need
from vminterface.values.modeline import Modeline, widths_of_cvt

COMMON = [(640, 480), (800, 600), (1024, 768), (1280, 1024), (1280, 768), (1920, 1080), (2560, 1440), (3840, 2160)]


def cvt(width: int, height: int) -> list[str]:
    text = subprocess.run(["cvt", str(width), str(height)], check=True, capture_output=True, text=True).stdout
    return text.splitlines()[1].split()[2:]


pytestmark = pytest.mark.allow_skip


@pytest.fixture(autouse=True)
def _program() -> None:
    need("" if shutil.which("cvt") else "no cvt (Debian package xcvt)")
    if cvt(640, 480)[2] != "664":
        pytest.skip("this cvt puts the pulse elsewhere than libxcvt up to 0.1.2, whose timings these are")


@pytest.mark.parametrize(("width", "height"), COMMON)
def test_common_sizes_have_the_programs_timings(width: int, height: int) -> None:
    assert Modeline.for_size(width, height).words() == cvt(width, height)


def test_every_width_that_the_program_knows_has_its_timings() -> None:
    numbers = seeds.chance("modelines")
    for _ in range(300):
        width, height = 8 * numbers.randint(1, 1000), numbers.randint(1, 4000)
        assert Modeline.for_size(width, height).words() == cvt(width, height), f"{width}x{height}"


def test_the_widths_that_the_program_may_make_of_another_one_are_known() -> None:
    numbers = seeds.chance("widths of cvt")
    sizes = [(1366, 768), (1360, 768), (1358, 768), (1050, 1680), (900, 1600), (1707, 1067), (1920, 1080)]
    sizes += [(numbers.randint(64, 4000), numbers.randint(64, 4000)) for _ in range(100)]
    for width, height in sizes:
        made = int(cvt(width, height)[1])
        assert made in widths_of_cvt(width, height), f"{width}x{height} becomes {made}"
        assert width in widths_of_cvt(width, height)


def test_another_width_has_the_timings_of_the_next_one_and_is_as_wide_as_asked() -> None:
    ours, its = Modeline.for_size(1366, 768).words(), cvt(1366, 768)
    assert (ours[1], its[1]) == ("1366", "1368")
    assert ours[:1] + ours[2:] == its[:1] + its[2:]
