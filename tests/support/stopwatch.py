"""How long something takes on a machine that may be busy with other tests: bounds are tight where it is not."""

from __future__ import annotations

import os
import time

_PRESSURE = "/proc/pressure/cpu"


def _stalled() -> float | None:
    """Return the seconds for which, since the machine started, some process has waited for a processor.

    None where the kernel does not count them.
    """
    try:
        with open(_PRESSURE) as file:
            return int(file.readline().rpartition("total=")[2]) / 1e6
    except (OSError, ValueError):
        return None


class Stopwatch:
    """Runs since it was made."""

    def __init__(self) -> None:
        self._stalled = _stalled()
        self._began = time.monotonic()

    def check(self, most: float, least: float = 0.0) -> None:
        """Fail unless it has taken from *least* to *most* seconds.

        Where processes had to wait for a processor meanwhile, that time is not counted; but five times *most*, and five
        seconds, is too long on every machine.
        """
        took = time.monotonic() - self._began
        assert took > least, f"took {took:.2f} s (expected more than {least:g} s)"
        if took < most:
            return
        now = _stalled()
        if now is None or self._stalled is None:
            waited = took if os.getloadavg()[0] > (os.cpu_count() or 1) else 0.0
        else:
            waited = now - self._stalled
        late = f"took {took:.2f} s (expected {most:g} s at most, and the {waited:.2f} s for which processors were busy)"
        assert took - waited < most, late
        assert took < 5 * most + 5, late
