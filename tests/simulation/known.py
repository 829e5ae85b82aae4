"""Seeds that show what is still open, each with what it is: they are passed over, and missed once they fail no more."""

from __future__ import annotations

#: Why each fails, by seed.
KNOWN: dict[int, str] = {}
