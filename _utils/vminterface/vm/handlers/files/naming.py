"""Gives a finished file its name: in one step, and never in place of another file."""

from __future__ import annotations

import ctypes
import errno
import os

_AT_FDCWD = -100
#: renameat2(2): fail where there is something of the new name.
_RENAME_NOREPLACE = 1
#: What file systems and kernels say that cannot do that.
_UNKNOWN = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EPERM)


def name_file(temporary: str, place: str) -> None:
    """Rename *temporary* to *place*. Whenever this is cut short, there is one of the two, and it is whole.

    Raises FileExistsError, OSError. On file systems that know neither a rename without replacement nor links, a file
    that appears in the moment of the rename is replaced.
    """
    try:
        _rename(temporary, place)
    except OSError as error:
        if error.errno not in _UNKNOWN:
            raise
    else:
        return
    try:
        os.link(temporary, place, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _UNKNOWN:
            raise
    else:
        os.unlink(temporary)
        return
    if os.path.lexists(place):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), place)
    os.rename(temporary, place)


def _rename(temporary: str, place: str) -> None:
    """Call renameat2(2), for which Python has no function. Raises OSError."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:  # a C library without it
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    rename.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    if rename(_AT_FDCWD, os.fsencode(temporary), _AT_FDCWD, os.fsencode(place), _RENAME_NOREPLACE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), place)
