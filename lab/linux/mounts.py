"""mount(2) and its flags, which Python does not have (linux/mount.h, sys/statvfs.h)."""

from __future__ import annotations

import ctypes
import os

RDONLY, NOSUID, NODEV, NOEXEC, REMOUNT, BIND, REC, PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
#: What statvfs says of a mount, and the flag that keeps it so: a user namespace may not drop any of these.
_KEEP = {2: NOSUID, 4: NODEV, 8: NOEXEC, 1024: 1024, 2048: 2048, 4096: 1 << 21}
_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    """Mount. Raises OSError."""
    words = [word.encode() if word is not None else None for word in (source, target, kind, options)]
    if _libc.mount(words[0], words[1], words[2], ctypes.c_ulong(flags), words[3]) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)


def bind(source: str, target: str, *, read_only: bool = False) -> None:
    """Show *source*, a file or folder, also at *target*."""
    mount(source, target, None, BIND | REC)
    if read_only:
        held = os.statvfs(target).f_flag
        mount("none", target, None, REMOUNT | BIND | RDONLY | sum(flag for seen, flag in _KEEP.items() if held & seen))
