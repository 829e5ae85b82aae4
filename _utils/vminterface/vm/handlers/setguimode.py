"""``qubes.SetGuiMode``: show this VM as one window with its whole desktop, or a window for each of its windows.

Input: ``FULLSCREEN`` or ``SEAMLESS``; a line's end may follow, though dom0 sends none. No output. Source: Qubes
core-agent-windows ``set-gui-mode``. Who draws the desktop differs from VM to VM: each program of the hooks' folder gets
the mode as its one argument.
"""

from __future__ import annotations

import os

from vminterface.values.guimode import GuiMode
from vminterface.vm.handlers.call import Call
from vminterface.vm.handlers.remember import remember

HOOKS = "/etc/qubes/gui-mode.d"
#: Seconds for all hooks: dom0 waits 20.
TIMEOUT = 15.0
_LIMIT = 64


def handle(call: Call) -> None:
    """Run the hooks, then remember the mode as ``gui-mode``. Raises VMInterfaceError; the mode then stays."""
    call.refuse_argument()
    call.within(TIMEOUT)
    mode = GuiMode.parse(call.read_all(_LIMIT).decode("latin-1").removesuffix("\n"))
    for name in call.machine.names(HOOKS):
        program = call.machine.path(f"{HOOKS}/{name}")
        # As run-parts does, pass over what editors and package managers leave behind.
        if (
            not name.startswith(".")
            and not name.endswith("~")
            and os.path.isfile(program)
            and os.access(program, os.X_OK)
        ):
            call.machine.run([program, mode.render()], timeout=TIMEOUT)
    remember(call.machine, "gui-mode", f"{mode.render()}\n")
