"""How far dom0 has come with writing a push: the text of the key ``vminterface/push``.

Forms: ``writing NUMBER`` before the first key of a push, and ``written NUMBER`` after the last; NUMBER is another one
for each push to that VM. In a store with transactions, where all keys of a push appear at once, there is the second
alone. An agent that reads one number with ``written``, before its keys and after them, has read no half of a push.
The mark is dom0's alone to write; a push that ended in the middle leaves ``writing`` until the next one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from vminterface.errors import InvalidValue, printable
from vminterface.regex import regex

_FORM = regex(r"(writing|written) (0|[1-9][0-9]{0,19})", re.ASCII)


@dataclass(frozen=True, slots=True)
class PushMark:
    """The push with that *number* has begun to write its keys, or has *written* all of them."""

    number: int
    written: bool

    @classmethod
    def parse(cls, text: str) -> PushMark:
        """Read the key's text. Raises InvalidValue."""
        form = _FORM.fullmatch(text)
        if form is None:
            raise InvalidValue(
                f"'{printable(text, 60)}' is not a valid mark of a push (expected 'writing NUMBER' or 'written NUMBER')"
            )
        return cls(int(form[2]), form[1] == "written")

    def render(self) -> str:
        """Return the key's text."""
        return f"{'written' if self.written else 'writing'} {self.number}"
