"""``qubes.VMShell``, ``qubes.VMShell+WaitForSession``, ``qubes.VMRootShell``: the caller types, a shell runs it.

Input: what the shell reads. Output, messages and exit status: the shell's. After Qubes core-agent-linux's
``qubes.VMShell``, which starts ``/bin/bash`` without options; that is kept, since callers write for bash.
"""

from __future__ import annotations

from vminterface.errors import InvalidValue, printable
from vminterface.vm.handlers.runtime import programs
from vminterface.vm.handlers.runtime.call import Call

WAIT_FOR_SESSION = "WaitForSession"


def handle(call: Call) -> None:
    """Become the shell. Raises InvalidValue for an argument, ServiceNotFound without a shell."""
    if call.argument not in ("", WAIT_FOR_SESSION):
        shown = printable(call.argument, 60)
        raise InvalidValue(f"'{shown}' is not an argument of this service (expected {WAIT_FOR_SESSION} or none)")
    programs.become([b"/bin/bash" if call.machine.exists("/bin/bash") else b"/bin/sh"])
