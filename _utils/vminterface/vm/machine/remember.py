"""What a call has set, kept in a file until the VM's next start, for whatever starts later in the session."""

from __future__ import annotations

import os

from vminterface.errors import VMInterfaceError
from vminterface.vm.machine.files import Files

FOLDER = "/run/vminterface"


def remember(machine: Files, name: str, text: str) -> None:
    """Keep *text* as ``/run/vminterface/NAME``; where this user may not write there, below ``$XDG_RUNTIME_DIR``.

    Raises VMInterfaceError if neither can be written.
    """
    try:
        machine.write_file(f"{FOLDER}/{name}", text)
    except VMInterfaceError:
        own = os.environ.get("XDG_RUNTIME_DIR", "")
        if not own.startswith("/"):
            raise
        machine.write_file(f"{own}/vminterface/{name}", text)
