"""Sends a Qubes file copy over a pair of descriptors, and takes the receiver's result whenever it comes."""

from __future__ import annotations

import os
import select
from collections.abc import Iterable
from contextlib import suppress

from vminterface.deadline import Deadline
from vminterface.errors import ConnectionLost, RemoteProtocolError
from vminterface.wire.qfile import Packer
from vminterface.wire.qfile_result import RESULT_MAX_BYTES, Result, check_result

#: Seconds that the receiver may take nothing, or say nothing after the end (it writes to its disk then).
IDLE_TIMEOUT = 600.0


def send(
    chunks: Iterable[bytes], packer: Packer, output: int, reply: int, *, idle_timeout: float = IDLE_TIMEOUT
) -> Result:
    """Write *chunks*, which *packer* makes as they are taken, to *output* and read the receiver's result from *reply*.

    A result that comes early ends the sending. *output* is closed in every case. Raises what *chunks* raises,
    :class:`vminterface.wire.qfile_result.Refused` for the receiver's error, :class:`ConnectionLost` if the receiver
    went away without a result, :class:`RemoteProtocolError` for an answer that is none or has another checksum, and
    :class:`vminterface.errors.DeadlineExceeded` if for *idle_timeout* seconds nothing was received or sent.
    """
    os.set_blocking(output, False)
    poll = select.poll()
    poll.register(output, select.POLLOUT)
    poll.register(reply, select.POLLIN)
    whole = True
    try:
        for chunk in chunks:
            if not _write(poll, output, reply, chunk, idle_timeout):
                whole = False
                break
    finally:
        os.close(output)
    result = _read_result(reply, idle_timeout)
    check_result(result, packer.crc)
    if not whole:
        raise RemoteProtocolError("the receiver confirmed the files before all of them were sent")
    return result


def _write(poll: select.poll, output: int, reply: int, chunk: bytes, idle_timeout: float) -> bool:
    """Write *chunk*; False if the receiver has answered, or takes no more."""
    rest = memoryview(chunk)
    while rest:
        deadline = Deadline.after(idle_timeout)
        ready = dict(poll.poll(deadline.remaining * 1000))
        if not ready:
            deadline.check("the receiver takes no more data")
        if reply in ready:
            return False
        with suppress(BlockingIOError):
            try:
                rest = rest[os.write(output, rest) :]
            except (BrokenPipeError, ConnectionResetError):
                return False
    return True


def _read_result(reply: int, idle_timeout: float) -> Result:
    deadline = Deadline.after(idle_timeout)
    poll = select.poll()
    poll.register(reply, select.POLLIN)
    untrusted_reply = b""
    while len(untrusted_reply) <= RESULT_MAX_BYTES:
        if not poll.poll(deadline.check("the receiver's result") * 1000):
            continue
        piece = os.read(reply, RESULT_MAX_BYTES + 1 - len(untrusted_reply))
        if not piece:
            break
        untrusted_reply += piece
    if not untrusted_reply:
        raise ConnectionLost("the receiver closed the connection without confirming the files")
    return Result.parse(untrusted_reply)
