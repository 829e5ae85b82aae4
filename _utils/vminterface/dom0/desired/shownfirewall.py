"""A firewall for the admin, apart from the code that makes one: what only shows values reads no more than this."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ShownFirewall:
    """One firewall for the admin: as the pillar would have it, and the texts by name of what holds it."""

    words: Any
    keys: Mapping[str, str | None]
