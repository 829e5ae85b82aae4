"""``qubes.Backup``: keep dom0's backup where its user wants it.

Input: one line with the location, then the archive to the end of the input; it is kept as it comes. Output: none.
The location is a folder (the file in it is then called ``qubes-backup-YYYY-MM-DDTHHMMSS``, local time), the absolute
path of a file that is not there yet, or a shell command that reads the archive, where commands are switched on.
The exit status is that of the command. After Qubes core-agent-linux's ``qubes.Backup``, which takes no file and always
takes a command; here the file has its name only when it is whole and on the disk, so that it never looks like more.
"""

from __future__ import annotations

import contextlib
import os
from datetime import datetime

from vminterface.errors import InvalidValue, ServiceFailed, VMInterfaceError, printable
from vminterface.vm.handlers import location, stream
from vminterface.vm.handlers.call import Call
from vminterface.vm.handlers.programs import STDERR, Program

#: Seconds without a byte after which the backup is given up; dom0 may have to ask its user meanwhile.
IDLE_TIMEOUT = 3600.0


def handle(call: Call) -> None:
    """Take the backup. Raises InvalidValue (location), ServiceFailed (the command's status), VMInterfaceError."""
    call.refuse_argument()
    line = location.read(call)
    wanted = location.path(line)
    source = call.stdin.fileno()
    if call.machine.is_folder(wanted):
        wanted = os.path.join(wanted, f"qubes-backup-{datetime.now():%Y-%m-%dT%H%M%S}")
    elif (command := location.shell_command(call.machine, line)) is not None:
        _pipe(source, command)
        return
    elif not line.startswith("/") or line.endswith("/") or not call.machine.is_folder(os.path.dirname(line)):
        raise InvalidValue(
            f"'{printable(line, 120)}' is no folder here and no absolute path of a file in one"
            f"{location.hint(call.machine)}"
        )
    _write(source, call.machine.path(wanted))


def _pipe(source: int, command: list[str]) -> None:
    with Program(command, stdin=source, stderr=STDERR) as writer:
        status = writer.wait()
    if status:
        raise ServiceFailed(f"the command ended with status {status}", status)


def _write(source: int, place: str) -> None:
    """Write all that comes to a new file *place*. Raises VMInterfaceError; then there is no such file."""
    folder, name = os.path.split(place)
    temporary = os.path.join(folder, f".{name[:200]}.{os.urandom(6).hex()}.part")
    try:
        if os.path.lexists(place):
            raise FileExistsError(0, "there is something of that name already")
        target = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            _fill(target, source)
            _name(temporary, place)
        finally:
            os.close(target)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
        _sync_folder(folder)
    except VMInterfaceError:
        raise
    except OSError as error:
        raise VMInterfaceError(f"{printable(place)}: {error.strerror}") from None


def _fill(target: int, source: int) -> None:
    size = 0
    for block in stream.blocks(source, idle_timeout=IDLE_TIMEOUT):
        stream.write_all(target, block)
        size += len(block)
    if not size:
        raise InvalidValue("the input ends behind the location: there is no backup to keep")
    os.fsync(target)


def _name(temporary: str, place: str) -> None:
    """Rename *temporary* to *place*, never over another file, on file systems without links (FAT) too."""
    os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        os.rename(temporary, place)
    except BaseException:
        os.unlink(place)
        raise


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Not every file system can do that for a folder.
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
