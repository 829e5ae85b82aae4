"""Timings of a picture of any size: the modeline that X's RandR wants for a new mode.

Source: VESA Coordinated Video Timings 1.1 (no margins, no interlace, normal blanking, 60 Hz), with the roundings of the
X.Org program ``cvt``, whose results these are for every width that is a multiple of 8. Other widths, which CVT does not
know, get the timings of the next multiple with the picture itself as wide as asked: a VM's driver shows any width.
"""

from __future__ import annotations

from dataclasses import dataclass

_CELL = 8  # pixels
_REFRESH = 60.0  # Hz
_V_FRONT_PORCH = 3  # lines
_V_BACK_PORCH = 3  # lines at least
_SYNC_AND_BACK_PORCH = 550.0  # microseconds at least
_SYNC_PERCENT = 8  # of the whole line
_BLANKING_GRADIENT = 300.0
_BLANKING_OFFSET = 30.0
_BLANKING_PERCENT = 20.0  # at least
_CLOCK_STEP = 250  # kHz
#: RandR has 32 bits for a clock in Hz; a screen of an even larger size gets a lower refresh rate.
_CLOCK_LIMIT = 4_294_750  # kHz


@dataclass(frozen=True, slots=True)
class Modeline:
    """*clock* in kHz; horizontal and vertical: displayed, start and end of the sync pulse, total (pixels, lines)."""

    clock: int
    horizontal: tuple[int, int, int, int]
    vertical: tuple[int, int, int, int]

    @classmethod
    def for_size(cls, width: int, height: int) -> Modeline:
        """Return the timings for *width* by *height* pixels."""
        wide = -(-width // _CELL) * _CELL
        sync = _sync_lines(wide, height)
        line = (1_000_000.0 / _REFRESH - _SYNC_AND_BACK_PORCH) / (height + _V_FRONT_PORCH)  # microseconds
        sync_and_porch = max(int(_SYNC_AND_BACK_PORCH / line) + 1, sync + _V_BACK_PORCH)
        blank_percent = max(_BLANKING_OFFSET - _BLANKING_GRADIENT * line / 1000.0, _BLANKING_PERCENT)
        blank = int(wide * blank_percent / (100.0 - blank_percent))
        blank -= blank % (2 * _CELL)
        total = wide + blank
        sync_end = wide + blank // 2
        sync_start = sync_end - total * _SYNC_PERCENT // 100
        sync_start += _CELL - sync_start % _CELL
        clock = min(int(total * 1000.0 / line), _CLOCK_LIMIT)
        bottom = height + _V_FRONT_PORCH
        return cls(
            clock - clock % _CLOCK_STEP,
            (width, sync_start, sync_end, total),
            (height, bottom, bottom + sync, bottom + sync_and_porch),
        )

    def words(self) -> list[str]:
        """Return the timings as ``xrandr --newmode NAME`` takes them."""
        numbers = [str(number) for number in self.horizontal + self.vertical]
        return [f"{self.clock / 1000:.2f}", *numbers, "-hsync", "+vsync"]


def widths_of_cvt(width: int, height: int) -> frozenset[int]:
    """Return the widths in pixels that ``cvt`` may make of *width*: a VM whose handler asks it shows one of them.

    It takes the next multiple of 8, and 1366 for 1360 by 768 (libxcvt 0.1, ``libxcvt.c``).
    """
    wide = -(-width // _CELL) * _CELL
    return frozenset({width, wide, 1366} if (wide, height) == (1360, 768) else {width, wide})


def _sync_lines(width: int, height: int) -> int:
    """Return the length of the vertical pulse, by which a display distinguishes aspect ratios."""
    for lines, step, across, down in ((4, 3, 4, 3), (5, 9, 16, 9), (6, 10, 16, 10), (7, 4, 5, 4), (7, 9, 15, 9)):
        if height % step == 0 and height * across == width * down:
            return lines
    return 10
