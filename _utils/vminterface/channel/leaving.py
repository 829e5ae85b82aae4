"""Start a program that goes on by itself: only whether it fails soon is waited for.

Its output must have a reader for as long as it runs, or its next line would end it: that is a shell, which keeps the
first bytes for us and drops the rest.
"""

from __future__ import annotations

import os
import select
import subprocess
import threading
from collections.abc import Sequence
from typing import IO, cast

from vminterface.channel.interruptions import Held
from vminterface.channel.process import STDERR_LIMIT, Ended, not_started
from vminterface.deadline import Deadline

#: Seconds that the last words of a program that has ended may take to come.
_LAST = 1.0
#: Byte by byte, as head hands nothing on before it has them all.
_READER = ("/bin/sh", "-c", f"dd bs=1 count={STDERR_LIMIT}; exec cat >/dev/null")


def leave(argv: Sequence[str], what: str, seconds: float, *, stdin: bytes = b"") -> Ended | None:
    """Start *argv* and return how it ended; None where it still runs after *seconds*, and is left alone.

    *what* names the undertaking in errors. *stdin* is all that it is given. Of its two outputs together the first 4096
    bytes are kept, as ``untrusted_stderr``. Raises ProgramMissing, ProgramFailed (it could not be started).
    """
    # A signal between the two starts, or before somebody reaps them, would leave one of them behind.
    with Held():
        reader = _start(_READER, what, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        stderr, output = cast(IO[bytes], reader.stdout), cast(IO[bytes], reader.stdin)
        try:
            given = _file(stdin)
            try:
                process = _start(argv, what, stdin=given, stdout=output, stderr=output)
            finally:
                os.close(given)
        except BaseException:
            stderr.close()
            raise
        finally:
            output.close()
            _reap(reader)
        _reap(process)
    with stderr:
        try:
            status = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return None
        return Ended(status, b"", _rest(stderr))


def _start(
    argv: Sequence[str], what: str, *, stdin: int, stdout: int | IO[bytes], stderr: int | IO[bytes]
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(argv, bufsize=0, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True)
    except OSError as error:
        raise not_started(what, argv[0], error) from error


def _reap(process: subprocess.Popen[bytes]) -> None:
    """Let its end be taken note of whenever it comes: else it would stay in the table of processes."""
    threading.Thread(target=process.wait, daemon=True).start()


def _file(data: bytes) -> int:
    """Return a descriptor that reads *data*: unlike a pipe, nobody has to stay to fill it."""
    descriptor = os.memfd_create("stdin", os.MFD_CLOEXEC)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _rest(stderr: IO[bytes]) -> bytes:
    """Return what the reader has kept; it ends with the program, unless that has left a child with its outputs."""
    kept, deadline = b"", Deadline.after(_LAST)
    waiting = select.poll()
    waiting.register(stderr.fileno(), select.POLLIN)
    while waiting.poll(1000 * deadline.remaining) and (data := os.read(stderr.fileno(), STDERR_LIMIT)):
        kept += data
    return kept
