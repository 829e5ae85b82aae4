"""The name of a free key of a VM: ``vm-config/NAME`` (Qubes R4.2, core-admin ``qubes/ext/vm_config.py``)."""

from __future__ import annotations

from dataclasses import dataclass

from vminterface.errors import InvalidValue, printable
from vminterface.regex import regex
from vminterface.values import schema

#: What begins so is this program's own.
RESERVED = "vminterface-"
_FORM = regex(r"[A-Za-z][A-Za-z0-9_.-]{0,51}")
#: What :meth:`ConfigName.parse` takes.
SCHEMA = schema.text(_FORM.pattern, not_like=f"^{RESERVED}")


@dataclass(frozen=True, slots=True)
class ConfigName:
    """A name of at most 52 characters, with which the path fits into QubesDB's 63."""

    text: str

    @classmethod
    def parse(cls, text: str) -> ConfigName:
        """Read a name. Raises InvalidValue, also for one of this program's own."""
        if not _FORM.fullmatch(text):
            raise InvalidValue(
                f"'{printable(text, 60)}' is not a valid name of a vm-config key (expected a letter, then letters,"
                f" digits, '_',"
                " '.' or '-', 52 characters at most)"
            )
        if text.startswith(RESERVED):
            raise InvalidValue(f"'{text}' is reserved for vminterface (expected another prefix)")
        return cls(text)

    def render(self) -> str:
        """Return the last part of the key's path."""
        return self.text
