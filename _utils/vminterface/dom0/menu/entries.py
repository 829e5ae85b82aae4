"""What dom0's menu shall have of a VM's applications, what it has, and the difference between the two."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from vminterface.errors import printable
from vminterface.values.appmenu import MenuEntries, MenuEntry
from vminterface.values.change import Change

#: Of an application: its texts by their key (``Name``, ``Comment``, …), without what dom0 adds of its own.
Fields = Mapping[str, str]
#: The keys that are compared. An icon is fetched by its name, and what a menu runs is dom0's own.
KEYS = ("Name", "GenericName", "Comment", "StartupWMClass", "Categories")


#: dom0's own entry of a VM, which starts it.
START = "qubes-start"


class Menu(Protocol):
    """dom0's menu."""

    def read(self, vm: str) -> dict[str, Fields]:
        """Return the applications of *vm* that it has, by id. Raises VMInterfaceError."""

    def desired(self, offered: MenuEntries) -> dict[str, Fields]:
        """Return those of what a VM *offered* that it can have, by id."""

    def update(self, vm: str, offered: MenuEntries) -> None:
        """Let it have those that *vm* offers, and no other of its. Raises VMInterfaceError."""


def desired_of(entries: Iterable[MenuEntry]) -> dict[str, Fields]:
    """Return those of *entries* that can be in a menu, by id."""
    return {
        entry.id: {key: entry.values[key] for key in KEYS if key in entry.values}
        for entry in entries
        if entry.complete and entry.id != START
    }


def compare(has: Mapping[str, Fields], desired: Mapping[str, Fields]) -> dict[str, Change[str]]:
    """Return by id what differs: the name that the menu *has*, and the one that is *desired*, None for none.

    Where the names are the same, the other texts that differ are named.
    """
    changes: dict[str, Change[str]] = {}
    for id_ in sorted({*has, *desired}):
        old, new = has.get(id_), desired.get(id_)
        if old is None or new is None:
            changes[id_] = Change(_name(old), _name(new))
        elif other := [key for key in KEYS if old.get(key) != new.get(key)]:
            changes[id_] = Change(_texts(old, other), _texts(new, other))
    return changes


def _texts(fields: Fields, keys: Iterable[str]) -> str:
    return "; ".join(f"{key}: {printable(fields.get(key, ''), 80)}" for key in keys)


def _name(fields: Fields | None) -> str | None:
    return None if fields is None else printable(fields.get("Name", ""), 80)
