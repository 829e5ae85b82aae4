"""``qubes.Backup``: keep dom0's backup where its user wants it.

Input: one line with the location, then the archive to the end of the input; it is kept as it comes. Output: none.
The location is a folder (the file in it is then called ``qubes-backup-YYYY-MM-DDTHHMMSS``, local time), the absolute
path of a file that is not there yet, or a shell command that reads the archive, where commands are switched on.
The exit status is that of the command. After Qubes core-agent-linux's ``qubes.Backup``, which takes no file and always
takes a command; here the file has its name only when it is whole and on the disk, so that it never seems to be more.

Nothing in the input marks the end of an archive: it is whole if the input ends while its caller is still there, who has
closed it then. A caller that has gone has broken off; a caller whose own source broke off, and who closes the input all
the same, cannot be distinguished from one that is done.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
from datetime import datetime

from vminterface.errors import InvalidValue, ServiceFailed, VMInterfaceError, printable_path
from vminterface.regex import regex
from vminterface.vm.handlers.files import location
from vminterface.vm.handlers.files.naming import name_file
from vminterface.vm.handlers.runtime import stream
from vminterface.vm.handlers.runtime.call import Call
from vminterface.vm.handlers.runtime.caller import Caller
from vminterface.vm.handlers.runtime.programs import STDERR, Program
from vminterface.vm.machine.regularfile import open_regular

#: Seconds without a byte after which the backup is given up; dom0 may have to ask its user meanwhile.
IDLE_TIMEOUT = 3600.0
_PART = ".part"
_UNFINISHED = regex(r"\..+\.[0-9a-f]{12}\.part", re.DOTALL)


def handle(call: Call) -> None:
    """Take the backup. Raises InvalidValue (location), ServiceFailed (the command's status), VMInterfaceError."""
    call.refuse_argument()
    line = location.read(call)
    desired = location.path(line)
    source, caller = call.stdin.fileno(), Caller(call.stdout.fileno())
    if call.machine.is_folder(desired):
        desired = os.path.join(desired, f"qubes-backup-{datetime.now():%Y-%m-%dT%H%M%S}")
    elif (command := location.shell_command(call.machine, line)) is not None:
        _pipe(source, command, caller)
        return
    elif not line.startswith("/") or line.endswith("/") or not call.machine.is_folder(os.path.dirname(line)):
        raise InvalidValue(
            f"'{printable_path(line, 120)}' is neither a folder nor the absolute path of a file in a folder"
            f"{location.hint(call.machine)}"
        )
    _write(source, call.machine.path(desired), caller)


def _pipe(source: int, command: list[str], caller: Caller) -> None:
    """Send all that comes to a command; one whose input breaks off is ended before it can take that for the end."""
    its_input, output = os.pipe()
    try:
        with Program(command, stdin=its_input, stderr=STDERR) as writer:
            os.close(its_input)
            its_input = -1
            # A command that reads no more says what it thinks of that by its status.
            with contextlib.suppress(BrokenPipeError):
                os.set_blocking(output, False)
                for block in stream.blocks(source, idle_timeout=IDLE_TIMEOUT):
                    rest = memoryview(block)
                    while rest:
                        caller.wait(output, events=select.POLLOUT)
                        rest = rest[os.write(output, rest) :]
                caller.check_the_end()
            os.close(output)
            output = -1
            status = writer.wait()
    finally:
        for descriptor in (its_input, output):
            if descriptor >= 0:
                os.close(descriptor)
    if status:
        raise ServiceFailed(f"the command ended with status {status}", status)


def _write(source: int, place: str, caller: Caller) -> None:
    """Write all that comes to a new file *place*. Raises VMInterfaceError; then there is no such file."""
    folder, name = os.path.split(place)
    _remove_abandoned(folder)
    temporary = os.path.join(folder, f".{name[:200]}.{os.urandom(6).hex()}{_PART}")
    try:
        if os.path.lexists(place):
            raise FileExistsError(0, "a file with this name already exists")
        target = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(target, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _fill(target, source)
            caller.check_the_end()
            name_file(temporary, place)
        finally:
            os.close(target)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
        _sync_folder(folder)
    except VMInterfaceError:
        raise
    except OSError as error:
        raise VMInterfaceError(f"{printable_path(place)}: {error.strerror}") from None


def _fill(target: int, source: int) -> None:
    size = 0
    for block in stream.blocks(source, idle_timeout=IDLE_TIMEOUT):
        stream.write_all(target, block)
        size += len(block)
    if not size:
        raise InvalidValue("the input ends after the location (expected a backup)")
    os.fsync(target)


def _remove_abandoned(folder: str) -> None:
    """Remove the unfinished files of ours in *folder* whose handler was killed: nobody holds their locks any more."""
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            if not _UNFINISHED.fullmatch(name):
                continue
            path = os.path.join(folder, name)
            with contextlib.suppress(OSError, VMInterfaceError):
                descriptor = open_regular(path, path, follow=False)
                try:
                    if os.fstat(descriptor).st_uid == os.geteuid():
                        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        os.unlink(path)
                finally:
                    os.close(descriptor)


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Not every file system can do that for a folder.
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
