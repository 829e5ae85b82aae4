"""A point in time by which something must have happened: every wait in this library takes one."""

from __future__ import annotations

from vminterface import runtime
from vminterface.errors import DeadlineExceeded


class Deadline:
    """*seconds*, as messages print them, from the moment it was made, on the monotonic clock.

    A plain class: programs that are started for one call cannot afford the import of ``dataclasses``.
    """

    __slots__ = ("_seconds", "expires")

    def __init__(self, expires: float, seconds: float) -> None:
        self.expires = expires
        self._seconds = seconds

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """Return the deadline *seconds* from now."""
        return cls(runtime.monotonic() + seconds, seconds)

    @property
    def seconds(self) -> float:
        """The time that there was, to the hundredth: the rest of a whole second after a few steps is that second."""
        # Rounded when a message needs it, which few of the many deadlines ever come to.
        return round(self._seconds, 2) or self._seconds

    def shorten(self, seconds: float) -> None:
        """Bring the deadline forward to *seconds* from now; never postpone it. Waiting code must check it again."""
        expires = runtime.monotonic() + seconds
        if expires < self.expires:
            self.expires, self._seconds = expires, seconds

    @property
    def remaining(self) -> float:
        """Seconds left, 0.0 when it has passed."""
        left = self.expires - runtime.monotonic()
        return left if left > 0.0 else 0.0

    @property
    def passed(self) -> bool:
        """Whether no time is left."""
        return runtime.monotonic() >= self.expires

    def check(self, what: str) -> float:
        """Return the seconds left, or raise :class:`DeadlineExceeded` saying that *what* gave no answer."""
        left = self.expires - runtime.monotonic()
        if left <= 0.0:
            raise DeadlineExceeded(f"{what}: no reply within {self.seconds:g} s")
        return left
