"""Backup locations that dom0 has registered here, each for as long as the process that answered it lives.

A file per location in the user's runtime folder: process number, the process's start time, the location. After Qubes
core-agent-linux's ``qubes.RegisterBackupLocation``, whose files have the same place.
"""

from __future__ import annotations

import os
import re

from vminterface.errors import InvalidValue, VMInterfaceError, printable
from vminterface.regex import regex
from vminterface.vm.machine.files import Files

_ID = regex(r"[0-9a-f]{8}\Z", re.ASCII)
_REGISTRATION = regex(r"([0-9]{1,10})\n([0-9]+)\n(.+)\n")
_FOLDER = "qubes-backup-location"


def add(machine: Files, location: str) -> str:
    """Register *location* for this process and return its id: 8 hexadecimal digits. Raises VMInterfaceError."""
    own = os.getpid()
    machine.make_folder(_folder(), 0o700)
    while True:
        name = os.urandom(4).hex()
        if not machine.exists(f"{_folder()}/{name}"):
            break
    machine.write_file(f"{_folder()}/{name}", f"{own}\n{_start_time(own)}\n{location}\n", 0o600)
    return name


def remove(machine: Files, name: str) -> None:
    """Forget the location with the id *name*."""
    machine.remove(f"{_folder()}/{name}")


def find(machine: Files, untrusted_name: str) -> str:
    """Return the location with that id. Raises InvalidValue (no id), VMInterfaceError (none, or not any more)."""
    if not _ID.match(untrusted_name):
        raise InvalidValue(
            f"'{printable(untrusted_name, 60)}' is not a valid id of a backup location (expected 8 hexadecimal digits)"
        )
    found = _REGISTRATION.fullmatch(machine.read_text(f"{_folder()}/{untrusted_name}") or "")
    if found and _start_time(int(found[1])) == found[2]:
        return found[3]
    raise VMInterfaceError(f"the backup location {untrusted_name} is no longer registered")


def _folder() -> str:
    path = os.environ.get("XDG_RUNTIME_DIR", "")
    if not path.startswith("/"):
        raise VMInterfaceError(f"XDG_RUNTIME_DIR is '{printable(path, 80)}' (expected an absolute path)")
    return f"{path.rstrip('/')}/{_FOLDER}"


def _start_time(process: int) -> str:
    """Return when *process* was started, as the kernel counts it (proc(5), field 22 of stat); empty if it is gone."""
    try:
        with open(f"/proc/{process}/stat", "rb") as file:
            # Behind the program's name, which may have anything in it, with the third field first.
            return file.read().rpartition(b")")[2].split()[19].decode("ascii")
    except FileNotFoundError:
        return ""
