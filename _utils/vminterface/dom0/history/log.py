"""The files of the history: lines appended by one writer at a time, older files kept to a bound, reading from the end.

A line is appended with one write and no fsync: a push costs a fraction of a millisecond for it. What a kill -9 leaves
behind the last whole line is named by the next writer; what a host loses with its power is detected by the head.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from vminterface import runtime
from vminterface.deadline import Deadline
from vminterface.dom0.history import chain
from vminterface.dom0.history.chain import Head, Torn
from vminterface.dom0.history.shared import share
from vminterface.dom0.transfer.wholefile import FileError
from vminterface.errors import InvalidValue, LockUnavailable, VMInterfaceError, printable_path

#: Where the files are, and the variable that names another folder, as in a lab.
FOLDER = "/var/log/vminterface"
FOLDER_VARIABLE = "VMINTERFACE_LOG_DIR"
#: The newest lines; older ones are in NAME.1 and so on. Beside it the head, which is also what writers lock.
NAME, HEAD = "push.jsonl", "push.head"
#: Bytes after which a file is closed, and older files that there are at most.
SIZE_MAX, OLDER_MAX = 8 << 20, 8
#: Bytes of a line at most; seconds that another writer may take.
LINE_MAX, PATIENCE = 32 << 20, 2.0


@dataclass(frozen=True, slots=True)
class Line:
    """One line as it is read: the file and its number of the line, for errors, and its bytes with the newline."""

    where: str
    raw: bytes


class History:
    """The history in *folder*, if not where it usually is."""

    def __init__(self, folder: str | None = None, *, size_max: int = SIZE_MAX, older_max: int = OLDER_MAX) -> None:
        self.folder = folder or os.environ.get(FOLDER_VARIABLE) or FOLDER
        self.path = os.path.join(self.folder, NAME)
        self._size_max, self._older_max = size_max, older_max

    def keep(self, make: Callable[[Head], Mapping[str, Any]]) -> None:
        """Append what *make* returns, unless that fails: then there is a notice in the log, and nothing else.

        What a line is about has been done already, and must not be reported as failed for the sake of its line.
        """
        try:
            self.append(make)
        except Exception as error:
            import logging  # here, as most pushes have no use for it

            known = isinstance(error, VMInterfaceError)
            what = str(error) if known else f"{self.path}: {type(error).__name__}: {error}"
            logging.getLogger("vminterface").warning("this push is not in the history: %s", what)

    def append(self, make: Callable[[Head], Mapping[str, Any]]) -> None:
        """Append the entry that *make* returns for the head. Raises FileError, LockUnavailable."""
        try:
            with self._locked() as head_file, _opened(self.path) as file:
                head = self._head(head_file)
                head, torn, unended = _caught_up(file, head)
                size = os.fstat(file).st_size
                data = chain.line_of(make(head), head, torn)
                before = b"\n" if torn is not None or unended else b""
                if size >= self._size_max and not before:
                    head = self._rotate(head)
                    with _opened(self.path) as new:
                        head = _written(new, 0, data, b"", head)
                else:
                    head = _written(file, size, data, before, head)
                os.pwrite(head_file, head.render(), 0)
        except OSError as error:
            raise FileError.at(self.path, error) from error

    def head(self) -> Head | None:
        """Return the head, None where there is none that can be read. Raises FileError."""
        path = os.path.join(self.folder, HEAD)
        try:
            with _reading(path) as file:
                return Head.parse(file.read(chain.HEAD_SIZE))
        except (FileNotFoundError, InvalidValue):
            return None
        except OSError as error:
            raise FileError.at(path, error) from error

    def lines(self) -> Iterator[Line]:
        """Return all lines, the oldest first. Raises FileError."""
        for path in reversed(self._files()):
            yield from _lines_of(path)

    def newest_first(self) -> Iterator[dict[str, Any]]:
        """Return the entries that can be read, the newest first; one file at a time. Raises FileError."""
        for path in self._files():
            for line in reversed(list(_lines_of(path))):
                with contextlib.suppress(InvalidValue):
                    yield chain.parse(line.raw)

    def verify(self, known: Mapping[int, str] | None = None) -> chain.Verdict:
        """Check all lines while nobody writes, see :func:`chain.verify`. Raises FileError, LockUnavailable."""
        if not self._files() and self.head() is None:
            return chain.verify((), None, known)
        try:
            with self._locked() as head_file:
                data = os.pread(head_file, chain.HEAD_SIZE, 0)
                with contextlib.suppress(InvalidValue):
                    return chain.verify(((line.where, line.raw) for line in self.lines()), Head.parse(data), known)
                return chain.verify(((line.where, line.raw) for line in self.lines()), None, known)
        except OSError as error:
            raise FileError.at(self.folder, error) from error

    def _files(self) -> list[str]:
        """Return the files that are there, the newest first. Raises FileError."""
        try:
            names = os.listdir(self.folder)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise FileError.at(self.folder, error) from error
        numbers = {name: name.removeprefix(f"{NAME}.") for name in names}
        older = sorted((int(number), name) for name, number in numbers.items() if number.isdecimal() and name != number)
        return [os.path.join(self.folder, name) for name in [NAME] * (NAME in names) + [name for _, name in older]]

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        """Open the head's file and lock it: one writer at a time, threads too. Raises LockUnavailable, OSError."""
        if not os.path.exists(self.folder):
            os.makedirs(self.folder, mode=0o750, exist_ok=True)
            share(self.folder, 0o770)
        with _opened(os.path.join(self.folder, HEAD)) as file:
            deadline, pause = Deadline.after(PATIENCE), 0.001
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if deadline.passed:
                        raise LockUnavailable(
                            f"{printable_path(self.path)}: another program has locked it for more than {PATIENCE:g} s"
                        ) from None
                    runtime.sleep(pause)
                    pause = min(2 * pause, 0.05)
            yield file

    def _head(self, file: int) -> Head:
        """Return the head; a new one where there is none, which goes on behind the last line that can be read."""
        try:
            return Head.parse(os.pread(file, chain.HEAD_SIZE, 0))
        except InvalidValue:
            pass
        head = Head(os.urandom(16).hex())
        first = last = None
        for line in self.lines():
            with contextlib.suppress(InvalidValue):
                last = (chain.parse(line.raw), line.raw.removesuffix(b"\n"))
                first = first or last[0]
        if first is None or last is None:
            return head
        return Head(head.secret, first["n"], first["previous"], last[0]["n"], chain.hash_of(last[1]), -1)

    def _rotate(self, head: Head) -> Head:
        """Make room for a new file; return the head, which no longer counts the lines of the oldest one."""
        files = self._files()
        for path in files[self._older_max :]:
            # The head first: a kill in between leaves lines that are older than it says, and none that are missing.
            following = files[files.index(path) - 1]
            for line in _lines_of(following):
                with contextlib.suppress(InvalidValue):
                    entry = chain.parse(line.raw)
                    head = Head(head.secret, entry["n"], entry["previous"], head.last, head.hash, head.size)
                    break
            with _opened(os.path.join(self.folder, HEAD)) as file:
                os.pwrite(file, head.render(), 0)
            os.unlink(path)
        for number, path in sorted(enumerate(files[: self._older_max]), reverse=True):
            os.replace(path, os.path.join(self.folder, f"{NAME}.{number + 1}"))
        return head


def _written(file: int, size: int, line: bytes, before: bytes, head: Head) -> Head:
    """Append *line* to a file of *size* bytes, whole or not at all; return the head then. Raises OSError."""
    data = before + line + b"\n"
    try:
        if os.pwrite(file, data, size) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError:
        os.ftruncate(file, size)
        raise
    return head.followed_by(line, size + len(data))


def _caught_up(file: int, head: Head) -> tuple[Head, Torn | None, bool]:
    """Return the head behind all whole lines that follow it, what is torn behind them, and whether an end is missing.

    A writer that is killed has written its line but not the head, or the beginning of a line.
    """
    size = os.fstat(file).st_size
    if size == head.size:
        return head, None, False
    # Behind the head if the file has grown since; of a file that is another one, or shorter, the last line alone.
    data = os.pread(file, LINE_MAX, head.size if 0 <= head.size < size else max(0, size - LINE_MAX))
    *lines, rest = data.split(b"\n")
    for line in lines:
        head = _followed(head, line) or head
    if not rest:
        return head, None, False
    whole = _followed(head, rest)
    return (whole, None, True) if whole is not None else (head, Torn.of(rest), False)


def _followed(head: Head, line: bytes) -> Head | None:
    """Return the head behind *line* if that follows *head*."""
    try:
        entry = chain.parse(line)
    except InvalidValue:
        return None
    return head.followed_by(line, 0) if (entry["n"], entry["previous"]) == (head.last + 1, head.hash) else None


def _lines_of(path: str) -> Iterator[Line]:
    """Return the lines of one file, of each no more than the longest may have. Raises FileError."""
    name = os.path.basename(path)
    try:
        with _reading(path) as file:
            number = 0
            while raw := file.readline(LINE_MAX):
                number += 1
                yield Line(f"{name}:{number}", raw)
    except FileNotFoundError:
        return
    except OSError as error:
        raise FileError.at(path, error) from error


def _reading(path: str) -> BinaryIO:
    """Open a file to read: a pipe or a device in its place would make the reader wait for ever. Raises OSError."""
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _require_regular(os.fstat(file))
        return open(file, "rb")
    except BaseException:
        os.close(file)
        raise


def _require_regular(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "not a regular file")


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int]:
    """Open a file to read and write, made if need be: root's and the group's alone. Raises OSError."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    try:
        made = os.fstat(file)
        _require_regular(made)
        if os.geteuid() == made.st_uid == 0 and stat.S_IMODE(made.st_mode) == 0o600:
            share(file, 0o660)
        yield file
    finally:
        os.close(file)
