"""What would have to change so that a VM has what its settings say: typed values compared, never texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vminterface import keys
from vminterface.dom0.fields import DEFAULT
from vminterface.dom0.settings import Desired
from vminterface.errors import InvalidValue

#: Before the field of a change that lasts over the VM's restart.
PERSISTENT = "persistent:"


@dataclass(frozen=True, slots=True)
class Change:
    """The text of one field before and after; None where the key does not exist."""

    old: str | None
    new: str | None


def compare(desired: Desired, found: Mapping[str, str], *, channel: str) -> dict[str, Change]:
    """Return the fields of *desired* that differ from the texts *found* on *channel*, by field."""
    changes = {
        field: Change(found.get(field), text)
        for field, text in desired.items()
        if found.get(field) != text and not _same(field, found.get(field), text)
    }
    if channel == "qubesdb" and "keyboard" in found and "keyboard" not in changes:
        # From R4.1 on VMs read the layout alone, and dom0's gui-daemon writes a keymap of its own when it connects.
        changes.pop("keymap", None)
    return changes


def _same(field: str, found: str | None, text: str | None) -> bool:
    """Whether two texts that differ mean the same value (``FE:FF…`` and ``fe:ff…`` are one MAC address)."""
    if found is None or text is None:
        return False
    parse = keys.for_field(field).parse
    try:
        return bool(parse(found) == parse(text))
    except InvalidValue:
        return False


def shown(field: str, text: str | None) -> str:
    """Return *text* of *field* in the pillar's own words, for people."""
    field = field.removeprefix(PERSISTENT)
    if text is None:
        return DEFAULT
    if field == "netvm":
        return text or "none"
    if field.startswith("services:") or field in ("debug", "updateable"):
        return _WORDS.get(text, text)
    return text


_WORDS = {"1": "on", "0": "off", "True": "on", "False": "off"}


def as_changes(changes: Mapping[str, Change]) -> dict[str, dict[str, str]]:
    """Return *changes* as Salt reports them: ``{field: {"old": …, "new": …}}``."""
    return {f: {"old": shown(f, c.old), "new": shown(f, c.new)} for f, c in changes.items()}
