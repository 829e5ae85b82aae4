"""Where a VM has a backup: the line that names it, and ``qubes.RegisterBackupLocation``, which gives it an id.

A VM that restores need not know, and cannot choose, what it gets from the VM that has the backup: the policy allows it
``qubes.RestoreById+ID`` there, for as long as dom0's own call lasts. Sources: Qubes core-agent-linux (handlers),
core-admin-client ``backup/dispvm.py`` (what dom0 takes for an id).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from vminterface.channel import process
from vminterface.channel.process import Conversation
from vminterface.channel.qrexec.client import Call, Qrexec, checked_timeout
from vminterface.deadline import Deadline
from vminterface.dom0.services import commands
from vminterface.dom0.services.reply import Captured
from vminterface.errors import InvalidValue, RemoteProtocolError, VMInterfaceError, printable, printable_lines
from vminterface.regex import regex

SERVICE = "qubes.RegisterBackupLocation"
#: Where a program of dom0 finds the id in its environment, and bytes of output that it may have.
VARIABLE = "BACKUP_LOCATION_ID"
_OUTPUT_LIMIT = 1 << 20
_LINE_LIMIT = 4096
#: Characters of an id: the stock handler gives 8 letters and digits, ours 8 hexadecimal digits.
_ID_LIMIT = 64
_ID = regex(r"[A-Za-z0-9]+\Z", re.ASCII)

T = TypeVar("T")


def line(location: str) -> bytes:
    """Return the line that names *location*. Raises InvalidValue for anything but one line."""
    text = location.encode("utf-8", "surrogateescape")
    if not text.strip() or len(text) > _LINE_LIMIT or any(byte < 0x20 or byte == 0x7F for byte in text):
        raise InvalidValue(
            f"'{printable(location, 60)}' is not a valid place for a backup (expected one line of at most"
            f" {_LINE_LIMIT} bytes,"
            " no control characters)"
        )
    return text + b"\n"


def parse_id(text: str) -> str:
    """Return *text* if it may be the id of a location. Raises InvalidValue."""
    if len(text) > _ID_LIMIT or not _ID.match(text):
        raise InvalidValue(
            f"'{printable(text, 60)}' is not a valid id of a backup location"
            f" (expected 1 to {_ID_LIMIT} letters and digits)"
        )
    return text


def lend(qrexec: Qrexec, vm: str, location: str, use: Callable[[str], T], *, timeout: float = 60.0) -> T:
    """Let *vm* give away what it has at *location*, a file of its or a command, while *use* is called with the id.

    *timeout* seconds are for the id; *use* may take any time. Returns what *use* does. Raises InvalidValue,
    RemoteProtocolError for an invalid id, what *use* raises, else as :meth:`Qrexec.call`.
    """
    captured = Captured()
    results: list[T] = []

    def conversation() -> Iterator[bytes | None]:
        yield line(location)
        while not captured.untrusted_data.endswith(b"\n"):
            yield None
        results.append(use(_id(vm, captured.untrusted_data)))

    line(location)
    try:
        qrexec.call(
            Call(vm, SERVICE, stdin=conversation(), stdout_limit=_ID_LIMIT + 1, stdout_to=captured, timeout=timeout)
        )
    except VMInterfaceError:
        # How the call ends is of no interest once its id has been used.
        if not results:
            raise
    if not results:
        _id(vm, captured.untrusted_data)
        raise RemoteProtocolError(f"{SERVICE} in {vm}: the id is incomplete")
    return results[0]


def lend_to_program(
    qrexec: Qrexec, vm: str, location: str, argv: Sequence[str], *, timeout: float = 3600.0
) -> commands.Output:
    """Run the program *argv* of dom0, which has the id in its environment, as :func:`lend` calls what uses it.

    *timeout* seconds are the program's. Raises ProgramMissing, DeadlineExceeded, OutputTooLarge besides.
    """
    if not argv:
        raise InvalidValue("is empty (expected a program of dom0)", "argv")
    checked_timeout(timeout)
    name = printable(argv[0], 120)

    def run(identifier: str) -> commands.Output:
        bounds = Conversation(stdout_limit=_OUTPUT_LIMIT)
        ended = process.run(argv, name, Deadline.after(timeout), bounds, env={VARIABLE: identifier})
        return commands.Output(name, ended.status, ended.untrusted_stdout, printable_lines(ended.untrusted_stderr))

    return lend(qrexec, vm, location, run)


def _id(vm: str, untrusted_reply: bytes) -> str:
    try:
        return parse_id(untrusted_reply.removesuffix(b"\n").decode("latin-1"))
    except InvalidValue as error:
        raise RemoteProtocolError(f"{SERVICE} in {vm}: {error}") from error
