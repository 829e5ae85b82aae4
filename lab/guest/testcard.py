"""Run in a VM: write on each of its monitors which one it is, and save a picture of the whole screen.

``python -m lab.guest.testcard FILE``. The picture is what the X server answers when it is asked for its pixels.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from lab.guest.x11 import Display
from vminterface.vm.handlers.display.xrandr import Screen

#: A monitor's ground by its number, all of them dark enough for what is white on them.
COLOURS = (0x1F4E79, 0x7B3F00, 0x2E5E2A, 0x5B2C6F)
WHITE = 0xFFFFFF
#: Where no monitor is.
NOTHING = 0x000000
_BORDER = 12
_SECONDS = 20.0


def ground(number: int) -> int:
    """Return the colour of the *number*-th monitor."""
    return COLOURS[number % len(COLOURS)]


def main(file: str) -> int:
    """Draw and save."""
    done = subprocess.run(
        ["xrandr", "--prop"], capture_output=True, text=True, timeout=_SECONDS, check=True,
        env={**os.environ, "DISPLAY": ":0"},
    )  # fmt: skip
    shown = [output for output in Screen.parse(done.stdout).monitors if output.geometry is not None]
    with Display() as display:
        display.fill(NOTHING, [(0, 0, *display.size())])
        for number, output in enumerate(shown):
            assert output.geometry is not None
            width, height, x, y = output.geometry
            inside = (x + _BORDER, y + _BORDER, width - 2 * _BORDER, height - 2 * _BORDER)
            display.fill(WHITE, [(x, y, width, height)])
            display.fill(ground(number), [inside])
            label = f"{width}x{height}+{x}+{y}"
            scale = max(1, width * 2 // 3 // (6 * len(label)))
            display.text(WHITE, (x + width // 2, y + height // 2 - 8 * scale), scale, output.name)
            display.text(WHITE, (x + width // 2, y + height // 2 + 8 * scale), scale, label)
        Path(file).write_bytes(display.picture().to_png())
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
