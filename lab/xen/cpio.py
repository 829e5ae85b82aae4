"""Writes archives in the "newc" form, which the kernel unpacks as its first file system (initramfs).

The form is that of the kernel's ``Documentation/driver-api/early-userspace/buffer-format.rst``.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from types import TracebackType
from typing import Self


class Cpio:
    """An archive in the making, for a ``with`` block; paths in it are relative to the root, everything is root's."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._number = 0
        self.names: set[str] = set()

    def folder(self, name: str) -> None:
        """Add a folder, and those above it, unless it is there."""
        name = name.strip("/")
        if name and name not in self.names:
            self.folder(os.path.dirname(name))
            self._entry(name, stat.S_IFDIR | 0o755, b"")

    def data(self, name: str, data: bytes, mode: int = 0o644) -> None:
        """Add a file."""
        self._below(name, stat.S_IFREG | mode, data)

    def link(self, name: str, target: str) -> None:
        """Add a symbolic link."""
        self._below(name, stat.S_IFLNK | 0o777, os.fsencode(target))

    def file(self, name: str, source: Path) -> None:
        """Add the file or symbolic link *source*."""
        if source.is_symlink():
            self.link(name, os.readlink(source))
        else:
            self.data(name, source.read_bytes(), stat.S_IMODE(source.stat().st_mode))

    def tree(self, name: str, source: Path) -> None:
        """Add all that is below *source*."""
        for path in sorted(source.rglob("*")):
            below = f"{name}/{path.relative_to(source)}"
            if path.is_dir() and not path.is_symlink():
                self.folder(below)
            else:
                self.file(below, path)

    def _below(self, name: str, mode: int, data: bytes) -> None:
        name = name.strip("/")
        self.folder(os.path.dirname(name))
        self._entry(name, mode, data)

    def _entry(self, name: str, mode: int, data: bytes) -> None:
        self.names.add(name)
        self._number += 1
        encoded = os.fsencode(name) + b"\0"
        links = 2 if stat.S_ISDIR(mode) else 1
        # inode, mode, user, group, links, time, size, device (2), special device (2), length of the name, no checksum
        fields = (self._number, mode, 0, 0, links, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
        header = b"070701" + b"".join(b"%08X" % field for field in fields)
        self._write(header + encoded)
        self._write(data)

    def _write(self, data: bytes) -> None:
        self._file.write(data + bytes(-len(data) % 4))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if error is None:
            self._entry("TRAILER!!!", 0, b"")
            # The kernel goes on with a next archive only at such a boundary.
            self._file.write(bytes(-self._file.tell() % 512))
        self._file.close()
