"""The desktop file of an application: its main group, read within a bound, and what keeps it from being started.

Source: freedesktop desktop entry specification 1.5.
"""

from __future__ import annotations

import os

from vminterface.errors import InvalidValue, printable
from vminterface.values import execline
from vminterface.vm.machine.machine import Machine
from vminterface.vm.machine.regularfile import open_regular, read_at_most

TYPE_CHECKING = False  # as the type checker takes it; importing typing would cost each call time
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: Where an admin overrides keys: a folder for each file, named after it (Qubes core-agent-linux, applications-dropins).
DROPINS = "/etc/qubes/applications"
#: Bytes of a file that are read.
LIMIT = 65536
TRUE = b"true"
_GROUP = b"[Desktop Entry]"
#: The type of what can be started; what has no type is taken for one.
_APPLICATION = b"Application"


def read(path: str, shown: str = "") -> dict[bytes, bytes]:
    """Return the values of the main group by their keys, those of other languages too.

    *path* is a place for the system's calls, *shown* what errors call it. Raises OSError, VMInterfaceError for anything
    but a regular file.
    """
    descriptor = open_regular(path, shown or path)
    try:
        data = read_at_most(descriptor, LIMIT + 1)
    finally:
        os.close(descriptor)
    lines = data.split(b"\n")
    if len(data) > LIMIT:
        lines.pop()  # a part of a line is another line
    values: dict[bytes, bytes] = {}
    inside = False
    for line in lines:
        if line.startswith(b"["):
            if inside:
                break
            inside = line.rstrip() == _GROUP
        elif inside:
            key, equals, value = line.partition(b"=")
            if equals:
                values[key.strip()] = value.strip()
    return values


def overridden(machine: Machine, path: str) -> dict[bytes, bytes]:
    """Return what :func:`read` does, with the keys that the admin's files in DROPINS give in place of the file's own.

    Raises as :func:`read`.
    """
    values = read(path, machine.shown(path))
    folder = f"{DROPINS}/{os.path.basename(path)}.d"
    for name in machine.names(folder):
        values.update(read(machine.path(f"{folder}/{name}"), f"{folder}/{name}"))
    return values


def text(values: dict[bytes, bytes], key: bytes) -> str:
    """Return the value of *key*, empty if there is none; invalid UTF-8 round-trips (surrogateescape)."""
    return values.get(key, b"").decode("utf-8", "surrogateescape")


def localized(key: bytes, environment: Mapping[str, str]) -> list[bytes]:
    """Return *key* in the forms for the language of *environment*, the best first and the plain one last."""
    variables = ("LC_ALL", "LC_MESSAGES", "LANG")
    locale = next((found for variable in variables if (found := environment.get(variable))), "")
    language, _, modifier = locale.partition("@")
    language, _, country = language.partition(".")[0].partition("_")
    forms = [f"_{country}@{modifier}", f"_{country}", f"@{modifier}", ""] if language.isalpha() else []
    kept = [form for form in forms if (country or "_" not in form) and (modifier or "@" not in form)]
    return [*(key + os.fsencode(f"[{language}{form}]") for form in kept), key]


def words(values: dict[bytes, bytes]) -> list[str]:
    """Return the words of the command line, none without a command line. Raises InvalidValue for a bad one."""
    line = text(values, b"Exec")
    return execline.split(execline.unescape(line)) if line else []


def problem(values: dict[bytes, bytes], is_installed: Callable[[str], bool]) -> str:
    """Return why an application with these *values* cannot be started, empty if nothing is known against it."""
    if values.get(b"Hidden") == TRUE:
        return "it is marked as removed (Hidden=true)"
    kind = values.get(b"Type", _APPLICATION)
    if kind != _APPLICATION:
        return f"its type is {printable(kind, 40)} (expected Application)"
    if (program := text(values, b"TryExec")) and not is_installed(program):
        return f"{printable(program, 80)} is not installed (TryExec)"
    try:
        if not words(values) and values.get(b"DBusActivatable") != TRUE:
            return "it has neither a command line (Exec) nor DBusActivatable=true"
    except InvalidValue as error:
        return f"Exec: {error}"
    return ""
