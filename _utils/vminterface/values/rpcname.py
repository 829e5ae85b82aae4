"""Names in a Qubes RPC call: service, argument and target.

Source: Qubes core-qrexec, ``libqrexec/qrexec.h`` (lengths) and ``daemon/qrexec-daemon.c`` (characters). The daemon
turns any other character of a VM's call into ``_`` and would so run another service than the one that was asked
for; here such a name is refused before anything runs.
"""

from __future__ import annotations

import re

from vminterface.errors import InvalidValue, printable, printable_value
from vminterface.regex import regex

#: The name alone, and name, ``+`` and argument together: bytes.
SERVICE_LIMIT = 255
DESCRIPTOR_LIMIT = 65000

_SERVICE = regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z", re.ASCII)
_ARGUMENT = regex(r"[A-Za-z0-9_.+-]*\Z", re.ASCII)
_VM = r"[A-Za-z][A-Za-z0-9_.-]{0,30}"
_TARGET = regex(rf"{_VM}\Z", re.ASCII)
_KEYWORD = regex(rf"@(?:default|adminvm|dispvm(?::{_VM})?)\Z", re.ASCII)


def _check_text(value: object) -> None:
    """Refuse what YAML and command lines may give in place of a text: no pattern would take it."""
    if not isinstance(value, str):
        raise InvalidValue(f"{printable_value(value, 40)} is not text (expected text: quote it)")


def parse_service(text: str) -> str:
    """Return *text* if it may name a service (``qubes.SetMonitorLayout``). Raises InvalidValue."""
    _check_text(text)
    if len(text) > SERVICE_LIMIT or not _SERVICE.match(text):
        raise InvalidValue(
            f"'{printable(text, 80)}' is not a valid service name (expected 1 to {SERVICE_LIMIT} of A-Z a-z 0-9 . _ -)"
        )
    return text


def parse_argument(text: str) -> str:
    """Return *text* if it may be a service's argument; it may be empty. Raises InvalidValue."""
    _check_text(text)
    if len(text) > DESCRIPTOR_LIMIT or not _ARGUMENT.match(text):
        raise InvalidValue(
            f"'{printable(text, 80)}' is not a valid service argument (expected at most {DESCRIPTOR_LIMIT} of A-Z a-z"
            f" 0-9 . _"
            f" - +)"
        )
    return text


def descriptor(service: str, argument: str = "") -> str:
    """Return ``SERVICE+ARGUMENT``, or ``SERVICE`` alone, which every release of Qubes accepts. Raises InvalidValue."""
    joined = parse_service(service)
    if argument != "":
        joined = f"{joined}+{parse_argument(argument)}"
    if len(joined) > DESCRIPTOR_LIMIT:
        raise InvalidValue(f"{service} and its argument have {len(joined)} bytes (expected at most {DESCRIPTOR_LIMIT})")
    return joined


def is_target(text: str) -> bool:
    """Return whether *text* may name a VM that is called."""
    return bool(_TARGET.match(text))


def parse_target(text: str, *, keywords: bool = False) -> str:
    """Return *text* if it may name a VM or, with *keywords*, is ``@default``, ``@adminvm`` or ``@dispvm[:VM]``.

    Keywords mean something to the policy only, so in calls that a VM makes. A stub domain (``VM-dm``) may be
    called, though no VM may have such a name. Raises InvalidValue.
    """
    _check_text(text)
    if is_target(text) or (keywords and _KEYWORD.match(text)):
        return text
    expected = "1 to 31 of A-Z a-z 0-9 . _ -, a letter first" + (
        ", or @default, @adminvm, @dispvm, @dispvm:VM" if keywords else ""
    )
    raise InvalidValue(f"'{printable(str(text), 80)}' is not a valid name of a VM to call (expected {expected})")
