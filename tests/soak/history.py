"""What a VM had, when: read from the trace that its agent leaves, and asked whether it ever had what a push reports."""

from __future__ import annotations

import json
import os
from bisect import bisect_right
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.soak.agent import TRACE


class History:
    """What the VM in the folder *root* has had, from the beginning of its trace on."""

    def __init__(self, root: Path) -> None:
        self._file = root / TRACE.lstrip("/")
        self._read = 0
        self._times: list[float] = []
        self._effects: list[Mapping[str, Any]] = []

    def refresh(self) -> None:
        """Take in what was added to the trace since; a line that is being written is left for the next time."""
        try:
            with open(self._file, "rb") as file:
                file.seek(self._read)
                data = file.read()
        except OSError:
            return
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            entry = json.loads(line)
            self.add(entry["at"], entry["effect"])

    def add(self, at: float, effect: Mapping[str, Any]) -> None:
        """Note that the VM had *effect* from *at* on."""
        self._times.append(at)
        self._effects.append(effect)

    def during(self, begin: float, end: float) -> list[Mapping[str, Any]]:
        """Return the effects that the VM had at any moment from *begin* to *end*, in their order."""
        first = max(bisect_right(self._times, begin) - 1, 0)
        return self._effects[first : bisect_right(self._times, end)]

    def had(self, fields: Mapping[str, str], begin: float, end: float) -> list[str]:
        """Return those of *fields* (as a push reports them) that the VM never had from *begin* to *end*."""
        effects = self.during(begin, end)
        return [
            field for field, value in fields.items() if not any(is_held(field, value, effect) for effect in effects)
        ]

    def size(self) -> int:
        """Return how many entries there are."""
        return len(self._times)


def is_held(field: str, value: str, effect: Mapping[str, Any]) -> bool:
    """Whether a VM with *effect* has *value* in *field*; what says nothing of a VM's effect is held."""
    group, _, member = field.partition(":")
    if field == "timezone":
        return value == "default" or bool(effect["timezone"] == value)
    if field == "keyboard":
        # qubesd gives a VM without a layout of its own that of all VMs.
        return effect["keyboard"].rstrip("+") in (("", "us") if value == "default" else (value,))
    if group == "services" and member:
        return (member in effect["services"]) == (value == "on")
    return True


def exists(root: Path) -> bool:
    """Whether the VM in *root* has a trace."""
    return os.path.exists(root / TRACE.lstrip("/"))
