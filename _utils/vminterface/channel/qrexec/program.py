"""Which program calls services here. What calls them is loaded only where there is one."""

from __future__ import annotations

import os

from vminterface.errors import ProgramMissing

#: The environment's variable that names another one.
PROGRAM_VARIABLE = "VMINTERFACE_QREXEC"
_DOM0_PROGRAM = "qrexec-client"
_VM_PROGRAM = "qrexec-client-vm"
#: Where Qubes puts them when they are not on the PATH.
_FOLDERS = ("/usr/bin", "/usr/lib/qubes")


def program() -> str:
    """Return the path of the program to use on this machine; where both are, dom0's. Raises ProgramMissing."""
    if named := os.environ.get(PROGRAM_VARIABLE):
        return named
    folders = [*os.environ.get("PATH", os.defpath).split(os.pathsep), *_FOLDERS]
    for name in (_DOM0_PROGRAM, _VM_PROGRAM):
        for folder in folders:
            path = os.path.join(folder or os.curdir, name)
            if os.path.isfile(path) and os.access(path, os.X_OK):
                return path
    raise ProgramMissing(
        f"neither {_DOM0_PROGRAM} nor {_VM_PROGRAM} is installed (expected one of them, to call services)"
    )
