"""A machine whose files are in memory and whose programs print what they are told to: for what is run very often."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vminterface.errors import ProgramMissing, VMInterfaceError
from vminterface.vm.machine.machine import Machine

_LINK = b"\0link:"


class MemoryMachine(Machine):
    """The machine with *files* (content by absolute path) and *programs* (output by name; an error is raised)."""

    def __init__(
        self, files: Mapping[str, bytes] | None = None, programs: Mapping[str, bytes | VMInterfaceError] | None = None
    ) -> None:
        self.root = "/nonexistent"
        self.files = dict(files or {})
        self.programs = dict(programs or {})
        self.folders: set[str] = set()

    @property
    def has_own_network(self) -> bool:
        """It has one, of which its programs tell."""
        return True

    def path(self, path: str) -> str:
        """Return a place that is none, for what goes by the system's calls."""
        if not path.startswith("/") or "\0" in path:
            raise VMInterfaceError("is not an absolute path without NUL")
        return f"{self.root}{path}"

    def read_bytes(self, path: str, *, limit: int = 1 << 20) -> bytes | None:
        """Return the content of *path*."""
        data = self.files.get(self._real(path))
        if data is not None and len(data) > limit:
            raise VMInterfaceError(f"a file is longer than {limit} bytes")
        return data

    def names(self, path: str) -> list[str]:
        """Return what is in the folder *path*."""
        start = f"{self._real(path).rstrip('/')}/"
        return sorted({one[len(start) :].partition("/")[0] for one in self._all() if one.startswith(start)})

    def exists(self, path: str) -> bool:
        """Whether there is something at *path*."""
        return self.is_file(path) or self.is_folder(path)

    def is_file(self, path: str) -> bool:
        """Whether there is a file at *path*."""
        return self._real(path) in self.files

    def is_folder(self, path: str) -> bool:
        """Whether there is a folder at *path*."""
        real = self._real(path).rstrip("/")
        return real in self.folders or any(one.startswith(f"{real}/") for one in self._all())

    def link_target(self, path: str) -> str | None:
        """Return where a link leads."""
        data = self.files.get(posixpath.normpath(path), b"")
        return data.removeprefix(_LINK).decode("utf-8", "surrogateescape") if data.startswith(_LINK) else None

    def changed_at(self, path: str) -> int:
        """Return a number that is the same each time."""
        return int(self.is_file(path))

    def write_file(self, path: str, data: str | bytes, mode: int = 0o644, *, fresh: bool = False) -> None:
        """Keep *data* at *path*."""
        content = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
        self._put(path, content)

    def touch(self, path: str, mode: int = 0o644) -> None:
        """Let there be a file."""
        if not self.is_file(path):
            self._put(path, b"")

    def symlink(self, target: str, path: str) -> None:
        """Let there be a link."""
        self._put(path, _LINK + target.encode("utf-8", "surrogateescape"))

    def make_folder(self, path: str, mode: int = 0o755) -> None:
        """Let there be a folder."""
        self.folders.add(posixpath.normpath(path))

    def remove(self, path: str) -> None:
        """Let there be nothing."""
        self.files.pop(posixpath.normpath(path), None)

    def keep(self, path: str) -> Callable[[], None]:
        """Return what puts the file back."""
        before = self.files.get(posixpath.normpath(path))

        def put_back() -> None:
            self.files.pop(posixpath.normpath(path), None)
            if before is not None:
                self.files[posixpath.normpath(path)] = before

        return put_back

    def which(self, program: str) -> str | None:
        """Return where a program is."""
        return f"/usr/bin/{program}" if program in self.programs else None

    def run(self, argv: Sequence[str], **options: Any) -> bytes:
        """Return what the program prints."""
        assert all(isinstance(word, str) and "\0" not in word for word in argv), f"no command: {argv!r}"
        output = self.programs.get(argv[0])
        if output is None:
            raise ProgramMissing(f"the program {argv[0]} is not installed here")
        if isinstance(output, VMInterfaceError):
            raise output
        return output

    def _put(self, path: str, content: bytes) -> None:
        if not path.startswith("/") or "\0" in path:
            raise VMInterfaceError("is not an absolute path without NUL")
        self.files[posixpath.normpath(path)] = content

    def _all(self) -> list[str]:
        return [*self.files, *(f"{folder}/." for folder in self.folders)]

    def _real(self, path: str) -> str:
        real = posixpath.normpath(path)
        target = self.link_target(real)
        return real if target is None else posixpath.normpath(posixpath.join(posixpath.dirname(real), target))
