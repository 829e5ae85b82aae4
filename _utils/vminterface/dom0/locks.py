"""One writer at a time for each VM in this dom0: locks that end with their process.

All locks are ranges of one file, a table with a line for each VM, because a range takes no descriptor of its own: 200
VMs need one, as one VM does. They are fcntl(2)'s "open file description" locks, which belong to the open file: two
threads of one program exclude each other like two programs, and the kernel releases them with the last descriptor, so
also at a kill -9. The line says who holds the lock, for the error of those who wait in vain; it decides nothing.

Who waits has a place of its own, the last byte of the line: it is next, and who comes later waits for that place. So a
program that writes again and again, as a run of many states does, lets the others in between.

Nobody waits for one lock while holding another and doing nothing with it: a push works on the VMs that it has while it
waits for the others, and :meth:`VMLocks.take_all` takes them in the order of the table. So there is no deadlock.
"""

from __future__ import annotations

import errno
import fcntl
import grp
import os
import stat
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from vminterface.deadline import Deadline
from vminterface.errors import DeadlineExceeded, Interrupted, LockUnavailable, printable

#: Where the file is, and the variable that names another folder, as in a lab.
FOLDER = "/run/vminterface"
FOLDER_VARIABLE = "VMINTERFACE_LOCK_DIR"
NAME = "vms.lock"
#: Who may write to VMs beside root on Qubes; their group may use the file that root has made.
GROUP = "qubes"
#: Seconds between two attempts at a lock that another has: the first, and the longest.
PAUSES = (0.002, 0.05)

#: Bytes of a line, its newline included; line 0 is the lock of the table itself.
_LINE = 256
#: Characters of the VM's name in it.
_NAME = 80
#: Lines at most; a file that is longer is none of ours.
_LINES_MAX = 100_000
#: ``struct flock``: type, whence, start, length, pid (0 for this kind of lock).
_FLOCK = struct.Struct("hhqqi4x")


class VMLocks:
    """The locks that one push, or one change of bare keys, has taken. Use it in a ``with`` block, which releases them.

    *folder* is where the file is, if not where it usually is. Raises LockUnavailable where it cannot be used. Its
    methods may be called from several threads.
    """

    def __init__(self, folder: str | None = None) -> None:
        self.path = os.path.join(folder or os.environ.get(FOLDER_VARIABLE) or FOLDER, NAME)
        self._file = _opened(self.path)
        self._lines: dict[str, int] = {}
        self._taken: set[str] = set()
        #: The VMs for which this object is the next.
        self._next: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Release all locks; may be called twice."""
        if self._file >= 0:
            # By name, as a process that was forked meanwhile has the open file too.
            for vm in sorted(self._taken):
                self.release(vm)
            for vm in sorted(self._next):
                self.give_up(vm)
            os.close(self._file)
            self._file = -1

    def take(self, vm: str) -> bool:
        """Take the lock of *vm* if nobody else has it or is the next; return whether this object has it now.

        If not, it may be the next from now on: try again soon, or :meth:`give_up`.
        """
        line = self._line(vm)
        if vm not in self._next and not self._lock(line, place=True):
            return False
        self._next.add(vm)
        if not self._lock(line):
            return False
        self._taken.add(vm)
        self.give_up(vm)
        self._write(line, f"{_in_table(vm)} {os.getpid()} {time.strftime('%Y-%m-%dT%H:%M:%S')} {_program()}")
        return True

    def give_up(self, vm: str) -> None:
        """Let another be the next for *vm*."""
        if vm in self._next:
            self._set(self._line(vm), fcntl.F_UNLCK, place=True)
            self._next.discard(vm)

    def release(self, vm: str) -> None:
        """Let others have *vm*."""
        line = self._line(vm)
        self._write(line, _in_table(vm))
        self._set(line, fcntl.F_UNLCK)
        self._taken.discard(vm)

    def take_all(self, vms: Iterable[str], deadline: Deadline, stop: threading.Event) -> None:
        """Take the locks of *vms*, waiting for those that others have.

        Raises DeadlineExceeded, with who has it, and Interrupted once *stop* is set.
        """
        for vm in sorted(set(vms), key=self._line):
            if not _tried(lambda vm=vm: stop.is_set() or self.take(vm), deadline):  # type: ignore[misc]
                raise self.held(vm, deadline.seconds)
            if stop.is_set():
                raise Interrupted(f"{vm}: interrupted before anything was written")

    def held(self, vm: str, seconds: float) -> DeadlineExceeded:
        """Return the error of who has waited for *vm* in vain: it names who has it."""
        text = os.pread(self._file, _LINE, self._line(vm) * _LINE).decode("ascii", "replace")
        _, pid, since, program = (text.split(maxsplit=3) + [""] * 4)[:4]
        who = f"process {printable(pid)} ({printable(program.strip())}), since {printable(since)}"
        return DeadlineExceeded(
            f"{vm}: another program writes to it and did not end within {seconds:g} s: "
            f"{who if program else 'a process that has just begun'}"
        )

    def _line(self, vm: str) -> int:
        """Return the number of the line of *vm*, which is added if there is none yet."""
        name = _in_table(vm)
        if name not in self._lines:
            self._lines = self._table()
        if name not in self._lines:
            if not _tried(lambda: self._lock(0), Deadline.after(5.0)):
                raise LockUnavailable(f"{self.path}: locked for more than 5 s by a program that adds a VM to it")
            try:
                self._lines = self._table()  # another may have added it
                if name not in self._lines:
                    line = len(self._lines) + 1
                    if line == 1:
                        self._write(0, "# VM, and while it is locked: process, since, program")
                    self._write(line, name)
                    self._lines[name] = line
            finally:
                self._set(0, fcntl.F_UNLCK)
        return self._lines[name]

    def _table(self) -> dict[str, int]:
        size = os.fstat(self._file).st_size
        if size > _LINES_MAX * _LINE:
            raise LockUnavailable(f"{self.path}: holds {size} bytes (expected at most {_LINES_MAX} lines)")
        text = os.pread(self._file, size, 0).decode("ascii", "replace")
        found = {}
        for number in range(1, size // _LINE):
            name = text[number * _LINE : (number + 1) * _LINE].partition(" ")[0]
            found[name] = number
        return found

    def _write(self, line: int, text: str) -> None:
        os.pwrite(self._file, f"{printable(text, _LINE - 1):<{_LINE - 1}}\n".encode("ascii"), line * _LINE)

    def _lock(self, line: int, *, place: bool = False) -> bool:
        try:
            self._set(line, fcntl.F_WRLCK, place=place)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise LockUnavailable(f"{self.path}: cannot be locked: {error.strerror}") from error
        return True

    def _set(self, line: int, kind: int, *, place: bool = False) -> None:
        """Lock or unlock a line, or with *place* the place of who is the next for it."""
        start, length = (line * _LINE + _LINE - 1, 1) if place else (line * _LINE, _LINE - 1)
        fcntl.fcntl(self._file, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, start, length, 0))


def _tried(attempt: Callable[[], bool], deadline: Deadline) -> bool:
    """Try until it succeeds or *deadline* has passed."""
    pause, longest = PAUSES
    while not attempt():
        if deadline.passed:
            return False
        time.sleep(min(pause, deadline.remaining))
        pause = min(2 * pause, longest)
    return True


def _opened(path: str) -> int:
    """Open the file, made if need be: root's and the group's alone, as any reader of a file may lock it."""
    try:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LockUnavailable(
            f"{path}: {error.strerror}: without it two programs may write to a VM at the same time "
            f"(expected root, or group {GROUP} after root's first push; {FOLDER_VARIABLE} names another folder)"
        ) from error
    try:
        made = os.fstat(file)
        if not stat.S_ISREG(made.st_mode):
            raise LockUnavailable(f"{path}: is not a regular file")
        if os.geteuid() == made.st_uid == 0 and stat.S_IMODE(made.st_mode) == 0o600:
            with suppress(KeyError, OSError):
                os.fchown(file, -1, grp.getgrnam(GROUP).gr_gid)
                os.fchmod(file, 0o660)
    except BaseException:
        os.close(file)
        raise
    return file


def _in_table(vm: str) -> str:
    """Return *vm* as one printable word: a Xen domain may have any name."""
    return printable(vm, _NAME).replace(" ", "\\x20")


def _program() -> str:
    """Return the command line of this program, short."""
    program, *words = sys.argv or [""]
    path = Path(program)
    name = path.parent.name if path.name == "__main__.py" else path.name
    return printable(" ".join([name or "python", *words]), 100)
