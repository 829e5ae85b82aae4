"""What an agent says of itself while it is in work: the text of the key ``vminterface/agent``.

Three words or more, one space between: the protocol's number (1), the agent's version, the settings that it
applies and acknowledges. dom0 waits for no acknowledgement that is not promised here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from vminterface.errors import InvalidValue, printable

PROTOCOL = 1
_FORM = re.compile(r"1 [0-9A-Za-z.+-]{1,32}(?: [a-z_]{1,32}){0,32}\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Announcement:
    """An agent of *version* is in work and acknowledges *settings*."""

    version: str
    settings: frozenset[str]

    @classmethod
    def parse(cls, untrusted_text: str) -> Announcement:
        """Read what the VM wrote. Raises InvalidValue."""
        if len(untrusted_text) > 1200 or not _FORM.match(untrusted_text):
            raise InvalidValue(
                f"'{printable(untrusted_text, 80)}' is no agent's announcement"
                f" (expected '{PROTOCOL} VERSION SETTING...')"
            )
        _protocol, version, *settings = untrusted_text.split(" ")
        return cls(version, frozenset(settings))

    def render(self) -> str:
        """Return the key's text."""
        return " ".join([str(PROTOCOL), self.version, *sorted(self.settings)])
