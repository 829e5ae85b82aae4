"""A file of the command line is read to its end, and never more of it or longer than there is sense in."""

from __future__ import annotations

import os
import select
import stat
import sys
import time

from vminterface.errors import InvalidValue

#: Bytes of a pillar: one of ten thousand VMs has less.
LIMIT = 16 << 20
#: Seconds that a pipe may take, as that of a shell's ``<(salt-call …)``.
PATIENCE = 120.0
_PIECE = 1 << 16


def read(path: str) -> str:
    """Return the text of the regular file or the pipe *path*, or of standard input for ``-``.

    Raises InvalidValue, which names the file, for what is longer than LIMIT, no UTF-8, or not at its end in PATIENCE.
    """
    if not path:
        raise InvalidValue("'': is not the name of a file (expected a file, or - for standard input)")
    try:
        data = standard_input(LIMIT + 1) if path == "-" else _of_file(path)
        if len(data) > LIMIT:
            raise InvalidValue(f"{path}: is too long (expected at most {LIMIT >> 20} MiB)")
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidValue(f"{path}:{line}: the byte \\x{data[error.start]:02x} is not valid UTF-8") from None
    except OSError as error:
        raise InvalidValue(f"{path}: cannot be read: {error.strerror or error}") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def standard_input(limit: int) -> bytes:
    """Return up to *limit* bytes of standard input; raises OSError, also where it is closed."""
    if sys.stdin is None or sys.stdin.closed:
        raise OSError("standard input is closed")
    return sys.stdin.buffer.read(limit)


def _of_file(path: str) -> bytes:
    # Without O_NONBLOCK the open of a pipe that nobody writes to would wait for ever.
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        mode = os.fstat(file).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISFIFO(mode) and not stat.S_ISDIR(mode):
            raise OSError("is not a regular file (expected a file, a pipe, or - for standard input)")
        pieces, length, end = [], 0, time.monotonic() + PATIENCE
        while length <= LIMIT:
            if stat.S_ISFIFO(mode) and not select.select([file], [], [], max(0.0, end - time.monotonic()))[0]:
                raise OSError(f"did not end within {PATIENCE:.0f} s")
            piece = os.read(file, _PIECE)
            if not piece:
                break
            pieces.append(piece)
            length += len(piece)
    finally:
        os.close(file)
    return b"".join(pieces)
