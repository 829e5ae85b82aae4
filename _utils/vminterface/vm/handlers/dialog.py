"""Ask the user for a file or folder, with the dialog program of the desktop that is installed."""

from __future__ import annotations

import os

from vminterface.errors import ProgramMissing, VMInterfaceError
from vminterface.values import selectedpath
from vminterface.vm.handlers.call import Call
from vminterface.vm.handlers.home import home
from vminterface.vm.handlers.programs import Program

#: Bytes of a dialog's output: more than any path that dom0 takes.
LIMIT = 16384
CANCELLED = 1


def choose(call: Call, *, folder: bool) -> int:
    """Send the path that the user chose; return the exit status, CANCELLED with nothing sent if there is none.

    Raises InvalidValue for a path that dom0 would not take, ProgramMissing, VMInterfaceError (no desktop, or the dialog
    failed), ConnectionLost when the caller goes: then the dialog is closed.
    """
    call.refuse_argument()
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise VMInterfaceError("there is no graphical session to ask the user in (DISPLAY is not set)")
    output, program_end = os.pipe()
    try:
        with Program(_dialog(call, folder), stdout=program_end) as dialog:
            os.close(program_end)
            program_end = -1
            status, untrusted_answer = dialog.answer(output, call.stdout.fileno(), limit=LIMIT)
    finally:
        os.close(output)
        if program_end >= 0:
            os.close(program_end)
    if status == CANCELLED:
        return CANCELLED
    if status:
        raise VMInterfaceError(f"the dialog {dialog.name} ended with status {status}")
    path = untrusted_answer.removesuffix(b"\n").decode("utf-8", "surrogateescape")
    call.write(selectedpath.render(path))
    return 0


def _dialog(call: Call, folder: bool) -> list[str]:
    if (zenity := call.machine.which("zenity")) is not None:
        return [zenity, "--file-selection", *(["--directory"] if folder else [])]
    if (kdialog := call.machine.which("kdialog")) is not None:
        return [kdialog, "--getexistingdirectory" if folder else "--getopenfilename", home()]
    raise ProgramMissing("nothing to ask the user with is installed here (looked for zenity, kdialog)")
