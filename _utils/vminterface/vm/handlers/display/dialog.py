"""Ask the user for a file or folder, with the dialog program of the desktop that is installed."""

from __future__ import annotations

import contextlib
import os

from vminterface.errors import ProgramMissing, VMInterfaceError
from vminterface.values import selectedpath
from vminterface.vm.handlers.files.home import home
from vminterface.vm.handlers.runtime.call import Call
from vminterface.vm.handlers.runtime.caller import Caller
from vminterface.vm.handlers.runtime.programs import Program

TYPE_CHECKING = False  # as the type checker takes it; importing typing would cost each call time
if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import FileIO

#: Bytes of a dialog's output: more than any path that dom0 takes.
LIMIT = 16384
CANCELLED = 1
#: What GTK 3 and 4 say when there is no display, upon which zenity ends as one that was cancelled.
_NO_DISPLAY = b"open display"
#: Bytes of a dialog's messages in which that is looked for: all that a pipe holds.
_MESSAGES_LIMIT = 65536


def choose(call: Call, *, folder: bool) -> int:
    """Send the path that the user chose; return the exit status, CANCELLED with nothing sent if there is none.

    Raises InvalidValue for a path that dom0 would not take, ProgramMissing, VMInterfaceError (no desktop, or the dialog
    failed), ConnectionLost when the caller goes: then the dialog is closed.
    """
    call.refuse_argument()
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise VMInterfaceError("no graphical session to ask the user in (DISPLAY is not set)")
    # Messages never make it wait: what is too much for the pipe is lost.
    with _pipe() as (output, its_output), _pipe(os.O_NONBLOCK) as (messages, its_messages):
        with Program(_dialog(call, folder), stdout=its_output.fileno(), stderr=its_messages.fileno()) as dialog:
            its_output.close()
            its_messages.close()
            status, untrusted_reply = dialog.reply(output.fileno(), Caller(call.stdout.fileno()), limit=LIMIT)
        untrusted_messages = messages.read(_MESSAGES_LIMIT) or b""
    if status == CANCELLED and _NO_DISPLAY in untrusted_messages:
        raise VMInterfaceError(f"the dialog {dialog.name} cannot open the display")
    if status == CANCELLED:
        return CANCELLED
    if status:
        raise VMInterfaceError(f"the dialog {dialog.name} ended with status {status}")
    path = untrusted_reply.removesuffix(b"\n").decode("utf-8", "surrogateescape")
    call.write(selectedpath.render(path))
    return 0


@contextlib.contextmanager
def _pipe(flags: int = 0) -> Iterator[tuple[FileIO, FileIO]]:
    reading, writing = os.pipe2(os.O_CLOEXEC | flags)
    with open(reading, "rb", 0) as reader, open(writing, "wb", 0) as writer:
        yield reader, writer


def _dialog(call: Call, folder: bool) -> list[str]:
    if (zenity := call.machine.which("zenity")) is not None:
        return [zenity, "--file-selection", *(["--directory"] if folder else [])]
    if (kdialog := call.machine.which("kdialog")) is not None:
        return [kdialog, "--getexistingdirectory" if folder else "--getopenfilename", home()]
    raise ProgramMissing("no program to ask the user is installed (expected zenity or kdialog)")
