"""Regular expressions that are compiled when they are first used.

Python compiles them anew at each start of a program, which takes longer than all that most programs use them for.
"""

from __future__ import annotations

import re
from typing import Any, AnyStr, cast


class _Uncompiled:
    """Has what :class:`re.Pattern` has, from the first use on."""

    def __init__(self, pattern: str | bytes, flags: int) -> None:
        self.pattern = pattern
        self.flags = flags

    def __getattr__(self, name: str) -> Any:
        # Python asks only for what is not there yet. From now on it is, so that a second use costs nothing.
        found = getattr(re.compile(self.pattern, self.flags), name)
        setattr(self, name, found)
        return found


def regex(pattern: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
    """Return what stands for the compiled *pattern*; its first use raises re.error where *pattern* is none."""
    return cast("re.Pattern[AnyStr]", _Uncompiled(pattern, flags))
