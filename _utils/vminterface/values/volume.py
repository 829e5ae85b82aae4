"""Volumes that a running VM can grow into: the input of ``qubes.ResizeDisk``, one word without a line's end.

Source: Qubes core-agent-linux ``qubes.ResizeDisk``, which refuses every other volume, ``volatile`` too.
"""

from __future__ import annotations

import enum
import re

from vminterface.errors import InvalidValue, digits, printable, printable_value
from vminterface.regex import regex

_SIZE = regex(r"([1-9][0-9]{0,17})(?: ?([KMGT])iB)?\Z", re.ASCII)
#: A mebibyte at least, and what qubesd takes at most.
_SIZE_MIN, _SIZE_MAX = 1 << 20, (1 << 63) - 1


def parse_size(value: object) -> int:
    """Return a volume's size in bytes: a number of them, or text such as ``20GiB``. Raises InvalidValue.

    ``20G`` is refused: some programs mean powers of 1000 by it.
    """
    text = digits(value) if type(value) is int else value
    found = _SIZE.match(text) if isinstance(text, str) else None
    size = int(found[1]) << {"K": 10, "M": 20, "G": 30, "T": 40, None: 0}[found[2]] if found else 0
    if not _SIZE_MIN <= size <= _SIZE_MAX:
        raise InvalidValue(
            f"'{printable_value(value, 40)}' is not a volume's size (expected bytes, or a number with KiB, MiB, GiB or"
            " TiB, as in 20GiB; 1MiB at least)"
        )
    return size


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
                f"'{printable(text, 40)}' is not a volume that can grow in a running VM (expected private or root)"
            ) from None

    def render(self) -> str:
        """Return the service's input."""
        return self.value
