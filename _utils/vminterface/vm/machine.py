"""The one door of the VM wing to this machine: its files, its commands, and which files an admin has protected.

With a root prefix every file lives below it, so that a folder can stand for a VM; commands are run as they are.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from vminterface.errors import ProgramFailed, ProgramMissing, VMInterfaceError, printable
from vminterface.vm.regularfile import open_regular, read_at_most

TYPE_CHECKING = False  # as the type checker takes it; importing typing would cost every short-lived program time
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime
    from typing import Any

    from vminterface.deadline import Deadline

#: Bytes of a file or of a program's output that are taken at most, unless the call says otherwise.
LIMIT = 1 << 20
#: Seconds that a program has unless the call says otherwise.
TIMEOUT = 10.0
#: Folders of files that name, one a line, what no tool may change (Qubes core-agent's init/functions).
PROTECTED_LISTS = ("/etc/qubes/protected-files.d", "/rw/config/protected-files.d")
#: Where it exists, the machine's clock is the kernel's and so many microseconds: for VMs that share one kernel.
CLOCK_OFFSET = "/run/vminterface/clock-offset"


def network_of(process: int | str) -> tuple[int, int] | None:
    """Return what identifies the network that *process*, a process id or "self", sees; None where that is hidden.

    Two processes that see one network have the same answer. The kernel keeps these files once for each network
    namespace and, other than the link ``ns/net``, shows them to everybody who sees the process.
    """
    try:
        found = os.stat(f"/proc/{process}/net/dev")
    except OSError:
        return None
    return found.st_dev, found.st_ino


class Machine:
    """This machine, or the one whose files are below *root*. Paths are absolute, as the machine itself sees them."""

    def __init__(self, root: str = "/") -> None:
        self.root = os.path.realpath(root)
        #: By when all programs must have ended, whatever time each is given.
        self.deadline: Deadline | None = None

    @property
    def is_whole(self) -> bool:
        """Whether this is the machine that runs this program, so that its kernel may be spoken to."""
        return self.root == "/"

    @property
    def has_own_network(self) -> bool:
        """Whether the interfaces that this program sees are this machine's: not those of the host of a folder.

        A folder has an own network only where that can be seen to be another than process 1's. Where it cannot be
        seen, the network is the host's.
        """
        host = network_of(1)
        return self.is_whole or (host is not None and network_of("self") not in (None, host))

    def path(self, path: str) -> str:
        """Return where *path* is for the system's calls. Raises VMInterfaceError where a link leads out of the root.

        The last part of *path* is not resolved: it may be a link that is to be read or replaced.
        """
        if not path.startswith("/"):
            raise VMInterfaceError(f"{printable(path)}: expected an absolute path")
        if self.root == "/":
            return path.rstrip("/") or "/"
        folder, _, name = path.rstrip("/").rpartition("/")
        return os.path.join(self._inside(self.root + folder, path), name)

    def read_bytes(self, path: str, *, limit: int = LIMIT) -> bytes | None:
        """Return what is in the file *path*, None if there is none.

        Raises VMInterfaceError for more than *limit* bytes, and for anything but a regular file; it never waits.
        """
        with _named(path):
            try:
                descriptor = self.open_file(path)
            except (FileNotFoundError, NotADirectoryError):
                return None
            try:
                data = read_at_most(descriptor, limit + 1)
            finally:
                os.close(descriptor)
        if len(data) > limit:
            raise VMInterfaceError(f"{printable(path)}: longer than {limit} bytes")
        return data

    def open_file(self, path: str, *, follow: bool = True) -> int:
        """Return a descriptor that reads the regular file *path*, which may be a link to one if *follow*.

        For files of any size; :meth:`read_bytes` has a bound. Raises OSError, VMInterfaceError for other kinds.
        """
        place = self.path(path)
        return open_regular(self._inside(place, path) if follow else place, path, follow=follow)

    def read_text(self, path: str, *, limit: int = LIMIT) -> str | None:
        """Return the text of *path*, None if there is no such file; bytes that are no UTF-8 survive a way back."""
        data = self.read_bytes(path, limit=limit)
        return None if data is None else data.decode("utf-8", "surrogateescape")

    def names(self, path: str) -> list[str]:
        """Return the names in the folder *path*, sorted; none if there is no such folder."""
        with _named(path):
            try:
                return sorted(os.listdir(self._inside(self.path(path), path)))
            except (FileNotFoundError, NotADirectoryError):
                return []

    def exists(self, path: str) -> bool:
        """Whether there is something at *path* (a link that leads nowhere counts as nothing)."""
        return os.path.exists(self._inside(self.path(path), path))

    def changed_at(self, path: str) -> int:
        """Return when the file *path* last changed, in nanoseconds as its file system counts them; 0: no such file."""
        try:
            return os.stat(self._inside(self.path(path), path)).st_mtime_ns
        except (OSError, VMInterfaceError):
            return 0

    def is_folder(self, path: str) -> bool:
        """Whether *path* is a folder."""
        return os.path.isdir(self._inside(self.path(path), path))

    def is_file(self, path: str) -> bool:
        """Whether *path* is a regular file."""
        return os.path.isfile(self._inside(self.path(path), path))

    def link_target(self, path: str) -> str | None:
        """Return what the symbolic link *path* says, None if it is no link."""
        with _named(path):
            place = self.path(path)
            return os.readlink(place) if os.path.islink(place) else None

    def write_file(self, path: str, data: str | bytes, mode: int = 0o644, *, fresh: bool = False) -> None:
        """Give *path* the content *data*, at once or not at all; a link at *path* is replaced, not followed.

        A file that was there keeps its owner, mode and SELinux label unless the new one is to be a *fresh* one; that
        is this user's and gets *mode*, as where there was none. Missing folders are made.
        """
        content = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
        with _named(path):
            place = self._with_folder(path)
            temporary = _temporary(place)
            try:
                descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
                with open(descriptor, "wb") as file:
                    if fresh:
                        os.fchmod(file.fileno(), mode)
                    else:
                        _look_like(file.fileno(), place, mode)
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                try:
                    os.rename(temporary, place)
                except OSError as error:
                    # A file that is a mount of its own (bind-dirs, containers) cannot be replaced, only rewritten.
                    if error.errno != errno.EBUSY:
                        raise
                    with open(os.open(place, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC), "wb") as file:
                        file.write(content)
                        file.truncate()
                    os.unlink(temporary)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
                raise

    def write_attribute(self, path: str, text: str) -> None:
        """Write *text* into the kernel's file *path* (sysfs, procfs), which must be there, in one system call."""
        with _named(path):
            # A pipe that nobody reads is an error then, and makes nobody wait.
            descriptor = os.open(self._inside(self.path(path), path), os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
            try:
                os.write(descriptor, text.encode("ascii"))
            finally:
                os.close(descriptor)

    def symlink(self, target: str, path: str) -> None:
        """Make *path* a symbolic link to *target*, at once, in place of whatever file or link is there."""
        with _named(path):
            place = self._with_folder(path)
            temporary = _temporary(place)
            os.symlink(target, temporary)
            try:
                os.rename(temporary, place)
            except BaseException:
                os.unlink(temporary)
                raise

    def touch(self, path: str, mode: int = 0o644) -> None:
        """Let there be a file *path*; one that is there stays as it is."""
        with _named(path):
            place = self._with_folder(path)
            with contextlib.suppress(FileExistsError):
                os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode))

    def make_folder(self, path: str, mode: int = 0o755) -> None:
        """Let there be a folder *path*."""
        with _named(path):
            os.makedirs(self._with_folder(path), mode, exist_ok=True)

    def remove(self, path: str) -> None:
        """Let there be no file or link *path*."""
        with _named(path), contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(self.path(path))

    def copy(self, path: str, to: str) -> None:
        """Let *to* be what the file or link *path* is, owner, mode and SELinux label too, at once or not at all.

        A file or link that is at *to* is replaced. Raises VMInterfaceError.
        """
        import shutil

        with _named(path):
            source, place = self.path(path), self._with_folder(to)
            temporary = _temporary(place)
            try:
                try:
                    # It takes no room on a disk that may be full.
                    os.link(source, temporary, follow_symlinks=False)
                except OSError:
                    if not stat.S_ISLNK(os.lstat(source).st_mode):
                        os.close(open_regular(source, path, follow=False))  # a copy of a device would have no end
                    shutil.copy2(source, temporary, follow_symlinks=False)
                    found = os.lstat(source)
                    os.chown(temporary, found.st_uid, found.st_gid, follow_symlinks=False)
                    if not stat.S_ISLNK(found.st_mode):
                        os.chmod(temporary, stat.S_IMODE(found.st_mode))  # a change of owner takes some bits away
                os.rename(temporary, place)
            finally:
                # Where both were the same file already, a rename leaves it.
                with contextlib.suppress(OSError):
                    os.unlink(temporary)

    def is_protected(self, path: str) -> bool:
        """Whether an admin has named *path* on a line of its own in a list of protected files."""
        for folder in PROTECTED_LISTS:
            for name in self.names(folder):
                listed = f"{folder}/{name}"
                if self.is_file(listed) and path in (self.read_text(listed) or "").split("\n"):
                    return True
        return False

    def which(self, program: str) -> str | None:
        """Return the path of *program*, None if it is not installed."""
        import shutil

        return shutil.which(program)

    def netlink(self) -> AbstractContextManager[Any]:
        """Open a pyroute2.IPRoute; None where that is not installed or this is not the kernel of these files."""
        if self.is_whole:
            with contextlib.suppress(ImportError):
                from pyroute2 import IPRoute

                socket: AbstractContextManager[Any] = IPRoute()
                return socket
        return contextlib.nullcontext()

    def run(
        self,
        argv: Sequence[str],
        *,
        input: bytes = b"",
        timeout: float = TIMEOUT,
        env: Mapping[str, str] | None = None,
        limit: int = LIMIT,
    ) -> bytes:
        """Run a program, no shell, and return its standard output; *env* is added to this one's environment.

        Raises ProgramMissing, ProgramFailed (status other than 0), OutputTooLarge (more than *limit* bytes) and
        DeadlineExceeded after *timeout* seconds or at the machine's deadline, when the program and all that it started
        are ended.
        """
        # Here, not above: a program that answers one call and runs no other should not pay for these.
        from vminterface.channel import process
        from vminterface.deadline import Deadline

        name = printable(argv[0])
        if self.which(argv[0]) is None:
            raise ProgramMissing(f"the program {name} is not installed here")
        own = {"LC_ALL": "C", **(env or {})}
        deadline = Deadline.after(timeout)
        if self.deadline is not None and self.deadline.check(name) < timeout:
            deadline = self.deadline
        ended = process.run(argv, name, deadline, stdin=input, stdout_limit=limit, env=own)
        if ended.status:
            said = (ended.untrusted_stderr or ended.untrusted_stdout).decode("utf-8", "replace").strip()
            shown = printable(said.replace("\n", "; "), 300)
            message = f"{name} ended with status {ended.status}{': ' if shown else ''}{shown}"
            raise ProgramFailed(message, ended.status)
        return ended.untrusted_stdout

    def now(self) -> datetime:
        """Return the time of the machine's clock, UTC. Raises VMInterfaceError for an offset that is no number."""
        from datetime import UTC, datetime, timedelta

        return datetime.now(UTC) + timedelta(microseconds=self._clock_offset() or 0)

    def set_clock(self, moment: datetime) -> None:
        """Set the machine's clock; that of a machine below a root is kept as an offset. Raises VMInterfaceError."""
        import time

        if self._clock_offset() is None and self.is_whole:
            with _named("the clock"):
                time.clock_settime_ns(time.CLOCK_REALTIME, round(moment.timestamp() * 1_000_000) * 1000)
        else:
            offset = round(moment.timestamp() * 1_000_000) - time.time_ns() // 1000
            self.write_file(CLOCK_OFFSET, f"{offset}\n")

    def _clock_offset(self) -> int | None:
        text = self.read_text(CLOCK_OFFSET, limit=64)
        try:
            return None if text is None else int(text)
        except ValueError:
            raise VMInterfaceError(f"{CLOCK_OFFSET}: '{printable(text or '', 40)}' is no number") from None

    def keep(self, path: str) -> Callable[[], None]:
        """Return a function that makes *path* what it is now: a file with this content, a link, or nothing."""
        link = self.link_target(path)
        content = None if link is not None else self.read_bytes(path)

        def put_back() -> None:
            if link is not None:
                if self.link_target(path) != link:
                    self.symlink(link, path)
            elif content is None:
                self.remove(path)
            elif self.link_target(path) is not None or self.read_bytes(path) != content:
                self.write_file(path, content)

        return put_back

    def _inside(self, place: str, path: str) -> str:
        """Return *place* with all links resolved; raise where that is not below the root. The whole machine has all."""
        if self.root == "/":
            return place
        real = os.path.realpath(place)
        if real != self.root and not real.startswith(self.root + "/"):
            raise VMInterfaceError(f"{printable(path)}: a link leads out of the machine's root {printable(self.root)}")
        return real

    def _with_folder(self, path: str) -> str:
        place = self.path(path)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        return place


@contextlib.contextmanager
def _named(path: str) -> Iterator[None]:
    """Turn the system's errors into ours, with the path as the machine sees it."""
    try:
        yield
    except VMInterfaceError:
        raise
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise VMInterfaceError(f"{printable(path)}: {reason}") from None


def _temporary(place: str) -> str:
    folder, name = os.path.split(place)
    return os.path.join(folder, f".{name[:200]}.{os.urandom(6).hex()}")


def _look_like(descriptor: int, place: str, mode: int) -> None:
    """Give the open file owner, mode and SELinux label of the regular file at *place*, or just *mode*."""
    try:
        old = os.lstat(place)
    except FileNotFoundError:
        old = None
    if old is None or not stat.S_ISREG(old.st_mode):
        os.fchmod(descriptor, mode)
        return
    own = os.fstat(descriptor)
    if (old.st_uid, old.st_gid) != (own.st_uid, own.st_gid):
        os.fchown(descriptor, old.st_uid, old.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(old.st_mode))
    with contextlib.suppress(OSError):
        os.setxattr(descriptor, "security.selinux", os.getxattr(place, "security.selinux"))
