"""``qubes.OpenInVM``: open the caller's file here with the program for its type, and send it back if it was changed.

Input: 256 bytes of file name, then the content; a name that starts with ``view-only-`` asks for no answer. Output: the
changed content, or nothing. After Qubes core-agent-linux's ``vm-file-editor.c``, which takes an edit within the second
of the receipt for none.

An opener that ends within MOMENTS and leaves the file as it was has handed it to a program that was running already,
and the user has yet to work with it. What goes back then is the first save: reading the file is not the end of the
work. It is waited for as long as the caller is there, or ``open-timeout`` lasts; then the file stays where it is, since
that program may still save it. A file to be viewed only needs no more than to have been opened.

An admin may name another opener in ``/etc/vminterface/open-command`` (one line, quotes as in a shell; the file's path
is added), and give the user so many seconds with ``open-timeout`` in ``/etc/vminterface/handlers.conf``.
"""

from __future__ import annotations

import time

from vminterface.deadline import Deadline
from vminterface.errors import (
    ConnectionLost,
    DeadlineExceeded,
    ServiceFailed,
    VMInterfaceError,
    printable,
)
from vminterface.vm.handlers.desktop.opener import WAITING, opener
from vminterface.vm.handlers.files.filewatch import OPENED, SAVED, FileWatch, in_use
from vminterface.vm.handlers.files.peerfile import PeerFile
from vminterface.vm.handlers.runtime import config, stream
from vminterface.vm.handlers.runtime.call import TIMEOUT, Call
from vminterface.vm.handlers.runtime.caller import Caller
from vminterface.vm.handlers.runtime.programs import Program
from vminterface.vm.machine.files import Files
from vminterface.wire.openinvm import HEADER_SIZE, Header

#: Seconds between two checks of whether a program still has the file open.
PAUSE = 0.5
#: Seconds within which an opener that hands the file on is done, and within which a viewer has read it after that.
MOMENTS = 3.0
#: Seconds without an event after a save: some programs need several steps for one.
QUIET = 1.0
#: Seconds after the end of the input within which a caller that broke off has shown it.
SETTLE = 0.2


def handle(call: Call) -> None:
    """Receive, open, answer.

    Raises InvalidValue (an argument, no caller), RemoteProtocolError (name), ServiceFailed (opener), DeadlineExceeded,
    ConnectionLost, OSError.
    """
    call.refuse_argument()
    peer, source = call.source.lstrip("@"), call.stdin.fileno()
    header = Header.parse(stream.read_exactly(source, HEADER_SIZE, timeout=TIMEOUT))
    command, seconds = opener(call.machine), _seconds(call.machine)
    caller = Caller(call.stdout.fileno())
    with PeerFile(call.machine, peer, header.name) as file:
        file.receive(source, view_only=header.view_only)
        caller.check_the_end(SETTLE)
        work = _Work(file, caller, None if seconds is None else Deadline.after(seconds), header.view_only)
        try:
            status = work.open(command)
            if not header.view_only and file.is_there and file.is_changed:
                file.send(call)
            elif status:
                raise ServiceFailed(f"{printable(command[0], 80)} ended with status {status}", 1)
        except DeadlineExceeded as error:
            raise DeadlineExceeded(f"{error}{work.keep()}") from None
        except (BrokenPipeError, ConnectionLost):
            raise ConnectionLost(f"the caller closed the connection{work.keep()}") from None
        except BaseException:
            work.keep()
            raise


class _Work:
    """What the user does with *file*, until *deadline*, None: however long."""

    def __init__(self, file: PeerFile, caller: Caller, deadline: Deadline | None, view_only: bool) -> None:
        self._file, self._caller, self._deadline, self._view_only = file, caller, deadline, view_only
        self._handed_on = False

    def open(self, command: list[str]) -> int:
        """Let the user work with the file; return the opener's exit status when the work is done.

        Raises DeadlineExceeded; ConnectionLost only while a running program has the file: then nothing else shows
        whether anybody still waits for it.
        """
        began = time.monotonic()
        with FileWatch(self._file.path) as watch:
            with Program([*command, self._file.path], env=WAITING) as program:
                status = program.wait(deadline=self._deadline)
            self._until_unused()
            events = watch.events()
            if not status and time.monotonic() - began < MOMENTS and (self._view_only or not self._file.is_changed):
                self._handed_on = True
                self._until_done(watch, events)
        return status

    def keep(self) -> str:
        """Let the file stay where somebody's work would be lost, and return the words for where it is."""
        if self._handed_on or (not self._view_only and self._file.is_there and self._file.is_changed):
            return f"; {self._file.keep()}"
        return ""

    def _until_done(self, watch: FileWatch, before: int) -> None:
        """Wait until the program that opens the file has saved it, or has read what is to be viewed only."""
        desired = OPENED if self._view_only else SAVED
        seen = before if self._view_only else 0
        while not seen & desired:
            self._caller.wait(watch.fileno(), seconds=self._left("the program that opens the file"))
            seen |= watch.events()
        while self._caller.wait(watch.fileno(), seconds=MOMENTS if self._view_only else QUIET):
            watch.events()
        self._until_unused()
        self._handed_on = False

    def _until_unused(self) -> None:
        while in_use(self._file.path):
            self._left("the program that has the file open")
            time.sleep(PAUSE)

    def _left(self, what: str) -> float | None:
        return None if self._deadline is None else self._deadline.check(what)


def _seconds(machine: Files) -> float | None:
    text = config.option(machine, config.OPEN_TIMEOUT, "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 8 and int(text)):
        shown = f"{config.OPEN_TIMEOUT} = {printable(text, 40)}"
        raise VMInterfaceError(f"{config.PATH}: '{shown}' is not a valid number of seconds (1 to 9999999)")
    return float(text)
