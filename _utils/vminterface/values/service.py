"""One service of a VM as dom0 steers it: the name and the value of ``qubes-service/NAME``.

Three answers: ``1`` switches it on, ``0`` off, and a key that is not there leaves it to the VM's own default.
The name's form is what the VM's start script lets through (others it ignores); its length is dom0's limit, which
keeps the path within QubesDB's 63 bytes. Longer names has ``app-dispvm.ID`` alone: where it is on, the key
``hash-app-dispvm/HASH`` holds the application's ID (core-admin, extension ``services``).
"""

from __future__ import annotations

import enum
import re
from typing import ClassVar, Final

from vminterface.errors import InvalidValue, printable
from vminterface.regex import regex
from vminterface.value import Value
from vminterface.values import flags, schema

_LIMIT = 48
_APP = "app-dispvm."
#: What leaves room for ``service.`` in the name of a feature.
_LONGEST = 247
_FORM = regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class ServiceName(Value):
    """A service's name, for instance ``cups`` or ``app-dispvm.firefox``."""

    SCHEMA: ClassVar[schema.Schema] = schema.any_of(
        schema.text(_FORM.pattern, most=_LIMIT),
        schema.text(re.escape(_APP).replace(r"\-", "-") + r"[A-Za-z0-9_.-]*", most=_LONGEST),
    )

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text: Final = text

    @classmethod
    def parse(cls, text: str) -> ServiceName:
        """Read a name. Raises InvalidValue."""
        if len(text) > (_LONGEST if text.startswith(_APP) else _LIMIT) or not _FORM.fullmatch(text):
            raise InvalidValue(
                f"'{printable(text, 60)}' is not a valid service name (expected a letter, digit or '_', then those,"
                f" '.' or '-',"
                f" {_LIMIT} characters at most, {_LONGEST} if it begins with '{_APP}')"
            )
        return cls(text)

    def render(self) -> str:
        """Return the last part of the key's path."""
        return self.text


def hashed_app(name: str) -> str:
    """Return the application's ID in the service *name* that is too long for a key of its own; empty for others."""
    return name.removeprefix(_APP) if len(name) > _LIMIT and name.startswith(_APP) else ""


def hash_of(app: str) -> str:
    """Return what stands for the application's ID *app* in the name of a key."""
    import base64  # here, as the VM's agent reads this file too
    import hashlib

    digest = hashlib.sha256(app.encode("utf-8", "surrogateescape")).digest()
    return base64.urlsafe_b64encode(digest).decode("ascii").rstrip("=")


def of_hash(untrusted_hash: str, untrusted_app: str) -> str:
    """Return the service whose key has that hash and holds that ID; empty where they do not fit, or the name is short.

    A short one has ``qubes-service/NAME`` too, which counts.
    """
    name = _APP + untrusted_app
    return name if hashed_app(name) and hash_of(untrusted_app) == untrusted_hash else ""


#: What :meth:`ServiceState.from_word` takes.
STATE_SCHEMA = schema.any_of(flags.SCHEMA, schema.one_of("default"), schema.text(schema.any_case(["default"])))


class ServiceState(enum.Enum):
    """The state of a service that dom0 sets."""

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
                f"{flags.found(word)} is not a valid state of a service (expected 'on', 'off' or 'default')"
            ) from None

    def render(self) -> str:
        """Return the key's text; a default has no key, hence none."""
        return {ServiceState.ON: "1", ServiceState.OFF: "0"}[self]

    def word(self) -> str:
        """Return ``on``, ``off`` or ``default``."""
        return self.value
