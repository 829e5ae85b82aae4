"""The applications of this VM: in which folders their desktop files are, and which file has which id.

Sources: freedesktop desktop entry specification 1.5 (ids, precedence) and base directory specification 0.8 (folders).
What ``qubes.GetAppmenus`` lists and what ``qubes.StartApp`` starts comes from here, for both in the same way.
"""

from __future__ import annotations

import os

from vminterface.values.appmenu import LINE_COUNT
from vminterface.vm.machine.machine import Machine
from vminterface.vm.machine.session import account, default_user

TYPE_CHECKING = False  # as the type checker takes it; importing typing would cost each call time
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

SUFFIX = ".desktop"
_DEPTH_LIMIT = 16


def folders(machine: Machine, environment: Mapping[str, str]) -> list[str]:
    """Return the folders of desktop files, the most important first: the user's own, then the system's.

    They are places for the system's calls, below the machine's root. As root, it is the VM's default user whose they
    are.
    """
    found = account(machine, default_user(machine)) if os.geteuid() == 0 else None
    home = found[1] if found else environment.get("HOME", "/nonexistent")
    data = "" if found else environment.get("XDG_DATA_HOME", "")
    others = environment.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share"
    return [
        machine.path(f"{folder.rstrip('/')}/applications")
        for folder in [data or f"{home}/.local/share", *others.split(":")]
        if folder.startswith("/")
    ]


def files(places: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield id and path of each application below the folders *places*: of several files with one id, the first."""
    seen: set[str] = set()
    for place in places:
        for id_, path in _below(place, ""):
            if id_ in seen:
                continue
            # More are more than dom0's menu takes.
            if len(seen) == LINE_COUNT:
                return
            seen.add(id_)
            yield id_, path


def find(places: Iterable[str], id_: str) -> str | None:
    """Return the path of the desktop file with that id, None if there is none."""
    return next((path for found, path in files(places) if found == id_), None)


def _below(folder: str, prefix: str, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Yield id and path of the desktop files below *folder*, in the order of their names."""
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if entry.name.endswith(SUFFIX):
            yield prefix + entry.name.removesuffix(SUFFIX), entry.path
        elif depth < _DEPTH_LIMIT and entry.is_dir(follow_symlinks=False):
            yield from _below(entry.path, f"{prefix}{entry.name}-", depth + 1)
