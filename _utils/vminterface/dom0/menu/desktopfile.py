"""Desktop files of dom0's menu, read within bounds (freedesktop desktop entry specification 1.5)."""

from __future__ import annotations

import os

from vminterface.dom0.transfer.wholefile import FileError
from vminterface.values.appmenu import LINE_COUNT

SUFFIX = ".desktop"
#: Bytes of a file: each of its texts came in a line of 1024.
_LIMIT = 65536
_GROUP = "[Desktop Entry]"


def names(folder: str) -> list[str]:
    """Return the sorted names of the desktop files in *folder*; none if it does not exist. Raises FileError."""
    try:
        with os.scandir(folder) as listing:
            found = [one.name for one in listing if one.name.endswith(SUFFIX) and one.is_file(follow_symlinks=False)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise FileError.at(folder, error) from error
    return sorted(found)[:LINE_COUNT]


def read(path: str) -> dict[str, str]:
    """Return the values of the file's one group, by key; empty if it is gone. Raises FileError."""
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK | os.O_NOFOLLOW)) as file:
            text = file.read(_LIMIT).decode("utf-8", "replace")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise FileError.at(path, error) from error
    values: dict[str, str] = {}
    inside = False
    for line in text.split("\n"):
        if line.startswith("["):
            inside = line.rstrip() == _GROUP
        elif inside:
            key, equals, value = line.partition("=")
            if equals:
                values[key] = value
    return values
