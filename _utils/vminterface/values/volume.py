"""Volumes that a running VM can grow into: the input of ``qubes.ResizeDisk``, one word without a line's end.

Source: Qubes core-agent-linux ``qubes.ResizeDisk``, which refuses every other volume, ``volatile`` too.
"""

from __future__ import annotations

import enum

from vminterface.errors import InvalidValue, printable


class Volume(enum.Enum):
    """A volume that the VM's handler can resize."""

    PRIVATE = "private"
    ROOT = "root"

    @classmethod
    def parse(cls, text: str) -> Volume:
        """Read the volume's name. Raises InvalidValue."""
        try:
            return cls(text)
        except ValueError:
            raise InvalidValue(
                f"'{printable(text, 40)}' is no volume that can grow in a running VM (expected private or root)"
            ) from None

    def render(self) -> str:
        """Return the service's input."""
        return self.value
