"""Bytes that a caller streams without saying how many: read as they come, within a bound on how long nothing comes."""

from __future__ import annotations

import os
import select

from vminterface.deadline import Deadline
from vminterface.errors import ConnectionLost

TYPE_CHECKING = False  # as the type checker takes it; importing typing would cost each call time
if TYPE_CHECKING:
    from collections.abc import Iterator

#: Bytes that are read at once.
BLOCK = 1 << 20
#: Seconds without a byte after which the caller is given up.
IDLE_TIMEOUT = 600.0


def read_exactly(source: int, size: int, *, timeout: float) -> bytes:
    """Return the next *size* bytes of the descriptor *source*, fewer where it ends.

    Raises DeadlineExceeded after *timeout* seconds, ConnectionLost.
    """
    deadline = Deadline.after(timeout)
    data = b""
    while len(data) < size and (piece := _read(source, size - len(data), deadline)):
        data += piece
    return data


def blocks(source: int, *, idle_timeout: float = IDLE_TIMEOUT) -> Iterator[bytes]:
    """Yield what comes from the descriptor *source* until its end. Raises DeadlineExceeded, ConnectionLost."""
    while block := _read(source, BLOCK, Deadline.after(idle_timeout)):
        yield block


def write_all(target: int, data: bytes) -> None:
    """Write all of *data* to the descriptor *target*. Raises OSError."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(target, rest) :]


def _read(source: int, size: int, deadline: Deadline) -> bytes:
    waiting = select.poll()
    waiting.register(source, select.POLLIN)
    if not waiting.poll(1000 * deadline.remaining):
        deadline.check("the caller's input")
    try:
        return os.read(source, size)
    except ConnectionError as error:
        raise ConnectionLost(f"the caller's input ended early: {error.strerror}") from None
