"""The files of this machine, or of a folder that stands for one: with a root prefix every file lives below it.

Reads have a bound and never wait; writes happen at once or not at all.
"""

from __future__ import annotations

import errno
import os
import stat

from vminterface.errors import VMInterfaceError, printable_path
from vminterface.vm.machine.regularfile import open_regular, read_at_most

TYPE_CHECKING = False  # as the type checker takes it; importing typing would cost every short-lived program time
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

#: Bytes of a file that are taken at most, unless the call says otherwise.
LIMIT = 1 << 20


class Files:
    """The files of the machine below *root*. Paths are absolute, as the machine itself sees them."""

    def __init__(self, root: str = "/") -> None:
        self.root = os.path.realpath(root)

    @property
    def is_whole(self) -> bool:
        """Whether this is the machine that runs this program, so that its kernel may be spoken to."""
        return self.root == "/"

    def path(self, path: str) -> str:
        """Return where *path* is for the system's calls. Raises VMInterfaceError where a link leads out of the root.

        The last part of *path* is not resolved: it may be a link that is to be read or replaced.
        """
        path = self._absolute(path)
        if self.root == "/":
            return path
        folder, _, name = path.rpartition("/")
        return f"{self._inside(self.root + folder, path)}/{name}"

    def shown(self, place: str) -> str:
        """Return the path, as the machine sees it and printable, of a *place* that :meth:`path` has given."""
        return printable_path(place if self.root == "/" else place.removeprefix(self.root))

    def read_bytes(self, path: str, *, limit: int = LIMIT) -> bytes | None:
        """Return what is in the file *path*, None if there is none.

        Raises VMInterfaceError for more than *limit* bytes, and for anything but a regular file; it never waits.
        """
        with Named(path):
            try:
                descriptor = self.open_file(path)
            except (FileNotFoundError, NotADirectoryError):
                return None
            try:
                data = read_at_most(descriptor, limit + 1)
            finally:
                os.close(descriptor)
        if len(data) > limit:
            raise VMInterfaceError(f"{printable_path(path)}: is too long (expected at most {limit} bytes)")
        return data

    def open_file(self, path: str, *, follow: bool = True) -> int:
        """Return a descriptor that reads the regular file *path*, which may be a link to one if *follow*.

        For files of any size; :meth:`read_bytes` has a bound. Raises OSError, VMInterfaceError for other kinds.
        """
        return open_regular(self._followed(path) if follow else self.path(path), path, follow=follow)

    def read_text(self, path: str, *, limit: int = LIMIT) -> str | None:
        """Return the text of *path*, None if the file does not exist; invalid UTF-8 round-trips (surrogateescape)."""
        data = self.read_bytes(path, limit=limit)
        return None if data is None else data.decode("utf-8", "surrogateescape")

    def names(self, path: str) -> list[str]:
        """Return the names in the folder *path*, sorted; none if the folder does not exist."""
        with Named(path):
            try:
                return sorted(os.listdir(self._followed(path)))
            except (FileNotFoundError, NotADirectoryError):
                return []

    def exists(self, path: str) -> bool:
        """Whether there is something at *path* (a link that leads nowhere counts as nothing)."""
        return os.path.exists(self._followed(path))

    def changed_at(self, path: str) -> int:
        """Return when the file *path* last changed, in nanoseconds as its file system counts them; 0: no such file."""
        try:
            return os.stat(self._followed(path)).st_mtime_ns
        except (OSError, VMInterfaceError):
            return 0

    def is_folder(self, path: str) -> bool:
        """Whether *path* is a folder."""
        return os.path.isdir(self._followed(path))

    def is_file(self, path: str) -> bool:
        """Whether *path* is a regular file."""
        return os.path.isfile(self._followed(path))

    def link_target(self, path: str) -> str | None:
        """Return the target of the symbolic link *path*, None if it is not a link."""
        with Named(path):
            place = self.path(path)
            return os.readlink(place) if os.path.islink(place) else None

    def write_file(self, path: str, data: str | bytes, mode: int = 0o644, *, fresh: bool = False) -> None:
        """Give *path* the content *data*, at once or not at all; a link at *path* is replaced, not followed.

        A file that was there keeps its owner, mode and SELinux label unless the new one is to be a *fresh* one; that
        is this user's and gets *mode*, as where there was none. Missing folders are made.
        """
        content = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
        with Named(path):
            place = self._with_folder(path)
            temporary = _temporary(place)
            try:
                descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
                with open(descriptor, "wb") as file:
                    if fresh:
                        os.fchmod(file.fileno(), mode)
                    else:
                        _copy_attributes(file.fileno(), place, mode)
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
                _unlink(temporary)
                raise

    def write_attribute(self, path: str, text: str) -> None:
        """Write *text* into the kernel's file *path* (sysfs, procfs), which must be there, in one system call."""
        with Named(path):
            # A pipe that nobody reads is an error then, and makes nobody wait.
            descriptor = os.open(self._followed(path), os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
            try:
                os.write(descriptor, text.encode("ascii"))
            finally:
                os.close(descriptor)

    def symlink(self, target: str, path: str) -> None:
        """Make *path* a symbolic link to *target*, at once, in place of whatever file or link is there."""
        with Named(path):
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
        with Named(path):
            place = self._with_folder(path)
            try:
                os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode))
            except FileExistsError:
                return

    def make_folder(self, path: str, mode: int = 0o755) -> None:
        """Let there be a folder *path*."""
        with Named(path):
            os.makedirs(self._with_folder(path), mode, exist_ok=True)

    def remove(self, path: str) -> None:
        """Let there be no file or link *path*."""
        with Named(path):
            try:
                os.unlink(self.path(path))
            except (FileNotFoundError, NotADirectoryError):
                return

    def remove_empty_folder(self, path: str) -> None:
        """Let there be no folder *path* if there is nothing in it; anything else stays as it is."""
        with Named(path):
            try:
                os.rmdir(self.path(path))
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY):
                    raise

    def copy(self, path: str, to: str) -> None:
        """Let *to* be what the file or link *path* is, owner, mode and SELinux label too, at once or not at all.

        A file or link that is at *to* is replaced. Raises VMInterfaceError.
        """
        import shutil

        with Named(path):
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
                _unlink(temporary)

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

    def real_path(self, path: str) -> str:
        """Return where what *path* leads to is, all links resolved. Raises VMInterfaceError as :meth:`path`."""
        return os.path.realpath(self._followed(path))

    @staticmethod
    def _absolute(path: str) -> str:
        if not path.startswith("/"):
            raise VMInterfaceError(f"{printable_path(path)}: is not an absolute path")
        return path.rstrip("/") or "/"

    def _followed(self, path: str) -> str:
        """Return what :meth:`path` does, with its last part resolved too."""
        path = self._absolute(path)
        return path if self.root == "/" else self._inside(self.root + path, path)

    def _inside(self, place: str, path: str) -> str:
        """Return *place* with all links resolved; raise where that is not below the root. The whole machine has all."""
        if self.root == "/":
            return place
        real = place if self._has_no_link(place) else os.path.realpath(place)
        if real != self.root and not real.startswith(self.root + "/"):
            root = printable_path(self.root)
            raise VMInterfaceError(f"{printable_path(path)}: a link points outside the machine's root {root}")
        return real

    def _has_no_link(self, place: str) -> bool:
        """Whether no part of *place* below the root is a link or leads up, which most are not."""
        at, parts = self.root, place[len(self.root) + 1 :].split("/")
        if not {"", ".", ".."}.isdisjoint(parts):
            return False
        for part in parts:
            at = f"{at}/{part}"
            try:
                if stat.S_ISLNK(os.lstat(at).st_mode):
                    return False
            except FileNotFoundError:
                return True
            except OSError:
                return False
        return True

    def _with_folder(self, path: str) -> str:
        place = self.path(path)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        return place


class Named:
    """Turn the system's errors in a block into ours, with *path* as the machine sees it.

    A class, as contextlib is not imported here: what a short-lived program does not need costs its caller time.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if isinstance(error, OSError | ValueError) and not isinstance(error, VMInterfaceError):
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise VMInterfaceError(f"{printable_path(self._path)}: {reason}") from None


def _unlink(place: str) -> None:
    """Remove *place* if that can be done."""
    try:
        os.unlink(place)
    except OSError:
        return


def _temporary(place: str) -> str:
    folder, name = os.path.split(place)
    return os.path.join(folder, f".{name[:200]}.{os.urandom(6).hex()}")


def _copy_attributes(descriptor: int, place: str, mode: int) -> None:
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
    try:
        os.setxattr(descriptor, "security.selinux", os.getxattr(place, "security.selinux"))
    except OSError:
        return  # no SELinux here, or no right to say so
