"""``qubes.SetGuiMode``: show this VM as one window with its whole desktop, or a window for each of its windows.

Input: ``FULLSCREEN`` or ``SEAMLESS``; a line's end may follow, though dom0 sends none. No output. Source: Qubes
core-agent-windows ``set-gui-mode``. Who draws the desktop differs from VM to VM: each program of the hooks' folder gets
the mode as its one argument, and may leave others behind, as panels and pagers are.
"""

from __future__ import annotations

import fcntl
import os

from vminterface.deadline import Deadline
from vminterface.errors import ProgramFailed, printable, printable_path
from vminterface.values.guimode import GuiMode
from vminterface.vm.handlers.runtime.call import Call
from vminterface.vm.handlers.runtime.programs import Program
from vminterface.vm.machine.remember import remember

HOOKS = "/etc/qubes/gui-mode.d"
#: Seconds for all hooks: dom0 waits 20.
TIMEOUT = 15.0
_LIMIT = 64
#: Bytes of a hook's messages that are taken, and of them those that are reported.
_MESSAGES, _TOLD = 1 << 20, 4096


def handle(call: Call) -> None:
    """Run the hooks, then remember the mode as ``gui-mode``. Raises VMInterfaceError; the mode then stays."""
    call.refuse_argument()
    deadline = call.within(TIMEOUT)
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
            _run(program, mode, deadline)
    remember(call.machine, "gui-mode", f"{mode.render()}\n")


def _run(path: str, mode: GuiMode, deadline: Deadline) -> None:
    """Run a hook, and leave alone what it starts in the background. Raises VMInterfaceError."""
    messages = _memory()
    try:
        with Program([path, mode.render()], stderr=messages) as hook:
            status = hook.wait(timeout=deadline.check(printable_path(path)))
        if status:
            length = min(os.lseek(messages, 0, os.SEEK_CUR), _TOLD)
            said = os.pread(messages, length, 0).decode("utf-8", "replace").strip()
            shown = printable(said.replace("\n", "; "), 300)
            raise ProgramFailed(f"{hook.name} ended with status {status}{': ' if shown else ''}{shown}", status)
    finally:
        os.close(messages)


def _memory() -> int:
    """Return an open file in memory that cannot grow.

    Not a pipe: what a hook leaves behind may hold it, so that its end never comes, and would be killed by its next
    message once nobody reads any more. A file could grow without end; here a message that is too much is refused.
    """
    descriptor = os.memfd_create("messages", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, _MESSAGES)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW)
    return descriptor
