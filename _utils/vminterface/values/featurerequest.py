"""Requests of a VM to dom0: keys below ``features-request``, which dom0 reads at a call of ``qubes.FeaturesRequest``.

Sources: Qubes core-agent-linux ``qvm-features-request`` (names), core-admin ``qubes/api/misc.py`` (characters of the
values: one that has others makes dom0 drop the whole request).
"""

from __future__ import annotations

import re

from vminterface.errors import InvalidValue, printable
from vminterface.regex import regex

#: The folder of the keys, on either channel.
FOLDER = "features-request"
#: The folder of those that ``qubes.NotifyTools`` looks at (R3, Windows), and their names.
TOOLS_FOLDER = "qubes-tools"
TOOLS = ("qrexec", "gui", "gui-emulated", "default-user", "os")
#: QubesDB's paths have 63 characters at most.
NAME_LIMIT = 63 - len(f"/{FOLDER}/")
VALUE_LIMIT = 3071
_NAME = regex(rf"[A-Za-z0-9_.@:-]{{1,{NAME_LIMIT}}}\Z", re.ASCII)
_VALUE = regex(rf"[A-Za-z0-9.,_= -]{{0,{VALUE_LIMIT}}}\Z", re.ASCII)
_TOOL_VALUE = regex(r"[A-Za-z0-9]{1,255}\Z", re.ASCII)


def check(name: str, value: str) -> None:
    """Raise InvalidValue unless *name* can be asked for with *value*."""
    if not _NAME.match(name):
        raise InvalidValue(
            f"'{printable(name, 80)}' is not a valid feature to ask for"
            f" (expected 1 to {NAME_LIMIT} of A-Z a-z 0-9 . _ - @ :)"
        )
    if not _VALUE.match(value):
        raise InvalidValue(
            f"'{printable(value, 60)}' is not a valid value of the feature {name}"
            f" (expected at most {VALUE_LIMIT} of A-Z a-z 0-9 . , _ = - and blanks)"
        )


def to_xenstore(name: str) -> str | None:
    """Return the key of the feature *name* in the XenStore, whose paths have no dots; None for a name that has no key.

    Ours: only QubesDB has these keys on Qubes.
    """
    return None if "@" in name or ":" in name else name.replace(".", "@")


def from_xenstore(key: str) -> str:
    """Return the name of the feature with that *key* in the XenStore."""
    return key.replace("@", ".")


def check_tool(name: str, value: str) -> None:
    """Raise InvalidValue unless ``qubes.NotifyTools`` takes *value* for *name*."""
    if name not in TOOLS:
        raise InvalidValue(f"'{printable(name, 60)}' is not known to qubes.NotifyTools (expected {', '.join(TOOLS)})")
    if not _TOOL_VALUE.match(value):
        raise InvalidValue(
            f"'{printable(value, 60)}' is not a valid value of {name} (expected 1 to 255 letters and digits)"
        )
