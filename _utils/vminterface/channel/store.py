"""What a key store is: bytes under paths, read and written in pipelined batches, every wait with a deadline.

The stores (``channel.xenstore``, ``channel.qubesdb``) implement :meth:`KeyStore.batch`,
:meth:`KeyStore.transaction` and :meth:`KeyStore.watch`; the rest is written here once, in terms of these.
A store object belongs to one thread.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Final, Protocol, Self, TypeVar

from vminterface.deadline import Deadline
from vminterface.errors import DeadlineExceeded, KeyNotFound, StoreError, VMInterfaceError
from vminterface.value import Value

T = TypeVar("T")

# Inside KeyStore the name `list` is its method's.
Strings = list[str]
Values = list[bytes | None]

#: Seconds that the end of a watch or the abort of a transaction may take although its time is up.
END_SECONDS = 0.25
#: Nodes that :meth:`KeyStore.tree` reads at most, by default: a VM may grow its own subtree.
TREE_LIMIT = 100_000


class Read(Value):
    """Outcome: the value, ``bytes``."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path: Final = path


class Write(Value):
    """Outcome: None. Missing parents are created where the store has parents."""

    __slots__ = ("path", "value")

    def __init__(self, path: str, value: bytes) -> None:
        self.path: Final = path
        self.value: Final = value


class Remove(Value):
    """Outcome: None. The key and everything below it; :class:`KeyNotFound` if the key does not exist.

    In a QubesDB, a path that ends with ``/``: everything below it, but not the key itself.
    """

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path: Final = path


class List(Value):
    """Outcome: the names directly below, ``list[str]``."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path: Final = path


class GetPermissions(Value):
    """Outcome: ``list[str]`` such as ``["n0", "r3"]``: owner first, then exceptions (XenStore's own notation)."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path: Final = path


class SetPermissions(Value):
    """Outcome: None. *permissions* as in :class:`GetPermissions`."""

    __slots__ = ("path", "permissions")

    def __init__(self, path: str, permissions: tuple[str, ...]) -> None:
        self.path: Final = path
        self.permissions: Final = permissions


Operation = Read | Write | Remove | List | GetPermissions | SetPermissions


class WatchEvent(Value):
    """*path* changed (was written, created or removed), seen by the watch registered on *registered*."""

    __slots__ = ("path", "registered")

    def __init__(self, path: str, registered: str) -> None:
        self.path: Final = path
        self.registered: Final = registered


def ending(deadline: Deadline | None, seconds: float) -> Deadline:
    """Return by when a watch made with *deadline* is to have ended; without one it has *seconds* from now."""
    return Deadline.after(seconds if deadline is None else max(deadline.remaining, END_SECONDS))


class Readable(Protocol):
    """Something with a descriptor that poll(2) waits for."""

    def fileno(self) -> int:
        """Return the descriptor."""


class Watch(ABC):
    """Some watched paths. Use it in a ``with`` block: its end removes the registrations."""

    @abstractmethod
    def next(self, deadline: Deadline, others: Sequence[Readable] = ()) -> list[WatchEvent]:
        """Return the events that have come, at least one; none where one of *others* is readable before any comes.

        Raises DeadlineExceeded, ConnectionLost.
        """

    @abstractmethod
    def close(self) -> None:
        """Remove the registrations; never raises when the connection is gone."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


class KeyStore(ABC):
    """A tree of keys. Paths are ``str``, values ``bytes``.

    Every method may raise :class:`DeadlineExceeded` (after ``timeout`` seconds), :class:`ConnectionLost`,
    :class:`RemoteProtocolError`, :class:`LocalProtocolError` (a path or value that cannot be sent) and
    the store's refusals: KeyNotFound, PermissionDenied, QuotaExceeded, StoreError.
    """

    #: ``xenstore`` or ``qubesdb``.
    channel: str
    #: Seconds that one call may take unless the call says otherwise.
    timeout: float
    #: Whether it holds the keys of one VM alone, and comes and goes with that VM; else those of all domains of a host.
    per_vm: bool
    #: What the path of a key of the VM that this program runs in begins with.
    home: str
    #: Whether :meth:`transaction` is atomic.
    transactions: bool
    #: Whether a key has its parents: they are made with it, and it is gone with any of them.
    parents: bool
    #: Whether a value may have NUL bytes.
    nul_bytes: bool

    @abstractmethod
    def max_value(self, path: str) -> int:
        """Return how many bytes the value of *path* may have."""

    @abstractmethod
    def allows(self, name: str) -> bool:
        """Return whether a key may be called *name*, which may be several names with ``/`` between."""

    @abstractmethod
    def batch(self, operations: Sequence[Operation], *, timeout: float | None = None) -> list[Any]:
        """Do all *operations*, pipelined, and return their outcomes in the same order.

        An operation that the store refused has the error (a VMInterfaceError, not raised) as its outcome; a
        fault of the connection is raised.
        """

    @abstractmethod
    def transaction(self, work: Callable[[KeyStore], T], *, attempts: int = 8, timeout: float | None = None) -> T:
        """Call *work* with a view of the store in which its changes appear all at once or not at all.

        *work* is called again after a conflict, at most *attempts* times with a growing pause, then
        :class:`TransactionConflict` is raised. Where *work* raises, nothing is changed. A store that has no
        transactions (``transactions`` is False) calls *work* once with itself.
        """

    @abstractmethod
    def watch(self, paths: Iterable[str], *, timeout: float | None = None) -> Watch:
        """Return a watch on *paths* and everything below them. Each path gives one event at once.

        With *timeout*, its registration and its end are to be done within so many seconds from now; its end has
        :data:`END_SECONDS` even if they have passed by then. Without, each has the store's own time.
        """

    @abstractmethod
    def close(self) -> None:
        """End the connection; may be called twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _one(self, operation: Operation, timeout: float | None) -> Any:
        outcome = self.batch([operation], timeout=timeout)[0]
        if not isinstance(outcome, VMInterfaceError):
            return outcome
        try:
            raise outcome
        finally:
            # Its traceback has this frame: with the name here, the two would keep each other.
            del outcome

    def read(self, path: str, *, timeout: float | None = None) -> bytes:
        """Return the value of *path*."""
        value: bytes = self._one(Read(path), timeout)
        return value

    def write(self, path: str, value: bytes, *, timeout: float | None = None) -> None:
        """Set *path* to *value*."""
        self._one(Write(path, value), timeout)

    def remove(self, path: str, *, timeout: float | None = None) -> None:
        """Remove *path* and everything below it."""
        self._one(Remove(path), timeout)

    def list(self, path: str, *, timeout: float | None = None) -> Strings:
        """Return the names directly below *path*."""
        names: Strings = self._one(List(path), timeout)
        return names

    def exists(self, path: str, *, timeout: float | None = None) -> bool:
        """Return whether the key exists (it may be empty)."""
        try:
            self.read(path, timeout=timeout)
        except KeyNotFound:
            return False
        return True

    def permissions(self, path: str, *, timeout: float | None = None) -> Strings:
        """Return the permissions of *path*, as :class:`GetPermissions` describes them."""
        entries: Strings = self._one(GetPermissions(path), timeout)
        return entries

    def set_permissions(self, path: str, permissions: Iterable[str], *, timeout: float | None = None) -> None:
        """Replace the permissions of *path*."""
        self._one(SetPermissions(path, tuple(permissions)), timeout)

    def read_many(self, paths: Sequence[str], *, timeout: float | None = None) -> Values:
        """Return the values of *paths* in order, None for each that does not exist."""
        values = self.batch([Read(path) for path in paths], timeout=timeout)
        for value in values:
            if isinstance(value, VMInterfaceError) and not isinstance(value, KeyNotFound):
                raise value
        return [None if isinstance(value, KeyNotFound) else value for value in values]

    def tree(self, path: str, *, limit: int = TREE_LIMIT, timeout: float | None = None) -> dict[str, bytes]:
        """Return the values of *path* and of everything below it, by full path, level by level.

        A key that vanishes while the tree is read is left out. More than *limit* keys: StoreError.
        """
        deadline = Deadline.after(self.timeout if timeout is None else timeout)
        found: dict[str, bytes] = {path: self.read(path, timeout=deadline.remaining)}
        level = [path]
        while level:
            listings = self.batch([List(p) for p in level], timeout=deadline.check(f"tree of {path}"))
            below = [
                f"{parent.rstrip('/')}/{name}"
                for parent, names in zip(level, listings, strict=True)
                for name in _unless_gone(names, [])
            ]
            if len(found) + len(below) > limit:
                raise StoreError(f"{path}: more than {limit} keys below it")
            if below:
                values = self.batch([Read(p) for p in below], timeout=deadline.check(f"tree of {path}"))
                pairs = [(p, _unless_gone(v, None)) for p, v in zip(below, values, strict=True)]
                found.update({p: v for p, v in pairs if v is not None})
            level = below
        return found

    def wait_for(
        self,
        path: str,
        predicate: Callable[[bytes | None], bool],
        *,
        timeout: float | None = None,
        deadline: Deadline | None = None,
    ) -> bytes | None:
        """Wait until *predicate* holds for the value of *path* (None: no such key) and return that value.

        Ends within *timeout* and :data:`END_SECONDS`, whatever the daemon does. *deadline* holds in its place.
        """
        deadline = deadline or Deadline.after(self.timeout if timeout is None else timeout)
        with self.watch([path], timeout=deadline.check(path)) as watch:
            while True:
                value = self.read_many([path], timeout=deadline.check(path))[0]
                if predicate(value):
                    return value
                try:
                    watch.next(deadline)
                except DeadlineExceeded:
                    raise DeadlineExceeded(
                        f"{path}: the expected value did not appear within {deadline.seconds:g} s"
                    ) from None


class HostStore(KeyStore):
    """The one store of a host, with the keys of all its domains."""

    @property
    @abstractmethod
    def closed(self) -> bool:
        """Whether the connection has ended, be it by :meth:`close` or by a fault."""

    @abstractmethod
    def domains(self, *, timeout: float | None = None, unspoken: list[bytes] | None = None) -> dict[str, int]:
        """Return the domid of each running VM by its name, dom0 left out; *unspoken* gets names that none can have."""


class VMStore(KeyStore):
    """The store of one VM alone, which comes and goes with it."""

    @property
    @abstractmethod
    def closed(self) -> bool:
        """Whether the connection has ended, be it by :meth:`close` or by a fault."""

    @abstractmethod
    def tree(
        self,
        path: str,
        *,
        limit: int = TREE_LIMIT,
        timeout: float | None = None,
        keep: Callable[[str], bool] | None = None,
    ) -> dict[str, bytes]:
        """Return the values of *path* and of everything below it, by full path: one request.

        With *keep*, only those whose path it accepts; the others take no memory.
        """


def _unless_gone(outcome: Any, instead: Any) -> Any:
    """Return *outcome*, *instead* for a key that is gone, and raise every other refusal."""
    if isinstance(outcome, KeyNotFound):
        return instead
    if isinstance(outcome, VMInterfaceError):
        raise outcome
    return outcome
