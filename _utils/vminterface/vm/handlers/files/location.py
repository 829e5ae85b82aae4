"""Where a backup goes or comes from: a folder, a file, or, only where an admin allows that, a shell command.

The line is typed by dom0's user (Qubes core-admin's ``qvm-backup``, ``qvm-backup-restore``).
"""

from __future__ import annotations

import os
import shlex

from vminterface.errors import InvalidValue, printable
from vminterface.vm.handlers.files.home import home
from vminterface.vm.handlers.runtime.call import Call
from vminterface.vm.machine.files import Files
from vminterface.vm.machine.machine import Machine

#: While this file exists, a location may be a command that a shell runs; its content does not matter.
COMMANDS_ALLOWED = "/etc/vminterface/backup-commands-allowed"
#: Bytes of a location with its newline: the longest path that Linux takes.
LIMIT = 4096
_SHELL = "/bin/sh"


def read_line(call: Call, what: str, limit: int) -> str:
    """Return the next line of the input without its newline; invalid UTF-8 round-trips (surrogateescape).

    Raises InvalidValue for control characters and for a line that the caller has not ended.
    """
    untrusted_line = call.read_line(limit)
    if not untrusted_line.endswith(b"\n"):
        raise InvalidValue(f"the input ends inside the line with the {what}")
    if any(byte < 0x20 or byte == 0x7F for byte in untrusted_line[:-1]):
        raise InvalidValue(f"'{printable(untrusted_line[:-1], 80)}' is not a valid {what} (it has a control character)")
    return untrusted_line[:-1].decode("utf-8", "surrogateescape")


def read(call: Call) -> str:
    """Return the line that names the location. Raises InvalidValue, also for an empty one."""
    location = read_line(call, "location", LIMIT)
    if not location.strip():
        raise InvalidValue("the location is empty (expected a path)")
    return location


def path(location: str) -> str:
    """Return *location* as an absolute path: a relative one is taken from the user's home. Raises VMInterfaceError."""
    return os.path.join(home(), location)


def shell_command(machine: Machine, location: str) -> list[str] | None:
    """Return what runs *location*, None unless its first word is a program and commands are switched on here."""
    if not machine.is_file(COMMANDS_ALLOWED):
        return None
    try:
        words = shlex.split(location)
    except ValueError:
        return None
    if not words or machine.which(words[0]) is None:
        return None
    return [_SHELL, "-c", location]


def hint(machine: Files) -> str:
    """Return the part of a refusal about commands: whether they are enabled."""
    return (
        ""
        if machine.is_file(COMMANDS_ALLOWED)
        else f"; commands are disabled (to enable them, create {COMMANDS_ALLOWED})"
    )
