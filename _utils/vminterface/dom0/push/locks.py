"""One writer at a time for each VM in this dom0: locks that end with their process.

All locks are ranges of one file, a table with a line for each VM, because a range takes no descriptor of its own: 200
VMs need one, as one VM does. The line names the holder of the lock, for the error of those who wait in vain; it decides
nothing.

Who waits has a place of its own, the last byte of the line: it is next, and who comes later waits for that place. So a
program that writes again and again, as a run of many states does, lets the others in between.

Nobody waits for one lock while holding another and doing nothing with it: a push works on the VMs that it has while it
waits for the others, and :meth:`VMLocks.take_all` takes them in the order of the table. So a deadlock is impossible.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Self

from vminterface import runtime
from vminterface.deadline import Deadline
from vminterface.dom0.push.lockfile import LockFile
from vminterface.errors import DeadlineExceeded, Interrupted, LockUnavailable, printable

#: Seconds between two attempts at a lock that another has: the first, and the longest.
PAUSES = (0.002, 0.05)

#: Bytes of a line, its newline included; line 0 is the lock of the table itself.
_LINE = 256
#: Characters of the VM's name in it.
_NAME = 80
#: Lines at most; a file that is longer is none of ours.
_LINES_MAX = 100_000


class VMLocks:
    """The locks that one push, or one change of bare keys, has taken. Use it in a ``with`` block, which releases them.

    *folder* is where the file is, if not where it usually is; *file* is one that is open. Raises LockUnavailable where
    it cannot be used. Its methods may be called from several threads.
    """

    def __init__(self, folder: str | None = None, file: LockFile | None = None) -> None:
        self._file = file or LockFile(folder)
        self.path = self._file.path
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
        if not self._file.closed:
            # By name, as a process that was forked meanwhile has the open file too.
            for vm in sorted(self._taken):
                self.release(vm)
            for vm in sorted(self._next):
                self.give_up(vm)
            self._file.close()

    def take(self, vm: str) -> bool:
        """Take the lock of *vm* if nobody else has it or is the next; return whether this object has it now.

        If not, it may be the next from now on: try again soon, or :meth:`give_up`.
        """
        line = self._line(vm)
        if vm not in self._next and not self._file.lock(*_place(line)):
            return False
        self._next.add(vm)
        if not self._file.lock(*_range(line)):
            return False
        self._taken.add(vm)
        self.give_up(vm)
        self._write(line, f"{_in_table(vm)} {self._file.holder()}")
        return True

    def is_held(self, vm: str) -> bool:
        """Return whether another program has the lock of *vm* now; nobody waits for this object meanwhile."""
        line = self._table().get(_in_table(vm))
        return line is not None and self._file.is_locked(*_range(line))

    def give_up(self, vm: str) -> None:
        """Let another be the next for *vm*."""
        if vm in self._next:
            self._file.unlock(*_place(self._line(vm)))
            self._next.discard(vm)

    def release(self, vm: str) -> None:
        """Let others have *vm*, if this object has it."""
        if vm not in self._taken:
            return
        line = self._line(vm)
        # What the line says is for others to read; the lock goes in any case.
        with suppress(LockUnavailable):
            self._write(line, _in_table(vm))
        self._file.unlock(*_range(line))
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
        text = self._file.read(_LINE, self._line(vm) * _LINE).decode("ascii", "replace")
        _, pid, since, program = (text.split(maxsplit=3) + [""] * 4)[:4]
        who = f"process {printable(pid)} ({printable(program.strip())}), since {printable(since)}"
        return DeadlineExceeded(
            f"{vm}: another program is writing to it and did not end within {seconds:g} s: "
            f"{who if program else 'a process that just started'}"
        )

    def _line(self, vm: str) -> int:
        """Return the number of the line of *vm*, which is added if there is none yet."""
        name = _in_table(vm)
        if name not in self._lines:
            self._lines = self._table()
        if name not in self._lines:
            if not _tried(lambda: self._file.lock(*_range(0)), Deadline.after(5.0)):
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
                self._file.unlock(*_range(0))
        return self._lines[name]

    def _table(self) -> dict[str, int]:
        size = self._file.size()
        if size > _LINES_MAX * _LINE:
            raise LockUnavailable(f"{self.path}: has {size} bytes (expected at most {_LINES_MAX} lines)")
        text = self._file.read(size, 0).decode("ascii", "replace")
        found = {}
        for number in range(1, size // _LINE):
            name = text[number * _LINE : (number + 1) * _LINE].partition(" ")[0]
            found[name] = number
        return found

    def _write(self, line: int, text: str) -> None:
        self._file.write(f"{printable(text, _LINE - 1):<{_LINE - 1}}\n".encode("ascii"), line * _LINE)


def _range(line: int) -> tuple[int, int]:
    """Return where a line is whose lock is the VM's."""
    return line * _LINE, _LINE - 1


def _place(line: int) -> tuple[int, int]:
    """Return where the place of who is the next for a line is."""
    return line * _LINE + _LINE - 1, 1


def _tried(attempt: Callable[[], bool], deadline: Deadline) -> bool:
    """Try until it succeeds or *deadline* has passed."""
    pause, longest = PAUSES
    while not attempt():
        if deadline.passed:
            return False
        runtime.sleep(min(pause, deadline.remaining))
        pause = min(2 * pause, longest)
    return True


def _in_table(vm: str) -> str:
    """Return *vm* as one printable word: a Xen domain may have any name."""
    return printable(vm, _NAME).replace(" ", "\\x20")
