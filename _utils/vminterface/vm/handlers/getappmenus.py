"""``qubes.GetAppmenus``: tell dom0 the applications of this VM, for its menu.

No input. Output: ``ID.desktop:KEY=VALUE`` in lines, an empty line after each application; what dom0 would refuse is
left out. After Qubes core-agent-linux's ``qubes.GetAppmenus``; the files are those of the freedesktop desktop entry
specification 1.5 in the folders of its base directory specification 0.8.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from vminterface.errors import VMInterfaceError
from vminterface.values.appmenu import LINE_COUNT, MenuEntry, render
from vminterface.values.persistence import Persistence
from vminterface.vm.handlers.call import Call
from vminterface.vm.handlers.session import account, default_user
from vminterface.vm.machine import Machine
from vminterface.vm.regularfile import open_regular, read_at_most

#: The VM's start leaves one of these: which volumes survive its shutdown. Applications on the others are not told.
PERSISTENCE = "/run/qubes/persistent-{}"
#: Bytes of a desktop file that are looked at.
_FILE_LIMIT = 65536
_DEPTH_LIMIT = 16
#: Applications that are left out and named; more are only counted.
_NAMED = 5
_SUFFIX = ".desktop"
_GROUP = b"[Desktop Entry]"
_KEYS = frozenset((b"Name", b"GenericName", b"Comment", b"StartupWMClass", b"Categories", b"Exec", b"Icon"))
_SAVERS = "Screensaver;"


def handle(call: Call) -> None:
    """Answer with all applications. Raises InvalidValue (an argument)."""
    call.refuse_argument()
    folders = _folders(call.machine, os.environ)
    rendered = render(_entries(folders))
    call.write(rendered.answer)
    if rendered.left_out:
        call.note(_left_out(rendered.left_out))


def _left_out(applications: tuple[str, ...]) -> str:
    """Return one line that names some of the applications that dom0 is not given, and how many there are."""
    more = len(applications) - _NAMED
    return f"left out: {'; '.join(applications[:_NAMED])}{f'; and {more} more' if more > 0 else ''}"


def _folders(machine: Machine, environment: Mapping[str, str]) -> list[str]:
    """Return the folders of desktop files whose content survives the VM's shutdown, the most important first."""
    found = account(machine, default_user(machine)) if os.geteuid() == 0 else None
    home = found[1] if found else environment.get("HOME", "/nonexistent")
    data = "" if found else environment.get("XDG_DATA_HOME", "")
    others = environment.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share"
    folders = [
        machine.path(f"{folder.rstrip('/')}/applications")
        for folder in [data or f"{home}/.local/share", *others.split(":")]
        if folder.startswith("/")
    ]
    persistence = next((p for p in Persistence if machine.exists(PERSISTENCE.format(p.value))), Persistence.FULL)
    if persistence is Persistence.FULL:
        return folders
    device = _device(machine.path("/rw")) if persistence is Persistence.RW_ONLY else None
    return [folder for folder in folders if device is not None and _device(folder) == device]


def _device(path: str) -> int | None:
    try:
        return os.stat(path).st_dev
    except OSError:
        return None


def _entries(folders: list[str]) -> Iterator[MenuEntry]:
    """Yield the applications; of several files with one ID the first counts, even where it says to show nothing."""
    seen: set[str] = set()
    for folder in folders:
        for id_, path in _files(folder, ""):
            if id_ in seen:
                continue
            # More are more than dom0's menu takes.
            if len(seen) == LINE_COUNT:
                return
            seen.add(id_)
            if values := _read(path, id_):
                yield MenuEntry(id_, values)


def _files(folder: str, prefix: str, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Yield ID and path of the desktop files below *folder*, in the order of their names."""
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if entry.name.endswith(_SUFFIX):
            yield prefix + entry.name.removesuffix(_SUFFIX), entry.path
        elif depth < _DEPTH_LIMIT and entry.is_dir(follow_symlinks=False):
            yield from _files(entry.path, f"{prefix}{entry.name}-", depth + 1)


def _read(path: str, id_: str) -> dict[str, str] | None:
    """Return the values of a desktop file by their keys; None for one that is not to be shown, or cannot be read."""
    try:
        descriptor = open_regular(path, path)
        try:
            data = read_at_most(descriptor, _FILE_LIMIT)
        finally:
            os.close(descriptor)
    except (OSError, VMInterfaceError):
        return None
    values: dict[str, str] = {}
    inside = False
    for line in data.split(b"\n"):
        if line.startswith(b"["):
            if inside:
                break
            inside = line.rstrip() == _GROUP
            continue
        if not inside:
            continue
        key, equals, value = line.partition(b"=")
        key = key.strip()
        if not equals:
            continue
        if key in _KEYS:
            values[key.decode("ascii")] = value.strip().decode("utf-8", "replace")
        elif key in (b"NoDisplay", b"Hidden") and value.strip() == b"true":
            return None
    if values.get("Categories") == _SAVERS:
        return None
    if "Exec" in values:
        values["Exec"] = f"qubes-desktop-run {id_}{_SUFFIX}"
    return values
