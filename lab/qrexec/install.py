"""The files of Qubes RPC in a lab: the calling programs, and in each VM what the formula puts there too."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from lab.paths import PROJECT
from vminterface.vm.handlers.runtime import install as installer
from vminterface.vm.handlers.runtime.entry import CONFIGURATIONS, PROGRAMS, configuration, entry
from vminterface.vm.handlers.runtime.table import SERVICES
from vminterface.vm.machine.machine import Machine

#: Not a virtual environment's, whose start takes longer.
PYTHON = os.path.realpath(sys.executable)
LIBRARY = PROJECT / "_utils"
#: Where a VM finds dom0's ear, and its own calling program.
SOCKET = "run/qubes/qrexec-agent.sock"
VM_PROGRAM = "opt/bin/qrexec-client-vm"


def client(name: str, place: str) -> str:
    """Return the text of the program *name* (``dom0`` or ``vm`` of :mod:`lab.qrexec.client`) that calls at *place*."""
    return f"""#!{PYTHON} -IS
import sys
sys.path[:0] = [{str(PROJECT)!r}, {str(LIBRARY)!r}]
from lab.qrexec.client import {name}
sys.exit({name}({place!r}, sys.argv[1:]))
"""


def dom0(folder: Path, place: Path) -> None:
    """Put ``qrexec-client``, which calls at *place*, into *folder*."""
    folder.mkdir(exist_ok=True)
    _write(folder / "qrexec-client", client("dom0", str(place)), 0o755)


def vm(root: Path, *, whole: bool) -> None:
    """Give the VM in *root* its calling program and the handlers; *whole*: it sees its files as all there are."""
    inside = "/" if whole else str(root)
    _write(root / VM_PROGRAM, client("vm", os.path.join(inside, SOCKET)), 0o755)
    if whole:
        installer.install(Machine(str(root)), python=PYTHON, library=str(LIBRARY))
        return
    for service in SERVICES.values():
        _write(root / PROGRAMS.lstrip("/") / service.name, entry(service.name, str(LIBRARY), PYTHON, inside), 0o755)
        if text := configuration(service):
            _write(root / CONFIGURATIONS.lstrip("/") / service.name, text, 0o644)


def _write(path: Path, text: str, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
