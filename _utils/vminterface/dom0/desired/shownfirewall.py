"""A firewall for the admin, apart from the code that makes one: what only shows values reads no more than this."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from vminterface.value import Value


class ShownFirewall(Value):
    """One firewall for the admin: as the pillar would have it, and the texts by name of what holds it."""

    __slots__ = ("keys", "words")

    def __init__(self, words: Any, keys: Mapping[str, str | None]) -> None:
        self.words: Final = words
        self.keys: Final = keys
