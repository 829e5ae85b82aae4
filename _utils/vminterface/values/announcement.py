"""The announcement of a running agent: the text of the key ``vminterface/agent``.

Three words or more, one space between: the protocol's number (1), the agent's version, the settings that it
applies and acknowledges. dom0 waits for no acknowledgement that is not promised here. A setting that the VM's owner
does not accept is ``ignored_SETTING`` or ``unaccepted_SETTING``: an older dom0 takes that for one that it does not
know, and reports that nobody in the VM applies SETTING.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from vminterface.errors import InvalidValue, printable
from vminterface.regex import regex
from vminterface.value import Value
from vminterface.values.acceptance import IGNORE, REFUSE

PROTOCOL = 1
_FORM = regex(r"1 [0-9A-Za-z.+-]{1,32}(?: [a-z_]{1,32}){0,32}\Z", re.ASCII)
#: What stands before a setting that the VM's owner does not accept, by what the owner says.
_PREFIXES = {IGNORE: "ignored_", REFUSE: "unaccepted_"}


class Announcement(Value):
    """An agent of *version* is in work and acknowledges *settings*.

    *unaccepted* is IGNORE or REFUSE for each setting that the VM's owner does not let it apply.
    """

    __slots__ = ("settings", "unaccepted", "version")

    def __init__(self, version: str, settings: frozenset[str], unaccepted: Mapping[str, str] | None = None) -> None:
        self.version: Final = version
        self.settings: Final = settings
        self.unaccepted: Final[Mapping[str, str]] = unaccepted or {}

    @classmethod
    def parse(cls, untrusted_text: str) -> Announcement:
        """Read what the VM wrote. Raises InvalidValue."""
        if len(untrusted_text) > 1200 or not _FORM.match(untrusted_text):
            raise InvalidValue(
                f"'{printable(untrusted_text, 80)}' is not a valid announcement of an agent"
                f" (expected '{PROTOCOL} VERSION SETTING...')"
            )
        _protocol, version, *words = untrusted_text.split(" ")
        unaccepted = {
            word.removeprefix(prefix): owner
            for owner, prefix in _PREFIXES.items()
            for word in words
            if word.startswith(prefix)
        }
        marked = {word for word in words if word.startswith(tuple(_PREFIXES.values()))}
        return cls(version, frozenset(words) - marked - unaccepted.keys(), unaccepted)

    def render(self) -> str:
        """Return the key's text."""
        marked = [f"{_PREFIXES[owner]}{setting}" for setting, owner in self.unaccepted.items()]
        return " ".join([str(PROTOCOL), self.version, *sorted([*self.settings, *marked])])
