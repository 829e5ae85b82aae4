"""The owner of the session: the VM's default user, which dom0 sets in QubesDB."""

from __future__ import annotations

from vminterface.errors import InvalidValue, ProgramFailed, ProgramMissing
from vminterface.values.vmname import parse_default_user
from vminterface.vm.machine.files import Files
from vminterface.vm.machine.programs import Programs

#: Who it is where dom0 does not say: every release's scripts assume so.
USER = "user"


def read_key(machine: Programs, key: str) -> str | None:
    """Return the QubesDB key that the stock client reads, None without that key, or client (R2, plain Xen)."""
    try:
        return machine.run(["qubesdb-read", f"/{key}"], limit=4096).decode("latin-1").rstrip("\n")
    except (ProgramFailed, ProgramMissing):
        return None


def default_user(machine: Programs) -> str:
    """Return the name of the VM's default user."""
    try:
        return parse_default_user(read_key(machine, "default-user") or USER)
    except InvalidValue:
        return USER


def account(machine: Files, user: str) -> tuple[int, str] | None:
    """Return the number and the home of *user*, None if the machine has no such user."""
    for line in (machine.read_text("/etc/passwd") or "").splitlines():
        entry = line.split(":")
        if len(entry) == 7 and entry[0] == user and entry[2].isdecimal() and entry[5].startswith("/"):
            return int(entry[2]), entry[5]
    return None
