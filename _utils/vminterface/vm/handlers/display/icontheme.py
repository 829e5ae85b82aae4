"""Icons by their name, in the themes of this machine (freedesktop icon theme specification 0.13)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from vminterface.errors import InvalidValue, KeyNotFound, printable
from vminterface.regex import regex
from vminterface.vm.machine.files import Files

#: Pixels: menus show icons of all sizes, so that a large one is preferred.
SIZE = 512
#: The first of these that is here is searched before all others, and the rest of them before other themes.
_FIRST = ("Humanity", "Adwaita", "gnome", "oxygen")
#: What every program may count on.
_COMMON = "hicolor"
_SUFFIXES = (".png", ".svg", ".xpm")
_NAME = regex(r"[A-Za-z0-9_+][A-Za-z0-9_.+@ -]{0,254}\Z", re.ASCII)
_DEFAULTS = {"Size": "0", "Scale": "1", "Type": "Threshold", "Threshold": "2"}


def find(machine: Files, name: str, environment: Mapping[str, str]) -> str:
    """Return the path of the icon *name* that is nearest to SIZE. Raises InvalidValue, KeyNotFound.

    The suffix of a picture's file is not part of a name, though desktop files have it (as pyxdg takes it).
    """
    if not _NAME.match(name):
        raise InvalidValue(f"'{printable(name, 60)}' is not a valid icon name")
    name = name[:-4] if name.endswith(_SUFFIXES) else name
    folders = [folder for folder in _folders(environment) if machine.is_folder(folder)]
    for stem in _stems(machine, folders):
        if found := _file(machine, f"{stem}/{name}"):
            return found
    raise KeyNotFound(f"no theme has an icon {name}")


def _stems(machine: Files, folders: list[str]) -> Iterator[str]:
    """Yield the folders to search, the best first."""
    there = {name for folder in folders for name in machine.names(folder)}
    seen: set[str] = set()
    preferred = [theme for theme in _FIRST if theme in there and _index(machine, _places(machine, folders, theme))]
    for theme in (*preferred[:1], _COMMON):
        yield from _of_theme(machine, folders, theme, seen)
    yield from (*folders, "/usr/share/pixmaps")
    for theme in (*preferred, *sorted(there)):
        yield from _of_theme(machine, folders, theme, seen)


def _of_theme(machine: Files, folders: list[str], first: str, seen: set[str]) -> Iterator[str]:
    """Yield the folders of a theme and of those that it inherits, without the themes that were *seen* before."""
    waiting = [first]
    while waiting:
        theme = waiting.pop()
        # A theme's file may name anything.
        if theme in seen or "/" in theme or theme.startswith("."):
            continue
        seen.add(theme)
        places = _places(machine, folders, theme)
        groups = _index(machine, places)
        # Not all folders that a theme lists exist; of those that are as near, the first counts.
        for subfolder in _by_distance(groups):
            yield from (f"{place}/{subfolder}" for place in places)
        inherited = groups.get("Icon Theme", {}).get("Inherits", "").replace(";", ",").split(",")
        waiting += reversed([name.strip() for name in inherited if name.strip()])


def _places(machine: Files, folders: list[str], theme: str) -> list[str]:
    return [f"{folder}/{theme}" for folder in folders if machine.is_folder(f"{folder}/{theme}")]


def _folders(environment: Mapping[str, str]) -> list[str]:
    home = environment.get("HOME", "")
    data = environment.get("XDG_DATA_HOME") or f"{home}/.local/share"
    others = (environment.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share").split(":")
    folders = [f"{home}/.icons", f"{data}/icons", *(f"{other.rstrip('/')}/icons" for other in others)]
    return [folder for folder in folders if folder.startswith("/")]


def _file(machine: Files, stem: str) -> str | None:
    return next((stem + suffix for suffix in _SUFFIXES if machine.is_file(stem + suffix)), None)


def _index(machine: Files, places: list[str]) -> dict[str, dict[str, str]]:
    """Return the groups of a theme's first ``index.theme``; none for what is no theme."""
    for place in places:
        text = machine.read_text(f"{place}/index.theme", limit=1 << 20)
        if text is not None:
            break
    else:
        return {}
    groups: dict[str, dict[str, str]] = {}
    group: dict[str, str] = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if line.startswith("[") and "]" in line:
            group = groups.setdefault(line[1 : line.index("]")], {})
        elif equals and not line.startswith("#"):
            group[key.strip()] = value.strip()
    return groups


def _by_distance(groups: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return the theme's folders, those nearest to SIZE first."""
    theme = groups.get("Icon Theme", {})
    listed = f"{theme.get('Directories', '')},{theme.get('ScaledDirectories', '')}".split(",")
    inside = [name.strip() for name in listed if name.strip() in groups and ".." not in name]
    return sorted(inside, key=lambda name: _distance({**_DEFAULTS, **groups[name]}))


def _distance(folder: Mapping[str, str]) -> int:
    """Return by how many pixels the icons of a theme's folder miss SIZE."""

    def number(key: str, otherwise: int) -> int:
        text = folder.get(key, "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else otherwise

    size, scale = number("Size", 0), number("Scale", 1)
    kind = folder["Type"]
    if kind == "Fixed":
        return abs(size * scale - SIZE)
    margin = number("Threshold", 2)
    low, high = (
        (number("MinSize", size), number("MaxSize", size)) if kind == "Scalable" else (size - margin, size + margin)
    )
    return max(low * scale - SIZE, SIZE - high * scale, 0)
