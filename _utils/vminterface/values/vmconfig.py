"""The name of a free key of a VM: ``vm-config/NAME`` (Qubes R4.2, core-admin ``qubes/ext/vm_config.py``)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from vminterface.errors import InvalidValue, printable

#: What begins so is this program's own.
RESERVED = "vminterface-"
_FORM = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,51}")


@dataclass(frozen=True, slots=True)
class ConfigName:
    """A name of at most 52 characters, with which the path fits into QubesDB's 63."""

    text: str

    @classmethod
    def parse(cls, text: str) -> ConfigName:
        """Read a name. Raises InvalidValue, also for one of this program's own."""
        if not _FORM.fullmatch(text):
            raise InvalidValue(
                f"'{printable(text, 60)}' is no name of a vm-config key (expected a letter, then letters, digits, '_',"
                " '.' or '-', 52 characters at most)"
            )
        if text.startswith(RESERVED):
            raise InvalidValue(f"'{text}' is a key of vminterface itself (expected another beginning)")
        return cls(text)

    def render(self) -> str:
        """Return the last part of the key's path."""
        return self.text

    @property
    def fits_xenstore(self) -> bool:
        """Whether XenStore, whose paths know no dot, can hold a key of this name."""
        return "." not in self.text
