"""One call of a Qubes RPC service, as its handler sees it: who calls, with what argument, and the two streams.

The environment is that of Qubes core-qrexec (``libqrexec/exec.c``): ``QREXEC_REMOTE_DOMAIN`` is dom0's word,
``QREXEC_SERVICE_ARGUMENT`` and the first command line argument are the caller's.
"""

from __future__ import annotations

import os
import select

from vminterface.deadline import Deadline
from vminterface.errors import ConnectionLost, InvalidValue, printable
from vminterface.vm.machine.machine import Machine

TYPE_CHECKING = False  # as the type checker takes it; importing typing would cost each call time
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import BinaryIO

#: Seconds within which what a handler reads at once must have come.
TIMEOUT = 60.0
#: Bytes of a service and its argument (Qubes core-qrexec's MAX_SERVICE_NAME_LEN).
ARGUMENT_LIMIT = 65000
_CHUNK = 65536
#: Characters of a note.
_NOTE_LIMIT = 1000
_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_NAME_CHARACTERS = _LETTERS | frozenset("0123456789_.-")
_ARGUMENT_CHARACTERS = _NAME_CHARACTERS | {"+"}
#: A VM's name has at most 31 characters, that of its stub domain 3 more.
_NAME_LIMIT = 34


class Call:
    """A call of *service*. *stdin* and *stdout* are unbuffered: what is not read yet may go to a program as it is.

    *source* is the calling VM's name or ``dom0``, None if unknown; ``argument`` is empty if there is none.
    """

    def __init__(
        self, service: str, source: str | None, argument: str, stdin: BinaryIO, stdout: BinaryIO, machine: Machine
    ) -> None:
        self.service = service
        self._source = source
        self.argument = argument
        self.stdin = stdin
        self.stdout = stdout
        self.machine = machine
        self._deadline: Deadline | None = None

    @classmethod
    def received(
        cls,
        service: str,
        machine: Machine,
        stdin: BinaryIO,
        stdout: BinaryIO,
        *,
        environment: Mapping[str, str],
        arguments: Sequence[str],
    ) -> Call:
        """Return the call that this process was started for. Raises InvalidValue for a source or argument of bad form.

        *arguments* are those of the command line after the program's name.
        """
        source = _source(environment.get("QREXEC_REMOTE_DOMAIN"))
        return cls(
            service, source, _argument(environment.get("QREXEC_SERVICE_ARGUMENT"), arguments), stdin, stdout, machine
        )

    @property
    def source(self) -> str:
        """The calling VM's name or ``dom0``. Raises InvalidValue if the caller is unknown.

        Nobody does where a program of this VM sends the answer to a service elsewhere, as the VM's own scripts do with
        qubes.GetAppmenus (``qrexec-client-vm dom0 qubes.SyncAppMenus /etc/qubes-rpc/qubes.GetAppmenus``).
        """
        if self._source is None:
            raise InvalidValue("QREXEC_REMOTE_DOMAIN is not set (expected: the qrexec agent starts this program)")
        return self._source

    def refuse_argument(self) -> None:
        """Raise InvalidValue if the call has an argument: for services that take none."""
        if self.argument:
            raise InvalidValue(f"does not accept an argument, but got '{printable(self.argument, 60)}'")

    def within(self, seconds: float) -> Deadline:
        """Let what is read and the machine's programs have *seconds* from now together; return that deadline.

        It is to come before the caller's own: then the caller still hears the reason.
        """
        self._deadline = self.machine.deadline = Deadline.after(seconds)
        return self._deadline

    def read_all(self, limit: int, *, timeout: float = TIMEOUT) -> bytes:
        """Return all that the caller sends until it closes its side.

        Raises InvalidValue for more than *limit* bytes, DeadlineExceeded after *timeout* seconds (or what
        :meth:`within` gave), ConnectionLost.
        """
        deadline = self._deadline or Deadline.after(timeout)
        pieces: list[bytes] = []
        left = limit + 1
        while left and (piece := self._read(min(left, _CHUNK), deadline)):
            pieces.append(piece)
            left -= len(piece)
        if not left:
            raise InvalidValue(f"the input is too long (expected at most {limit} bytes)")
        return b"".join(pieces)

    def read_line(self, limit: int, *, timeout: float = TIMEOUT) -> bytes:
        """Return the next line with its end, which only the last one may lack; empty at the end of the input.

        Nothing behind the line is taken from stdin. Raises InvalidValue for a line of more than *limit* bytes, its end
        included, DeadlineExceeded as :meth:`read_all` does, ConnectionLost.
        """
        deadline = self._deadline or Deadline.after(timeout)
        line = bytearray()
        while not line.endswith(b"\n"):
            if len(line) == limit:
                raise InvalidValue(f"a line of the input is too long (expected at most {limit} bytes)")
            if not (byte := self._read(1, deadline)):
                break
            line += byte
        return bytes(line)

    def write(self, data: bytes) -> None:
        """Send *data* to the caller, all of it. Raises BrokenPipeError if it has gone."""
        left = memoryview(data)
        while left:
            left = left[self.stdout.write(left) :]

    def note(self, text: str) -> None:
        """Send the caller *text* beside the reply: one printable line on standard error."""
        try:
            os.write(2, f"{self.service}: {printable(text, _NOTE_LIMIT)}\n".encode("ascii"))
        except OSError:
            return  # nobody is there to read it

    def _read(self, size: int, deadline: Deadline) -> bytes:
        try:
            descriptor = self.stdin.fileno()
        except OSError:  # not a file of the system's
            return self.stdin.read(size)
        waiting = select.poll()
        waiting.register(descriptor, select.POLLIN)
        if not waiting.poll(1000 * deadline.remaining):
            deadline.check("the caller's input")
        try:
            return os.read(descriptor, size)
        except ConnectionError as error:
            raise ConnectionLost(f"the caller's input ended early: {error.strerror}") from None


def _source(name: str | None) -> str | None:
    if name is None:
        return None
    plain = name.removeprefix("@")
    if not plain or len(name) > _NAME_LIMIT or plain[0] not in _LETTERS or not _NAME_CHARACTERS.issuperset(plain):
        raise InvalidValue(f"'{printable(name, 60)}' is not a valid name of a calling VM")
    return name


def _argument(from_environment: str | None, arguments: Sequence[str]) -> str:
    from_command = arguments[0] if arguments else None
    argument = from_environment or from_command or ""
    if len(arguments) > 1 or (from_command and from_environment is not None and from_command != from_environment):
        raise InvalidValue("the service argument on the command line differs from the one in the environment")
    if len(argument) > ARGUMENT_LIMIT or not _ARGUMENT_CHARACTERS.issuperset(argument):
        raise InvalidValue(
            f"'{printable(argument, 60)}' is not a valid service argument (expected at most {ARGUMENT_LIMIT} of"
            " A-Z a-z 0-9 . _ - +)"
        )
    return argument
