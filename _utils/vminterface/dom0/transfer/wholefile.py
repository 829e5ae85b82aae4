"""A file in dom0 that is written whole or not at all: made beside its place, then put there at once."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterable
from os import PathLike
from types import TracebackType
from typing import Self

from vminterface.errors import VMInterfaceError, printable_path

Path = str | PathLike[str]


class FileError(VMInterfaceError):
    """A file of dom0 cannot be read or written; the message names the file and the reason."""

    @classmethod
    def at(cls, path: Path, error: OSError) -> FileError:
        """Return the fault that *error* is for the file *path*."""
        return cls(f"{printable_path(os.fspath(path))}: {error.strerror or error}")


class WholeFile:
    """A new file in the folder of *path*, used in a ``with`` block; without :meth:`put` nothing is left of it.

    It belongs to *owner*, the numbers of a user and a group, None: to whom this program runs as. What is written leaves
    *reserve* bytes of the disk free. Methods raise FileError, also where *path* is something else than a regular file,
    as ``/dev/stdout``: the new file would take the place of the device or the link itself.
    """

    def __init__(self, path: Path, *, owner: tuple[int, int] | None = None, reserve: int = 0) -> None:
        self._reserve = reserve
        self.path = os.path.abspath(os.fspath(path))
        _require_replaceable(self.path)
        folder, name = os.path.split(self.path)
        #: Bytes written so far.
        self.size = 0
        try:
            descriptor, self._temporary = tempfile.mkstemp(prefix=f".{name[:60]}.", dir=folder)
        except OSError as error:
            raise FileError.at(folder, error) from error
        self._file = open(descriptor, "wb")  # noqa: SIM115  closed by __exit__
        if owner is not None:
            self._give_to(*owner)

    def _give_to(self, user: int, group: int) -> None:
        made = os.fstat(self._file.fileno())
        if (made.st_uid, made.st_gid) == (user, group):
            return
        try:
            os.fchown(self._file.fileno(), user, group)
        except OSError as error:
            self.__exit__(None, None, None)
            raise FileError.at(self.path, error) from error

    def write(self, data: bytes) -> None:
        """Append *data*."""
        try:
            if self._reserve:
                disk = os.fstatvfs(self._file.fileno())
                if len(data) + self._reserve > disk.f_bavail * disk.f_frsize:
                    raise FileError(
                        f"{printable_path(self.path)}: {self.size + len(data)} bytes would leave less than"
                        f" {self._reserve} bytes of the disk free"
                    )
            self._file.write(data)
        except OSError as error:
            raise FileError.at(self.path, error) from error
        self.size += len(data)

    def unfinished(self) -> str:
        """Write out what was written so far and return where it is until :meth:`put`."""
        try:
            self._file.flush()
        except OSError as error:
            raise FileError.at(self.path, error) from error
        return self._temporary

    def put(self, *, mode: int = 0o644, replace: bool = True) -> None:
        """Let the file be *path*, in place of what is there unless *replace* is False; a power cut does not undo it."""
        try:
            self._file.flush()
            os.fchmod(self._file.fileno(), mode)
            os.fsync(self._file.fileno())
            if replace:
                os.rename(self._temporary, self.path)
            else:
                os.link(self._temporary, self.path)
            folder = os.open(os.path.dirname(self.path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise FileError.at(self.path, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._temporary)


def _require_replaceable(path: str) -> None:
    try:
        kind = os.lstat(path).st_mode
    except OSError:
        return  # nothing is there, or the folder cannot be reached, which making the file reports
    if not stat.S_ISREG(kind):
        what = "a symbolic link" if stat.S_ISLNK(kind) else "not a regular file"
        raise FileError(f"{printable_path(path)}: is {what} (expected a regular file, or nothing)")


def write_whole(path: Path, pieces: Iterable[bytes], mode: int = 0o644) -> None:
    """Give *path* the content *pieces*. Raises FileError; whatever was there is then as before."""
    with WholeFile(path) as file:
        for piece in pieces:
            file.write(piece)
        file.put(mode=mode)
