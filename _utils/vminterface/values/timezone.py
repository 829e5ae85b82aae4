"""A time zone by its IANA name: the value of ``qubes-timezone``.

The VM turns the name into a link to a file, so that a name that leads nowhere, or out of the zones' folder, would
silently give UTC or worse. Hence the strict form, and the only access to the file system in this package.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from vminterface.errors import InvalidValue, printable
from vminterface.regex import regex
from vminterface.value import Value
from vminterface.values import schema

ZONES = "/usr/share/zoneinfo"
_LIMIT = 64
_FORM = regex(r"[A-Za-z][A-Za-z0-9+_-]*(?:/[A-Za-z][A-Za-z0-9+_-]*){0,2}")
#: Zone data that is not a zone by a name of its own: links of the system, and whole second copies.
_NOT_ZONES = ("localtime", "posixrules")
_COPIES = ("posix", "right")
#: What :meth:`Timezone.parse` takes, but for what is not installed.
SCHEMA = schema.text(
    _FORM.pattern, most=_LIMIT, not_like=f"^(?:{'|'.join(_NOT_ZONES)})$|^(?:{'|'.join(_COPIES)})(?:/|$)"
)


def zone_is_installed(name: str, folder: str = ZONES) -> bool:
    """Return whether *folder* holds zone data (a TZif file, RFC 8536) under *name*."""
    path = os.path.join(folder, name)
    try:
        # A pipe in that place would block the opening.
        if not os.path.isfile(path):
            return False
        with open(path, "rb") as file:
            return file.read(4) == b"TZif"
    except (OSError, ValueError):
        return False


class Timezone(Value):
    """A zone such as ``Europe/Warsaw`` or ``America/Indiana/Indianapolis``."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name: Final = name

    @classmethod
    def parse(cls, text: str, exists: Callable[[str], bool] = zone_is_installed) -> Timezone:
        """Read a zone's name; *exists* returns whether a well-formed name leads to zone data. Raises InvalidValue."""
        if len(text) > _LIMIT or not _FORM.fullmatch(text):
            raise InvalidValue(
                f"'{printable(text, 60)}' is not a valid time zone name (expected one such as Europe/Warsaw: three"
                f" parts at"
                f" most, of letters, digits, '+', '-' and '_', {_LIMIT} characters in all)"
            )
        if text in _NOT_ZONES or text.split("/")[0] in _COPIES:
            raise InvalidValue(f"'{text}' is zone data but not a time zone name (expected one such as Europe/Warsaw)")
        if not exists(text):
            raise InvalidValue(
                f"there is no time zone '{text}' in this system's zone data (expected one such as Europe/Warsaw)"
            )
        return cls(text)

    def render(self) -> str:
        """Return the key's text."""
        return self.name
