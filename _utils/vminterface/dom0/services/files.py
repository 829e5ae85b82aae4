"""``qubes.Filecopy`` and ``qubes.OpenInVM``: files of dom0 sent into a VM, and one that is edited there.

Sources: Qubes core-agent-linux (``qvm-copy``, ``qopen-in-vm.c``) and linux-utils ``libqubes-rpc-filecopy``.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any, BinaryIO

from vminterface.channel.qrexec.client import Call, Qrexec, checked_timeout
from vminterface.deadline import Deadline
from vminterface.dom0.services import room
from vminterface.dom0.services.reply import Captured
from vminterface.dom0.transfer.send import Progress, Sender, Survey
from vminterface.dom0.transfer.unpack import Limits
from vminterface.dom0.transfer.wholefile import FileError, WholeFile
from vminterface.errors import (
    InvalidValue,
    LocalProtocolError,
    RemoteProtocolError,
    ServiceFailed,
    printable,
    printable_path,
)
from vminterface.wire import openinvm
from vminterface.wire.qfile_result import RESULT_MAX_BYTES, Refused, Result, check_result

COPY = "qubes.Filecopy"
OPEN = "qubes.OpenInVM"
#: Where a VM's user finds what dom0 sends.
INCOMING = "QubesIncoming/dom0"
ALL_NAMES = "allow-all-names"
#: Seconds that a transfer or an edit may take unless the call says otherwise.
TIMEOUT = 3600.0
#: Bytes that an edited file may have when it comes back.
EDITED_LIMIT = 1 << 30
_BLOCK = 1 << 18


class NotTaken(ServiceFailed):
    """The VM refused a file; ``code`` is its errno (:data:`vminterface.wire.qfile_result.LEGAL_EOF` apart)."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message, code & 0xFF)
        self.code = code


@dataclass(frozen=True, slots=True)
class Sent:
    """What a VM has now: *total_bytes* of content. *skipped*: pipes, sockets and devices that were not sent."""

    total_bytes: int
    skipped: tuple[bytes, ...]

    def as_data(self) -> dict[str, Any]:
        """Return both as plain data, fit for a terminal."""
        return {"total_bytes": self.total_bytes, "skipped": [printable(path, 4096) for path in self.skipped]}


def send(
    qrexec: Qrexec,
    vm: str,
    paths: Sequence[str | bytes | PathLike[str]],
    *,
    allow_all_names: bool = False,
    skip_links: bool = False,
    follow_links: bool = False,
    progress: Progress | None = None,
    timeout: float = TIMEOUT,
) -> Sent:
    """Copy files and folders into ``QubesIncoming/dom0`` of the VM's user.

    Everything is read before anything is sent, and the VM is asked whether it has room for it.

    With *allow_all_names* the VM is asked to take any character in names where one is beyond ASCII: it cannot be asked
    after it has refused one, for what came before stays there. *skip_links* and *follow_links* as for :class:`Sender`.
    *progress* is called with the bytes of content sent and their total.

    Raises InvalidValues (names and links that no receiver takes, or that cannot be followed), SourceError,
    :class:`NotTaken`, RemoteProtocolError, else as :meth:`Qrexec.call`.
    """
    survey = inspect(paths, allow_all_names=allow_all_names, skip_links=skip_links, follow_links=follow_links)
    deadline = Deadline.after(checked_timeout(timeout))
    room.check(qrexec, vm, [INCOMING, "."], survey.least_bytes, f"{COPY} in {vm}", deadline)
    sender = Sender(paths, skip_links=skip_links, follow_links=follow_links)
    argument = ALL_NAMES if allow_all_names and survey.may_need_all_names else ""
    chunks = sender.chunks(progress, survey.total_bytes)
    _check(vm, sender, *_exchange(qrexec, vm, argument, chunks, deadline))
    return Sent(survey.total_bytes, survey.skipped)


def inspect(
    paths: Sequence[str | bytes | PathLike[str]],
    *,
    allow_all_names: bool = False,
    skip_links: bool = False,
    follow_links: bool = False,
) -> Survey:
    """Return what :func:`send` would send. Raises as it does for *paths*, before any call."""
    survey = Sender(paths, skip_links=skip_links, follow_links=follow_links).survey()
    if survey.needs_all_names is not None and not allow_all_names:
        shown = printable_path(survey.needs_all_names)
        raise InvalidValue(
            f"{shown}: the name or link target has characters that a VM only accepts with allow_all_names"
        )
    return survey


def _exchange(
    qrexec: Qrexec, vm: str, argument: str, chunks: Iterator[bytes], deadline: Deadline
) -> tuple[bytes, ServiceFailed | None]:
    """Return the receiver's reply, and how its service failed."""
    captured = Captured()
    try:
        qrexec.call(Call(
            vm, COPY, argument, stdin=chunks, stdout_limit=RESULT_MAX_BYTES, stdout_to=captured, early_reply=True,
            deadline=deadline))  # fmt: skip
    except ServiceFailed as error:
        # With a result, the status is only the result's code once more.
        return captured.untrusted_data, error
    return captured.untrusted_data, None


def _check(vm: str, sender: Sender, untrusted_reply: bytes, failure: ServiceFailed | None) -> None:
    if failure is not None and not untrusted_reply:
        raise failure
    try:
        check_result(Result.parse(untrusted_reply), sender.crc)
    except Refused as error:
        raise NotTaken(f"{COPY} in {vm}: {error}", error.code) from error
    except RemoteProtocolError as error:
        raise RemoteProtocolError(f"{COPY} in {vm}: {error}") from error
    if failure is not None:
        raise failure


def open_in_vm(
    qrexec: Qrexec, vm: str, path: str | PathLike[str], *, view_only: bool = False, timeout: float = TIMEOUT
) -> bool:
    """Open the file *path* in *vm* and wait until it is closed there; return whether an edited copy replaced it.

    The copy comes into a new file beside *path* and takes its place only if the service ended well and sent
    something, and leaves as much of the disk free as a restore does. It has the owner, group and permissions of the
    former file, but no set-id bits. With *view_only* nothing is taken back. Raises InvalidValue, FileError,
    OutputTooLarge (more than EDITED_LIMIT comes back), else as :meth:`Qrexec.call`.
    """
    place = os.fspath(path)
    try:
        header = openinvm.header(os.fsencode(place), view_only=view_only)
    except LocalProtocolError as error:
        raise InvalidValue(str(error)) from error
    try:
        descriptor = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise FileError.at(place, error) from error
    with open(descriptor, "rb") as source:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise InvalidValue(f"{printable_path(place)}: is not a regular file")
        pieces = _pieces(header, source)
        if view_only:
            qrexec.call(Call(vm, OPEN, stdin=pieces, stdout_limit=EDITED_LIMIT, stdout_to=_Dropped(), timeout=timeout))
            return False
        # Through a link, so that the file itself is replaced.
        owner = (found.st_uid, found.st_gid)
        with WholeFile(os.path.realpath(place), owner=owner, reserve=Limits().reserve) as edited:
            qrexec.call(Call(vm, OPEN, stdin=pieces, stdout_limit=EDITED_LIMIT, stdout_to=edited, timeout=timeout))
            if not edited.size:
                return False
            # What a VM has written shall run as nobody but its caller.
            edited.put(mode=found.st_mode & 0o777)
    return True


class _Dropped:
    def write(self, untrusted_data: bytes) -> None:
        """Take nothing."""


def _pieces(header: bytes, source: BinaryIO) -> Iterator[bytes]:
    yield header
    try:
        while block := source.read(_BLOCK):
            yield block
    except OSError as error:
        raise FileError.at(source.name, error) from error
