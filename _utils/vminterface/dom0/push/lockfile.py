"""A file that dom0's programs share: ranges of it that one open file locks at a time, and what is written in it.

Above all that of the VMs' locks, with text about who holds them.

The locks are fcntl(2)'s "open file description" locks, which belong to the open file: two threads of one program
exclude each other like two programs, and the kernel releases them with the last descriptor, so also at a kill -9.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
import sys
import time
from pathlib import Path

from vminterface.dom0.history.shared import GROUP, share
from vminterface.errors import LockUnavailable, printable

#: Where the file is, and the variable that names another folder, as in a lab.
FOLDER = "/run/vminterface"
FOLDER_VARIABLE = "VMINTERFACE_LOCK_DIR"
NAME = "vms.lock"
#: ``struct flock``: type, whence, start, length, pid (0 for this kind of lock).
_FLOCK = struct.Struct("hhqqi4x")


class LockFile:
    """The open file *name* in *folder*, if not where it usually is. Raises LockUnavailable where it cannot be used."""

    def __init__(self, folder: str | None = None, name: str = NAME) -> None:
        self.path = os.path.join(folder or os.environ.get(FOLDER_VARIABLE) or FOLDER, name)
        self._file = _opened(self.path)

    @property
    def closed(self) -> bool:
        """Whether it was closed, with which all its locks are released."""
        return self._file < 0

    def close(self) -> None:
        """Release all locks; may be called twice."""
        if not self.closed:
            os.close(self._file)
            self._file = -1

    def lock(self, start: int, length: int) -> bool:
        """Lock so many bytes from *start* on; return False where another has one of them. Raises LockUnavailable."""
        try:
            self._set(fcntl.F_WRLCK, start, length)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise LockUnavailable(f"{self.path}: cannot be locked: {error.strerror}") from error
        return True

    def is_locked(self, start: int, length: int) -> bool:
        """Return whether another open file has locked one of so many bytes from *start* on."""
        asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, start, length, 0)
        return bool(_FLOCK.unpack(fcntl.fcntl(self._file, fcntl.F_OFD_GETLK, asked))[0] != fcntl.F_UNLCK)

    def unlock(self, start: int, length: int) -> None:
        """Let others have so many bytes from *start* on."""
        self._set(fcntl.F_UNLCK, start, length)

    def size(self) -> int:
        """Return how many bytes the file has."""
        return os.fstat(self._file).st_size

    def read(self, size: int, start: int) -> bytes:
        """Return so many bytes from *start* on, fewer at its end."""
        return os.pread(self._file, size, start)

    def write(self, data: bytes, start: int) -> None:
        """Put *data* there, whoever has locked it. Raises LockUnavailable, as where the disk is full."""
        try:
            os.pwrite(self._file, data, start)
        except OSError as error:
            raise LockUnavailable(f"{self.path}: cannot be written: {error.strerror}") from error

    def replace(self, data: bytes) -> None:
        """Let the file hold *data* and nothing else."""
        self.write(data, 0)
        os.ftruncate(self._file, len(data))

    def holder(self) -> str:
        """Return the file's line for this program while it holds a lock: process, since, program."""
        return f"{os.getpid()} {time.strftime('%Y-%m-%dT%H:%M:%S')} {_program()}"

    def _set(self, kind: int, start: int, length: int) -> None:
        fcntl.fcntl(self._file, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, start, length, 0))


def _opened(path: str) -> int:
    """Open the file, made if need be: root's and the group's alone, as any reader of a file may lock it."""
    try:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LockUnavailable(
            f"{path}: {error.strerror}: this file keeps two programs from writing to a VM at the same time"
            f" (expected to run as root, or in group {GROUP} after root's first push; {FOLDER_VARIABLE} sets another"
            " folder)"
        ) from error
    try:
        made = os.fstat(file)
        if not stat.S_ISREG(made.st_mode):
            raise LockUnavailable(f"{path}: is not a regular file")
        if os.geteuid() == made.st_uid == 0 and stat.S_IMODE(made.st_mode) == 0o600:
            share(file, 0o660)
    except BaseException:
        os.close(file)
        raise
    return file


def _program() -> str:
    """Return the command line of this program, short."""
    program, *words = sys.argv or [""]
    path = Path(program)
    name = path.parent.name if path.name == "__main__.py" else path.name
    return printable(" ".join([name or "python", *words]), 100)
