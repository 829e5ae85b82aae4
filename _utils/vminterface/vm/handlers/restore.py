"""``qubes.Restore``: send dom0 the members of a backup that it asks for.

Input: a line with the location, a line with the beginnings of the members' names between blanks (empty: all of them),
and at the end the result of the receiver in dom0. Output: a qfile stream. The location is a file, or a shell command
that writes the archive, where commands are enabled. Exit status 2: the location does not exist.
After Qubes core-agent-linux's ``qubes.Restore`` and ``tar2qfile.c``.
"""

from __future__ import annotations

import errno
import io
import os

from vminterface.channel import filecopy
from vminterface.errors import ServiceFailed, VMInterfaceError, printable_path
from vminterface.vm.handlers.files import location
from vminterface.vm.handlers.files.archive import Conversion
from vminterface.vm.handlers.runtime.call import Call
from vminterface.vm.handlers.runtime.caller import Caller
from vminterface.vm.handlers.runtime.programs import STDERR, Program
from vminterface.wire.qfile_result import Refused

TYPE_CHECKING = False  # as the type checker takes it; importing typing would cost each call time
if TYPE_CHECKING:
    from typing import Any

#: Bytes of the line with the members' names.
MEMBERS_LIMIT = 1 << 20
NO_LOCATION = 2
#: Seconds that a command has to end when it has nothing more to say.
END_TIMEOUT = 60.0


def handle(call: Call) -> None:
    """Send the members. Raises InvalidValue, ServiceFailed, VMInterfaceError; Refused: the reply of dom0's receiver."""
    call.refuse_argument()
    restore(call, location.read(call))


def restore(call: Call, line: str) -> None:
    """Read the line with the members and send them from the location *line*. Errors as for :func:`handle`."""
    desired = os.fsencode(location.read_line(call, "list of members", MEMBERS_LIMIT)).split()
    path = location.path(line)
    if call.machine.is_file(path):
        try:
            source = call.machine.open_file(path)
        except OSError as error:
            raise ServiceFailed(f"{printable_path(path)}: {error.strerror}", NO_LOCATION) from None
        _send(call, source, desired, seekable=True)
    elif (command := location.shell_command(call.machine, line)) is not None:
        _from_command(call, command, desired)
    else:
        raise ServiceFailed(f"'{printable_path(line, 120)}' is not a file{location.hint(call.machine)}", NO_LOCATION)


def _from_command(call: Call, command: list[str], desired: list[bytes]) -> None:
    source, program_end = os.pipe()
    try:
        reader = Program(command, stdout=program_end, stderr=STDERR)
    except BaseException:
        os.close(source)
        raise
    finally:
        os.close(program_end)
    with reader:
        # One that was not listened to until its end is ended, and cannot fail any more.
        status = reader.wait(timeout=END_TIMEOUT) if _send(call, source, desired, seekable=False) else 0
    if status:
        raise VMInterfaceError(f"the command ended with status {status}")


class _FromProgram(io.RawIOBase):
    """What a program writes to the pipe *source*, for as long as *caller* is there: the program may take any time."""

    def __init__(self, source: int, caller: Caller) -> None:
        super().__init__()
        self._source, self._caller = source, caller

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._caller.wait(self._source)
        return os.readv(self._source, [buffer])

    def close(self) -> None:
        if not self.closed:
            os.close(self._source)
        super().close()


def _send(call: Call, source: int, desired: list[bytes], *, seekable: bool) -> bool:
    """Send what is *desired* of the archive *source*, which is closed here; return whether it was read to its end."""
    caller = Caller(call.stdout.fileno())
    with open(source, "rb") if seekable else io.BufferedReader(_FromProgram(source, caller)) as file:
        conversion = Conversion(file, desired, seekable=seekable)
        try:
            filecopy.send(conversion.chunks(), conversion.packer, call.stdout.fileno(), call.stdin.fileno())
        except Refused as error:
            # With that dom0 says that it has got all that it wants.
            if error.code != errno.EDQUOT:
                raise
            return False
    return conversion.whole
