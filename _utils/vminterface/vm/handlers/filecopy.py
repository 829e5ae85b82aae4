"""``qubes.Filecopy``: receive files and folders into ``~/QubesIncoming/SOURCE``.

Input: a qfile stream. Output: its result header. Argument: none, or ``allow-all-names``. The exit status is the
result's code modulo 256. After Qubes core-agent-linux's ``qubes.Filecopy`` and ``qfile-unpacker.c``.
"""

from __future__ import annotations

import os
from pathlib import Path

from vminterface.errors import InvalidValue, ServiceFailed, printable
from vminterface.vm.handlers.files.home import home
from vminterface.vm.handlers.files.receive import Terms, open_incoming, serve
from vminterface.vm.handlers.runtime.call import Call
from vminterface.wire.qfile_result import Refused

ALLOW_ALL_NAMES = "allow-all-names"


def handle(call: Call) -> None:
    """Receive the files.

    Raises InvalidValue or VMInterfaceError before the first byte is read, ServiceFailed with the result's status.
    """
    if call.argument not in ("", ALLOW_ALL_NAMES):
        shown = printable(call.argument, 60)
        raise InvalidValue(f"'{shown}' is not an argument of this service (expected {ALLOW_ALL_NAMES} or none)")
    machine, user_home = call.machine, home()
    # A machine that is a folder of another has no link of its own that leads out of it.
    machine.path(f"{user_home}/QubesIncoming/{call.source}/.")
    folder = open_incoming(call.source, Path(machine.path(user_home)))
    try:
        terms = Terms(allow_all_names=bool(call.argument))
        result = serve(call.stdin.fileno(), call.stdout.fileno(), folder, terms)
    finally:
        os.close(folder)
    if result.code:
        raise ServiceFailed(str(Refused(result.code, result.name)), result.exit_status)
