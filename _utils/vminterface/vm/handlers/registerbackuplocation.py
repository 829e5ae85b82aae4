"""``qubes.RegisterBackupLocation``: keep a location for ``qubes.RestoreById``, under an id.

Input: one line with the location. Output: the id and a newline. The location is known until the caller closes the
input. After Qubes core-agent-linux's ``qubes.RegisterBackupLocation`` (R4.1).
"""

from __future__ import annotations

import os

from vminterface.vm.handlers.files import location, registered
from vminterface.vm.handlers.runtime.call import Call


def handle(call: Call) -> None:
    """Register, answer, and wait for the caller to be done, however long it needs. Raises InvalidValue, OSError."""
    call.refuse_argument()
    name = registered.add(call.machine, location.read(call))
    try:
        call.write(f"{name}\n".encode("ascii"))
        # The caller reads the answer to its end.
        os.close(call.stdout.fileno())
        while os.read(call.stdin.fileno(), 4096):
            pass
    finally:
        registered.remove(call.machine, name)
