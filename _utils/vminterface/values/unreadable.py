"""A key's text that is not a valid value of its field: it equals no value, and is written back as it was."""

from __future__ import annotations

from typing import Final

from vminterface.value import Value


class Unreadable(Value):
    """The *text*, which whoever can write the key chose: shown escaped, never trusted."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text: Final = text

    def render(self) -> str:
        """Return the key's text."""
        return self.text
