"""Programs that an admin has put into a folder, to be run before or after a suspend."""

from __future__ import annotations

import os

from vminterface.vm.handlers.call import Call
from vminterface.vm.handlers.steps import Steps

#: Seconds for all of a folder's programs: dom0 waits 60.
TIMEOUT = 50.0


def run(call: Call, folder: str) -> None:
    """Run every executable ``*.sh`` of *folder* in the order of their names, all of them whatever fails.

    Raises InvalidValue for a call with an argument, VMInterfaceError that names each one that failed.
    """
    call.refuse_argument()
    steps = Steps(call.machine, TIMEOUT)
    for name in call.machine.names(folder):
        path = f"{folder}/{name}"
        if name.endswith(".sh") and call.machine.is_file(path) and os.access(call.machine.path(path), os.X_OK):
            steps.hook(path)
    steps.finish()
