"""How much memory a VM gets on Qubes, properties ``memory`` and ``maxmem``: whole MiB, as ``qvm-prefs`` has them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from vminterface.errors import InvalidValue, digits, printable_value
from vminterface.regex import regex
from vminterface.values import schema

_FORM = regex(r"(0|[1-9][0-9]{0,7})(?: ?([MGT])iB)?", re.ASCII)
_SHIFTS = {None: 0, "M": 0, "G": 10, "T": 20}
#: 16 TiB, the most that Xen gives a domain; qubesd itself has no limit, and a VM with more does not start.
_MOST = 16 << 20
#: What :meth:`MemorySize.parse` takes, without zero and with it.
SCHEMA = schema.any_of(schema.number(1, _MOST), schema.text(_FORM.pattern, not_like="^0"))
ZERO_TOO = schema.any_of(schema.number(0, _MOST), schema.text(_FORM.pattern))


@dataclass(frozen=True, slots=True, order=True)
class MemorySize:
    """A number of MiB; 0 is for ``maxmem`` alone, where it means that qubesd does not balance the VM's memory."""

    mib: int

    @classmethod
    def parse(cls, value: object, *, zero: bool = False) -> MemorySize:
        """Read a number of MiB, or text such as ``4GiB``; 0 with *zero* alone. Raises InvalidValue.

        ``4G`` is refused: some programs mean powers of 1000 by it.
        """
        text = digits(value) if type(value) is int else value
        found = _FORM.fullmatch(text) if isinstance(text, str) else None
        mib = int(found[1]) << _SHIFTS[found[2]] if found else -1
        if not (0 if zero else 1) <= mib <= _MOST:
            raise InvalidValue(
                f"'{printable_value(value, 40)}' is not a valid memory size (expected MiB, or a number with MiB, GiB or"
                f" TiB, as in 4GiB; {'0 or ' if zero else ''}1 MiB to 16 TiB)"
            )
        return cls(mib)

    def render(self) -> str:
        """Return the property's text."""
        return str(self.mib)

    def __str__(self) -> str:
        return self.render()
