"""How often something may be done that takes its caller's time, as a beacon takes its minion's.

It gets a tenth of that time at most: what took a second is not done again for nine, and what fails, as when a store
hangs, waits longer each time.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Part of the time that is left to others, as a factor; seconds of the first pause after a failure, and of the longest.
OTHERS, FIRST, LONGEST = 9.0, 10.0, 300.0
#: What takes no longer than that, in seconds, costs nobody anything.
_SHORT = 0.2


@dataclass(slots=True)
class Pace:
    """When it may be done next, on the monotonic clock."""

    at: float = 0.0
    #: Seconds of the pause after the next failure.
    pause: float = FIRST

    def may(self, now: float) -> bool:
        """Whether it may be done *now*."""
        return now >= self.at

    def done(self, began: float, now: float) -> None:
        """Note that it was done from *began* to *now*."""
        self.pause = FIRST
        took = now - began
        self.at = now + (min(LONGEST, OTHERS * took) if took > _SHORT else 0.0)

    def failed(self, now: float) -> None:
        """Note that it has failed."""
        self.at = now + self.pause
        self.pause = min(LONGEST, 2 * self.pause)
