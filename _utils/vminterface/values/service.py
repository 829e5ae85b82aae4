"""One service of a VM as dom0 steers it: the name and the value of ``qubes-service/NAME``.

Three answers: ``1`` switches it on, ``0`` off, and a key that is not there leaves it to the VM's own default.
The name's form is what the VM's start script lets through (others it ignores); its length is dom0's limit, which
keeps the path within QubesDB's 63 bytes.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from vminterface.errors import InvalidValue, printable
from vminterface.values import flags

_LIMIT = 48
_FORM = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_XENSTORE_FORM = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class ServiceName:
    """A service's name, for instance ``cups`` or ``app-dispvm.firefox``."""

    text: str

    @classmethod
    def parse(cls, text: str, xenstore: bool = False) -> ServiceName:
        """Read a name; with *xenstore* refuse one that cannot be a key in XenStore. Raises InvalidValue."""
        if len(text) > _LIMIT or not _FORM.fullmatch(text):
            raise InvalidValue(
                f"'{printable(text, 60)}' is no service name (expected a letter, digit or '_', then those, '.' or '-',"
                f" {_LIMIT} characters at most)"
            )
        name = cls(text)
        if xenstore and not name.fits_xenstore:
            raise InvalidValue(
                f"the service '{text}' cannot be a key in XenStore (expected letters, digits, '-' and '_' alone)"
            )
        return name

    def render(self) -> str:
        """Return the last part of the key's path."""
        return self.text

    @property
    def fits_xenstore(self) -> bool:
        """Whether XenStore, whose paths know no dot, can hold a key of this name."""
        return _XENSTORE_FORM.fullmatch(self.text) is not None


class ServiceState(enum.Enum):
    """What dom0 says of a service."""

    ON = "on"
    OFF = "off"
    #: dom0 says nothing: the key is not there and the VM decides.
    DEFAULT = "default"

    @classmethod
    def from_key(cls, text: str) -> ServiceState:
        """Read the text of a key that exists: exactly ``1`` or ``0``. Raises InvalidValue."""
        return cls.ON if flags.parse_one_zero(text) else cls.OFF

    @classmethod
    def from_word(cls, word: str | int) -> ServiceState:
        """Read what an admin writes: ``default``, or a yes or no as in :func:`flags.from_word`. Raises InvalidValue."""
        if isinstance(word, str) and word.lower() == "default":
            return cls.DEFAULT
        try:
            return cls.ON if flags.from_word(word) else cls.OFF
        except InvalidValue:
            raise InvalidValue(
                f"{flags.found(word)} is no service's state (expected 'on', 'off' or 'default')"
            ) from None

    def key_text(self) -> str | None:
        """Return the key's text, None where the key is to be removed."""
        return {ServiceState.ON: "1", ServiceState.OFF: "0", ServiceState.DEFAULT: None}[self]

    def word(self) -> str:
        """Return ``on``, ``off`` or ``default``."""
        return self.value
