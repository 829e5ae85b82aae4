"""A key's text that is not a valid value of its field: it equals no value, and is written back as it was."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The *text*, which whoever can write the key chose: shown escaped, never trusted."""

    text: str

    def render(self) -> str:
        """Return the key's text."""
        return self.text
