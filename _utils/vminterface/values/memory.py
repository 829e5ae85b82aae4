"""How much memory a VM uses, as ``memory/meminfo`` reports it: a number (R4) or six lines of ``/proc/meminfo`` (R2,
R3).

Sources: Qubes linux-utils ``meminfo-writer.c`` (writer), core-admin ``qmemman`` (reader). Swap in use counts as used
memory. Today's reader takes digits alone, not even a newline; whoever writes anything else is not balanced.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace

from vminterface.errors import InvalidValue, printable
from vminterface.regex import regex

#: A longer text is refused unread. ``/proc/meminfo`` itself has about 1500 bytes.
TEXT_LIMIT = 4096
_NUMBER = regex(r"[0-9]{1,15}")
_LINE = regex(r"^(MemTotal|MemFree|Buffers|Cached|SwapTotal|SwapFree):[ \t]*([^\n]*)$", re.MULTILINE)
_KB = regex(r"([0-9]{1,15}) kB")
_FIELDS = {
    "MemTotal": "total",
    "MemFree": "free",
    "Buffers": "buffers",
    "Cached": "cached",
    "SwapTotal": "swap_total",
    "SwapFree": "swap_free",
}


def parse_kb(text: str) -> int:
    """Read a number of kB: digits alone, 15 at most. Raises InvalidValue."""
    if not _NUMBER.fullmatch(text):
        raise InvalidValue(f"'{printable(text, 60)}' is not a valid number of kB (expected digits alone, 15 at most)")
    return int(text)


def render_kb(used: int) -> str:
    """Return a number of kB as digits, without a newline. Raises InvalidValue for what :func:`parse_kb` refuses."""
    parse_kb(str(used))
    return str(used)


@dataclass(frozen=True, slots=True)
class Meminfo:
    """Six numbers of ``/proc/meminfo``, in kB, that fit together. Raises InvalidValue."""

    total: int
    free: int
    buffers: int
    cached: int
    swap_total: int
    swap_free: int

    def __post_init__(self) -> None:
        for field in fields(self):
            if not 0 <= getattr(self, field.name) < 10**15:
                raise InvalidValue("is not a valid number of kB (expected 0 to 15 digits)", field.name)
        unused = self.free + self.buffers + self.cached
        if self.total < unused:
            raise InvalidValue(f"{unused} kB are free, buffers or cached, of a total of {self.total} kB")
        if self.swap_total < self.swap_free:
            raise InvalidValue(f"{self.swap_free} kB of swap are free, of a total of {self.swap_total} kB")

    @classmethod
    def parse(cls, text: str) -> Meminfo:
        """Read lines ``Field: N kB``: each of the six once, in any order; other lines do not matter.

        ``/proc/meminfo`` is such a text. Raises InvalidValue.
        """
        if len(text) > TEXT_LIMIT:
            raise InvalidValue(
                f"a text of {len(text)} characters is not a valid meminfo (expected at most {TEXT_LIMIT})"
            )
        found: dict[str, int] = {}
        for line in _LINE.finditer(text):
            number = _KB.fullmatch(line[2])
            if number is None or _FIELDS[line[1]] in found:
                raise InvalidValue(f"'{printable(line[0], 60)}' is not the one line '{line[1]}: N kB' of a meminfo")
            found[_FIELDS[line[1]]] = int(number[1])
        if missing := [name for name, field in _FIELDS.items() if field not in found]:
            raise InvalidValue(f"'{printable(text, 60)}' is not a valid meminfo (expected a line '{missing[0]}: N kB')")
        return cls(**found)

    def render(self) -> str:
        """Return the six lines of R2 and R3, in the order of that writer."""
        return "".join(f"{name}: {getattr(self, field)} kB\n" for name, field in _FIELDS.items())

    def of_total(self, total: int) -> Meminfo:
        """Return the same with another total: what Xen gave to the VM, of which its kernel counts only a part."""
        return replace(self, total=total)

    @property
    def used(self) -> int:
        """Used memory in kB, used swap included."""
        return self.total - self.buffers - self.cached - self.free + self.swap_used

    @property
    def swap_used(self) -> int:
        """Used swap in kB."""
        return self.swap_total - self.swap_free


def parse_report(untrusted_text: str) -> int:
    """Read ``memory/meminfo`` as any release writes it and return the used memory in kB. Raises InvalidValue."""
    if "\n" in untrusted_text:
        return Meminfo.parse(untrusted_text).used
    return parse_kb(untrusted_text)
