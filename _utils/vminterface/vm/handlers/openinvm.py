"""``qubes.OpenInVM``: open the caller's file here with the program for its type, and send it back if it was changed.

Input: 256 bytes of file name, then the content; a name that starts with ``view-only-`` asks for no answer. Output: the
changed content, or nothing. After Qubes core-agent-linux's ``vm-file-editor.c``, which takes an edit within the second
of the receipt for none.

An admin may name another opener in ``/etc/vminterface/open-command`` (one line, quotes as in a shell; the file's path
is added), and give the user so many seconds with ``open-timeout`` in ``/etc/vminterface/handlers.conf``.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import stat
import tempfile
import time

from vminterface.deadline import Deadline
from vminterface.errors import ProgramMissing, ServiceFailed, VMInterfaceError, printable
from vminterface.vm.handlers import config, stream
from vminterface.vm.handlers.call import TIMEOUT, Call
from vminterface.vm.handlers.programs import Program
from vminterface.vm.machine import Machine
from vminterface.wire.openinvm import HEADER_SIZE, Header

COMMAND = "/etc/vminterface/open-command"
#: Looked for in this order.
OPENERS = ("qubes-open", "xdg-open")
#: With a desktop named, xdg-open hands the file to a running program and returns before the user has seen it.
_WAITING = {"DE": "generic", "XDG_CURRENT_DESKTOP": "X-Generic"}
#: Seconds between two looks at whether a program still has the file open.
PAUSE = 0.5


def handle(call: Call) -> None:
    """Receive, open, answer.

    Raises InvalidValue (an argument, no caller), RemoteProtocolError (name), ServiceFailed (opener), DeadlineExceeded,
    OSError.
    """
    call.refuse_argument()
    caller, source = call.source.lstrip("@"), call.stdin.fileno()
    header = Header.parse(stream.read_exactly(source, HEADER_SIZE, timeout=TIMEOUT))
    command, seconds = _command(call.machine), _seconds(call.machine)
    folder = tempfile.mkdtemp(prefix=f"{caller}-", dir=call.machine.path("/tmp"))
    try:
        path = os.path.join(folder, header.name)
        _receive(source, path, header.view_only)
        before = _look(path)
        status = _open([*command, path], seconds)
        after = None if header.view_only else _look(path)
        if after is not None and after != before:
            _send(path, call)
        elif status:
            raise ServiceFailed(f"{printable(command[0], 80)} ended with status {status}", 1)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _command(machine: Machine) -> list[str]:
    """Return the opener. Raises ProgramMissing, VMInterfaceError for an unreadable configuration."""
    text = machine.read_text(COMMAND)
    if text is not None:
        try:
            words = shlex.split(text, comments=True)
        except ValueError as error:
            raise VMInterfaceError(f"{COMMAND}: {error}") from None
        if not words:
            raise VMInterfaceError(f"{COMMAND} names no program")
        return words
    for name in OPENERS:
        if (program := machine.which(name)) is not None:
            return [program]
    raise ProgramMissing(f"nothing to open files with is installed here (looked for {', '.join(OPENERS)})")


def _seconds(machine: Machine) -> float | None:
    text = config.option(machine, config.OPEN_TIMEOUT, "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 8 and int(text)):
        shown = f"{config.OPEN_TIMEOUT} = {printable(text, 40)}"
        raise VMInterfaceError(f"{config.PATH}: '{shown}' is no number of seconds (1 to 9999999)")
    return float(text)


def _receive(source: int, path: str, view_only: bool) -> None:
    target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        for block in stream.blocks(source):
            stream.write_all(target, block)
        if view_only:
            os.fchmod(target, 0o400)
    finally:
        os.close(target)


def _look(path: str) -> tuple[int, bytes] | None:
    """Return time and digest of the file, None if it is none any more: an answer is always a whole file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        return None
    with open(descriptor, "rb") as file:
        return found.st_mtime_ns, hashlib.file_digest(file, "sha256").digest()


def _open(argv: list[str], seconds: float | None) -> int:
    """Let the user work with the file; return the opener's exit status when no program has it any more."""
    deadline = None if seconds is None else Deadline.after(seconds)
    with Program(argv, env=_WAITING) as opener:
        status = opener.wait(timeout=seconds)
    while _in_use(argv[-1]):
        if deadline is not None:
            deadline.check("the program that has the file open")
        time.sleep(PAUSE)
    return status


def _in_use(path: str) -> bool:
    """Whether a process has the file open or was started with it: some openers return before their program ends."""
    wanted = os.fsencode(path)
    own = str(os.getpid())
    for process in filter(str.isdigit, os.listdir("/proc")):
        if process == own:
            continue
        try:
            with open(f"/proc/{process}/cmdline", "rb") as file:
                if wanted in file.read(1 << 17):
                    return True
            names = [os.readlink(f"/proc/{process}/fd/{number}") for number in os.listdir(f"/proc/{process}/fd")]
        except OSError:  # ended meanwhile, or another user's
            continue
        if path in names:
            return True
    return False


def _send(path: str, call: Call) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        while block := os.read(descriptor, stream.BLOCK):
            call.write(block)
    finally:
        os.close(descriptor)
