"""The handlers' own options of this VM: lines ``NAME = VALUE`` in one file, ``#`` comments, all of them optional."""

from __future__ import annotations

from vminterface.errors import InvalidValue, printable
from vminterface.vm.machine.files import Files

PATH = "/etc/vminterface/handlers.conf"

#: Seconds that qubes.WaitForSession waits at most.
SESSION_TIMEOUT = "session-timeout"
#: The block devices (or, where a VM has none, files with a file system) that qubes.ResizeDisk knows as volumes.
PRIVATE_DEVICE = "private-device"
ROOT_DEVICE = "root-device"
#: Seconds that qubes.OpenInVM gives the user; without it, as long as the session.
OPEN_TIMEOUT = "open-timeout"
#: The port of this VM at which qubes.UpdatesProxy finds the proxy.
UPDATES_PROXY_PORT = "updates-proxy-port"
#: Seconds that qubes.WaitForRunningSystem waits at most.
SYSTEM_TIMEOUT = "system-timeout"
_KNOWN = (SESSION_TIMEOUT, SYSTEM_TIMEOUT, PRIVATE_DEVICE, ROOT_DEVICE, OPEN_TIMEOUT, UPDATES_PROXY_PORT)
#: A service that waits does so for a day at most.
_LONGEST = 24 * 3600


def option(machine: Files, name: str, default: str) -> str:
    """Return the option *name*. Raises InvalidValue for a line that is not an option."""
    found = default
    for number, line in enumerate((machine.read_text(PATH, limit=65536) or "").splitlines(), 1):
        words = line.partition("#")[0].strip()
        key, equals, value = (part.strip() for part in words.partition("="))
        if not words:
            continue
        if key not in _KNOWN or not equals or not value:
            expected = f"one of {', '.join(_KNOWN)}, then = and a value"
            raise InvalidValue(f"{PATH}:{number}: '{printable(line, 60)}' is not a valid option (expected {expected})")
        if key == name:
            found = value
    return found


def seconds(machine: Files, name: str, default: int) -> float:
    """Return the option *name*, seconds that a service waits. Raises InvalidValue for another value."""
    text = option(machine, name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 0 < int(text) <= _LONGEST):
        raise InvalidValue(f"{PATH}: '{printable(text, 40)}' is not a valid {name} (expected seconds, 1 to {_LONGEST})")
    return float(text)
