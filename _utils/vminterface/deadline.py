"""A point in time by which something must have happened: every wait in this library takes one."""

from __future__ import annotations

from vminterface import runtime
from vminterface.errors import DeadlineExceeded


class Deadline:
    """*seconds*, as messages print them, from the moment it was made, on the monotonic clock.

    A plain class: programs that are started for one call cannot afford the import of ``dataclasses``.
    """

    __slots__ = ("expires", "seconds")

    def __init__(self, expires: float, seconds: float) -> None:
        self.expires = expires
        self.seconds = seconds

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """Return the deadline *seconds* from now."""
        # The rest of a whole second after a few steps is reported as that second.
        return cls(runtime.monotonic() + seconds, round(seconds, 2) or seconds)

    def shorten(self, seconds: float) -> None:
        """Bring the deadline forward to *seconds* from now; never postpone it. Waiting code must check it again."""
        expires = runtime.monotonic() + seconds
        if expires < self.expires:
            self.expires, self.seconds = expires, seconds

    @property
    def remaining(self) -> float:
        """Seconds left, 0.0 when it has passed."""
        return max(0.0, self.expires - runtime.monotonic())

    @property
    def passed(self) -> bool:
        """Whether no time is left."""
        return runtime.monotonic() >= self.expires

    def check(self, what: str) -> float:
        """Return the seconds left, or raise :class:`DeadlineExceeded` saying that *what* gave no answer."""
        left = self.remaining
        if left <= 0.0:
            raise DeadlineExceeded(f"{what}: no reply within {self.seconds:g} s")
        return left
