"""Applications that the session's message bus starts (desktop entry specification 1.5, "D-Bus Activation")."""

from __future__ import annotations

from vminterface.errors import VMInterfaceError, printable
from vminterface.vm.machine.machine import Machine

#: Seconds for the bus to start an application, and for it to reply: the bus' own time.
TIMEOUT = 25.0
_BUS = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
#: Characters of a name on a bus (D-Bus specification, "Bus names").
_NAME_LIMIT = 255


def activate(machine: Machine, name: str) -> int:
    """Let the bus start the application *name* and show it; return the number of its process.

    Raises VMInterfaceError: *name* is not valid, the bus or ``busctl`` is missing, or the application does not start.
    """
    if not _is_name(name):
        raise VMInterfaceError(f"'{printable(name, 60)}' is not a valid name on a bus")
    path = f"/{name.replace('.', '/').replace('-', '_')}"
    _call(machine, name, path, "org.freedesktop.Application", "Activate", "a{sv}", "0")
    untrusted_reply = _call(machine, *_BUS, "GetConnectionUnixProcessID", "s", name)
    kind, _, number = untrusted_reply.strip().partition(" ")
    if kind != "u" or not (number.isascii() and number.isdigit() and 0 < len(number) < 11):
        raise VMInterfaceError(f"busctl: '{printable(untrusted_reply, 60)}' is not the number of a process")
    return int(number)


def _is_name(text: str) -> bool:
    """Whether *text* is a name that an application may have on the bus: the id of each that the bus can start."""
    parts = text.split(".")
    return (
        len(text) <= _NAME_LIMIT
        and len(parts) > 1
        and all(part and not part[0].isdigit() and _CHARACTERS.issuperset(part) for part in parts)
    )


def _call(machine: Machine, *words: str) -> str:
    command = ["busctl", "--user", f"--timeout={TIMEOUT:g}", "call", *words]
    return machine.run(command, timeout=TIMEOUT + 2, limit=4096).decode("utf-8", "replace")
