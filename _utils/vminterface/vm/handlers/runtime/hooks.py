"""Programs that an admin has put into a folder, to be run when something has happened, or will."""

from __future__ import annotations

import os

from vminterface.vm.handlers.runtime.call import Call
from vminterface.vm.handlers.runtime.steps import Steps
from vminterface.vm.machine.files import Files

#: Seconds for all of a folder's programs: dom0 waits 60.
TIMEOUT = 50.0


def run(call: Call, folder: str) -> None:
    """Run every executable ``*.sh`` of *folder* in the order of their names, all of them whatever fails.

    Raises InvalidValue for a call with an argument, VMInterfaceError that names each one that failed.
    """
    call.refuse_argument()
    steps = Steps(call.machine, TIMEOUT)
    for path in programs(call.machine, folder):
        steps.hook(path)
    steps.finish()


def programs(machine: Files, folder: str) -> list[str]:
    """Return the paths of the executable ``*.sh`` of *folder* in the order of their names."""
    paths = [f"{folder}/{name}" for name in machine.names(folder) if name.endswith(".sh")]
    return [path for path in paths if machine.is_file(path) and os.access(machine.path(path), os.X_OK)]
