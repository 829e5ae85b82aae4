"""Another VM's file while it is open here: in a folder of its own in ``/tmp``, which goes with the end of the call.

The folder of a handler that was killed is removed by the next one: nobody holds the lock of its mark any more. One
with a file that was changed after it had come is this user's work and stays, as all of ``/tmp`` does, until the VM's
next start.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import stat
import tempfile

from vminterface.errors import VMInterfaceError
from vminterface.regex import regex
from vminterface.vm.handlers.files.filewatch import in_use
from vminterface.vm.handlers.runtime import stream
from vminterface.vm.machine.files import Files
from vminterface.vm.machine.regularfile import open_regular

TYPE_CHECKING = False  # as the type checker takes it; importing typing would cost each call time
if TYPE_CHECKING:
    from vminterface.vm.handlers.runtime.call import Call

FOLDER = "/tmp"
#: Empty while the file comes, then not; what is younger than it was changed here. No received name has a blank.
MARK = ".vminterface open"
_COME = b"come\n"
_FOLDER_NAME = regex(r"[A-Za-z][A-Za-z0-9_.-]*-[a-z0-9_]{8}", re.ASCII)


class PeerFile:
    """The file *name* of the VM *peer*, at :attr:`path`. Leaving the ``with`` block removes it unless it is kept."""

    def __init__(self, machine: Files, peer: str, name: str) -> None:
        base = machine.path(FOLDER)
        _remove_abandoned(base)
        self._folder = tempfile.mkdtemp(prefix=f"{peer}-", dir=base)
        self.path = os.path.join(self._folder, name)
        self._is_final = False
        self._came: tuple[int, int, bytes] | None = None
        # Under another name until it is locked: else another call could take it for an abandoned one.
        mark = os.path.join(self._folder, MARK)
        self._mark = os.open(f"{mark} new", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._mark, fcntl.LOCK_EX)
        os.rename(f"{mark} new", mark)

    def receive(self, source: int, *, view_only: bool) -> None:
        """Take all that comes from the descriptor *source*. Raises DeadlineExceeded, ConnectionLost, OSError."""
        digest = hashlib.sha256()
        target = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            for block in stream.blocks(source):
                stream.write_all(target, block)
                digest.update(block)
            if view_only:
                os.fchmod(target, 0o400)
            found = os.fstat(target)
        finally:
            os.close(target)
        self._came = found.st_size, found.st_mtime_ns, digest.digest()
        os.write(self._mark, _COME)

    @property
    def is_there(self) -> bool:
        """Whether it is a regular file."""
        try:
            return stat.S_ISREG(os.lstat(self.path).st_mode)
        except OSError:
            return False

    @property
    def is_changed(self) -> bool:
        """Whether it is a different file from the one that was received, even if only in its time, or was removed."""
        try:
            descriptor = open_regular(self.path, self.path, follow=False)
        except (OSError, VMInterfaceError):
            return True
        with open(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if self._came is None or (found.st_size, found.st_mtime_ns) != self._came[:2]:
                return True
            # An edit may leave both as they were.
            return hashlib.file_digest(file, "sha256").digest() != self._came[2]

    def send(self, call: Call) -> None:
        """Send its content to the caller. Raises BrokenPipeError, OSError, VMInterfaceError where it is not a file."""
        descriptor = open_regular(self.path, self.path, follow=False)
        try:
            while block := os.read(descriptor, stream.BLOCK):
                call.write(block)
        finally:
            os.close(descriptor)

    def keep(self) -> str:
        """Let it stay, and return the words for where it is."""
        self._is_final = True
        return f"the file is kept as {self.path}"

    def __enter__(self) -> PeerFile:
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_final:
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(self._folder, MARK))
        else:
            shutil.rmtree(self._folder, ignore_errors=True)
        os.close(self._mark)


def _remove_abandoned(base: str) -> None:
    """Remove what handlers of this user that were killed have left below *base*."""
    with contextlib.suppress(OSError):
        for name in os.listdir(base):
            folder = os.path.join(base, name)
            if _FOLDER_NAME.fullmatch(name) and _is_ours(folder):
                with contextlib.suppress(OSError, VMInterfaceError):
                    _remove_if_abandoned(folder)


def _is_ours(folder: str) -> bool:
    try:
        found = os.lstat(folder)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def _remove_if_abandoned(folder: str) -> None:
    """Remove *folder* if it has a mark that nobody holds, and nothing that this user has changed or uses.

    Raises OSError, VMInterfaceError.
    """
    mark = os.path.join(folder, MARK)
    descriptor = open_regular(mark, mark, follow=False)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        came = os.fstat(descriptor)
        others = [os.path.join(folder, name) for name in os.listdir(folder) if name != MARK]
        if came.st_size and any(os.lstat(one).st_mtime_ns > came.st_mtime_ns for one in others):
            os.unlink(mark)
        elif not any(in_use(one) for one in others):
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(descriptor)
