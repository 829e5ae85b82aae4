"""``qubes.GetAppmenus``: send dom0 the applications of this VM, for its menu.

No input. Output: ``ID.desktop:KEY=VALUE`` in lines, an empty line after each application; what dom0 would refuse and
what ``qubes.StartApp`` could not start is left out. After Qubes core-agent-linux's ``qubes.GetAppmenus``, which also
lists what is not an application, or is not installed (``TryExec``).
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Mapping

from vminterface.errors import VMInterfaceError
from vminterface.values.appmenu import MenuEntry, Rendered, render
from vminterface.values.persistence import Persistence
from vminterface.vm.handlers.desktop import desktopfile
from vminterface.vm.handlers.desktop.applications import SUFFIX, files, folders
from vminterface.vm.handlers.runtime.call import Call
from vminterface.vm.machine.files import Files
from vminterface.vm.machine.machine import Machine

#: The VM's start leaves one of these: which volumes survive its shutdown. Applications on the others are left out.
PERSISTENCE = "/run/qubes/persistent-{}"
#: Applications that are left out and named; more are only counted.
_NAMED = 5
_KEYS = frozenset((b"Name", b"GenericName", b"Comment", b"StartupWMClass", b"Categories", b"Exec", b"Icon"))
_SAVERS = b"Screensaver;"


def handle(call: Call) -> None:
    """Answer with all applications. Raises InvalidValue (an argument)."""
    call.refuse_argument()
    rendered = applications(call.machine, os.environ)
    call.write(rendered.reply)
    if rendered.left_out:
        call.note(left_out(rendered.left_out))


def applications(machine: Machine, environment: Mapping[str, str]) -> Rendered:
    """Return the answer with all applications of *machine*; *environment* is that of its user's session."""
    return render(_entries(machine, _persistent(machine, folders(machine, environment))))


def persistence(machine: Files) -> Persistence:
    """Return which volumes of *machine* survive its shutdown, as detected at its start; all of them without that."""
    return next((p for p in Persistence if machine.exists(PERSISTENCE.format(p.value))), Persistence.FULL)


def left_out(applications: tuple[str, ...]) -> str:
    """Return one line that names some of the applications that dom0 is not given, and how many there are."""
    more = len(applications) - _NAMED
    return f"left out: {'; '.join(applications[:_NAMED])}{f'; and {more} more' if more > 0 else ''}"


def _persistent(machine: Machine, places: list[str]) -> list[str]:
    """Return those of *places* whose content survives the VM's shutdown."""
    level = persistence(machine)
    if level is Persistence.FULL:
        return places
    device = _device(machine.path("/rw")) if level is Persistence.RW_ONLY else None
    return [place for place in places if device is not None and _device(place) == device]


def _device(path: str) -> int | None:
    try:
        return os.stat(path).st_dev
    except OSError:
        return None


def _entries(machine: Machine, places: list[str]) -> Iterator[MenuEntry]:
    """Yield the applications; of several files with one ID the first counts, even where it says to show nothing."""
    # Many files name the same program.
    is_installed = functools.cache(lambda program: machine.which(program) is not None)
    for id_, path in files(places):
        if values := _read(path, id_, is_installed):
            yield MenuEntry(id_, values)


def _read(path: str, id_: str, is_installed: Callable[[str], bool]) -> dict[str, str] | None:
    """Return the values of a desktop file by their keys.

    None for one that is not to be shown, cannot be read, or cannot be started.
    """
    try:
        found = desktopfile.read(path)
    except (OSError, VMInterfaceError):
        return None
    if found.get(b"NoDisplay") == desktopfile.TRUE or found.get(b"Categories") == _SAVERS:
        return None
    if desktopfile.problem(found, is_installed):
        return None
    values = {key.decode("ascii"): value.decode("utf-8", "replace") for key, value in found.items() if key in _KEYS}
    if "Exec" in values:
        values["Exec"] = f"qubes-desktop-run {id_}{SUFFIX}"
    return values
