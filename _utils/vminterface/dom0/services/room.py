"""Whether there is room for what is about to be copied, on a VM's disk or dom0's: asked before the first byte goes."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from vminterface.channel.qrexec.client import Qrexec
from vminterface.deadline import Deadline
from vminterface.dom0.services import commands
from vminterface.dom0.transfer.wholefile import FileError
from vminterface.errors import ServiceFailed, ServiceNotFound, printable_path
from vminterface.regex import regex

#: Bytes from which on it is asked: what is smaller fails at once where there is no room.
FROM = 16 << 20
_LIMIT = 4096
_SECONDS = 30.0
_STATUS = 28
# A place that is no folder may be a command: nothing is known of that, unless there is another place to ask for.
_SCRIPT = """cd -- "$HOME" || exit 1
for place; do if [ -d "$place" ]; then df -Pk -- "$place" | tail -n 1; exit; fi; done; exit 3"""
# Of a sparse file, what its blocks take.
_SIZE = 'cd -- "$HOME" && [ -f "$1" ] && stat -L -c "%s %b %B" -- "$1"'
_NUMBERS = regex(rb"([0-9]{1,18}) ([0-9]{1,15}) ([0-9]{1,5})\n", re.ASCII)
_LINE = regex(rb".* ([0-9]{1,15}) +[0-9]+ +([0-9]{1,15}) +[0-9]+% +/.*\n?\Z", re.DOTALL)


def check(qrexec: Qrexec, vm: str, places: Sequence[str], needed: int, what: str, deadline: Deadline) -> None:
    """Raise ServiceFailed if the first folder of *places* in *vm* has less than *needed* bytes free for its user.

    *places* are paths, below the user's home unless absolute; *what* begins the message. Where none is a folder, or the
    VM cannot report how much is free, nothing is raised. Raises else as :meth:`Qrexec.call`.
    """
    if needed < FROM:
        return
    found = _LINE.fullmatch(_printed(qrexec, vm, [_SCRIPT, "sh", *places], "df", deadline))
    if not found:
        return
    free = int(found[2]) * 1024
    if free < needed:
        raise ServiceFailed(
            f"{what}: {printable_path(places[0])} in {vm} has {free} bytes free (expected at least {needed})", _STATUS
        )


def check_here(qrexec: Qrexec, vm: str, archive: str, place: str, reserve: int, what: str, deadline: Deadline) -> None:
    """Raise FileError if what the file *archive* in *vm* takes would leave less than *reserve* bytes at *place* here.

    *archive* is a path, below the user's home unless absolute. Where it is not a file, or the VM cannot report how
    large it is, nothing is raised: what comes is counted besides. Raises else as :meth:`Qrexec.call`.
    """
    found = _NUMBERS.fullmatch(_printed(qrexec, vm, [_SIZE, "sh", archive], "stat", deadline))
    if not found:
        return
    size, blocks, block = map(int, found.groups())
    needed = min(size, blocks * block)
    folder = os.path.dirname(os.path.abspath(place))
    try:
        disk = os.statvfs(folder)
    except OSError as error:
        raise FileError.at(folder, error) from error
    free = disk.f_bavail * disk.f_frsize
    if needed >= FROM and needed + reserve > free:
        raise FileError(
            f"{what}: {printable_path(archive)} has {needed} bytes, and {printable_path(folder)} here has {free}"
            f" bytes free, of which {reserve} must stay free"
        )


def _printed(qrexec: Qrexec, vm: str, script: Sequence[str], name: str, deadline: Deadline) -> bytes:
    """Return what *script* with its arguments prints in *vm*, nothing where the VM cannot run it."""
    soon = deadline if deadline.check(f"{name} in {vm}") <= _SECONDS else Deadline.after(_SECONDS)
    try:
        output = commands.execute(qrexec, vm, ["sh", "-c", *script], stdout_limit=_LIMIT, deadline=soon, name=name)
    except (ServiceNotFound, ServiceFailed):
        return b""
    return b"" if output.status else output.untrusted_stdout
