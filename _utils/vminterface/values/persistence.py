"""Which of a VM's volumes survive its shutdown: the value of ``qubes-vm-persistence`` (R3 and later)."""

from __future__ import annotations

import enum

from vminterface.errors import InvalidValue, printable


class Persistence(enum.Enum):
    """The words that dom0 writes and that the VM's start script knows; any other makes that script fail."""

    #: The root volume is kept: templates and standalone VMs.
    FULL = "full"
    #: The private volume alone is kept: VMs based on a template.
    RW_ONLY = "rw-only"
    #: Nothing is kept: disposables.
    NONE = "none"

    @classmethod
    def parse(cls, text: str) -> Persistence:
        """Read the key's text. Raises InvalidValue."""
        try:
            return cls(text)
        except ValueError:
            raise InvalidValue(
                f"'{printable(text, 60)}' is not a valid persistence (expected 'full', 'rw-only' or 'none')"
            ) from None

    def render(self) -> str:
        """Return the key's text."""
        return self.value
