"""How a full-virtualised VM shows its desktop: the input of ``qubes.SetGuiMode``, one word without a line's end.

Source: Qubes core-agent-windows ``set-gui-mode``.
"""

from __future__ import annotations

import enum

from vminterface.errors import InvalidValue, printable


class GuiMode(enum.Enum):
    """One window with the whole desktop, or a window for each of the VM's windows."""

    FULLSCREEN = "FULLSCREEN"
    SEAMLESS = "SEAMLESS"

    @classmethod
    def parse(cls, text: str) -> GuiMode:
        """Read the word, in capitals. Raises InvalidValue."""
        try:
            return cls(text)
        except ValueError:
            raise InvalidValue(
                f"'{printable(text, 40)}' is not a valid GUI mode (expected FULLSCREEN or SEAMLESS)"
            ) from None

    def render(self) -> str:
        """Return the service's input."""
        return self.value
