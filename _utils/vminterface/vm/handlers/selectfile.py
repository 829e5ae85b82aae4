"""``qubes.SelectFile``: let the user choose a file of this VM.

No input. Output: its path and a newline; nothing, and exit status 1, if the user chose none. After Qubes
core-agent-linux's ``qubes.SelectFile``; a path that the readers in dom0 (qubes-manager) would refuse is not sent.
"""

from __future__ import annotations

from vminterface.vm.handlers.display.dialog import choose
from vminterface.vm.handlers.runtime.call import Call


def handle(call: Call) -> int:
    """Ask, and answer with the path. Errors: see ``dialog.choose``."""
    return choose(call, folder=False)
