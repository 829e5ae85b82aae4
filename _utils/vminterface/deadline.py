"""A point in time by which something must have happened: every wait in this library takes one."""

from __future__ import annotations

import time
from dataclasses import dataclass

from vminterface.errors import DeadlineExceeded


@dataclass(frozen=True, slots=True)
class Deadline:
    """*seconds* from the moment it was made, on the monotonic clock."""

    expires: float
    seconds: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """Return the deadline *seconds* from now."""
        return cls(time.monotonic() + seconds, seconds)

    @property
    def remaining(self) -> float:
        """Seconds left, 0.0 when it has passed."""
        return max(0.0, self.expires - time.monotonic())

    @property
    def passed(self) -> bool:
        """Whether no time is left."""
        return time.monotonic() >= self.expires

    def check(self, what: str) -> float:
        """Return the seconds left, or raise :class:`DeadlineExceeded` saying that *what* gave no answer."""
        left = self.remaining
        if left <= 0.0:
            raise DeadlineExceeded(f"{what}: no answer within {self.seconds:g} s")
        return left
