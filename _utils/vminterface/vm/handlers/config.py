"""The handlers' own options of this VM: lines ``NAME = VALUE`` in one file, ``#`` comments, all of them optional."""

from __future__ import annotations

from vminterface.errors import InvalidValue, printable
from vminterface.vm.machine import Machine

PATH = "/etc/vminterface/handlers.conf"

#: Seconds that qubes.WaitForSession waits at most.
SESSION_TIMEOUT = "session-timeout"
#: The block devices (or, where a VM has none, files with a file system) that qubes.ResizeDisk knows as volumes.
PRIVATE_DEVICE = "private-device"
ROOT_DEVICE = "root-device"
#: Seconds that qubes.OpenInVM gives the user; without it, as long as the session.
OPEN_TIMEOUT = "open-timeout"
_KNOWN = (SESSION_TIMEOUT, PRIVATE_DEVICE, ROOT_DEVICE, OPEN_TIMEOUT)


def option(machine: Machine, name: str, default: str) -> str:
    """Return the option *name*. Raises InvalidValue for a line that is no option."""
    found = default
    for number, line in enumerate((machine.read_text(PATH, limit=65536) or "").splitlines(), 1):
        words = line.partition("#")[0].strip()
        key, equals, value = (part.strip() for part in words.partition("="))
        if not words:
            continue
        if key not in _KNOWN or not equals or not value:
            expected = f"one of {', '.join(_KNOWN)}, then = and a value"
            raise InvalidValue(f"{PATH}:{number}: '{printable(line, 60)}' is no option (expected {expected})")
        if key == name:
            found = value
    return found
