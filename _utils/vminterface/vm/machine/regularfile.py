"""Opens regular files alone, whatever somebody has put in their place: nothing blocks, and no device is woken.

A file's kind is checked on a handle that reads nothing (open(2), ``O_PATH``) and that same handle is opened then, so
that nothing can be exchanged between the check and the use.
"""

from __future__ import annotations

import os
import stat

from vminterface.errors import VMInterfaceError, printable_path

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a symbolic link",
}
_CHUNK = 1 << 16


def open_regular(place: str, shown: str, *, follow: bool = True, or_disk: bool = False) -> int:
    """Return a descriptor that reads the regular file *place*; a link to one counts as one only if *follow*.

    *shown* is the path in the message. *or_disk*: a block device is as welcome. Raises OSError where it cannot be
    opened, VMInterfaceError for every other kind of file.
    """
    handle = os.open(place, os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
    try:
        mode = os.fstat(handle).st_mode
        if not stat.S_ISREG(mode) and not (or_disk and stat.S_ISBLK(mode)):
            kind = _KINDS.get(stat.S_IFMT(mode), "something else")
            expected = f"a regular file{' or a block device' if or_disk else ''}"
            raise VMInterfaceError(f"{printable_path(shown)}: is {kind} (expected {expected})")
        # Some files of the kernel's are regular ones and still make a reader wait.
        return os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    finally:
        os.close(handle)


def read_at_most(descriptor: int, limit: int) -> bytes:
    """Return what *descriptor* gives until its end, *limit* bytes at most. Raises OSError."""
    pieces: list[bytes] = []
    while limit and (piece := os.read(descriptor, min(_CHUNK, limit))):
        pieces.append(piece)
        limit -= len(piece)
    return b"".join(pieces)
