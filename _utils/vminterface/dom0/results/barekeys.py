"""Bare keys by path and as plain data: of the host's XenStore, or of a VM's QubesDB."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

from vminterface.channel import update
from vminterface.channel.qubesdb.store import QubesDB
from vminterface.channel.store import KeyStore
from vminterface.deadline import Deadline
from vminterface.dom0.desired import words
from vminterface.dom0.inventory.targets import STORE_TIMEOUT, Target, Targets
from vminterface.dom0.push import interrupt
from vminterface.dom0.push.keychanges import check_there
from vminterface.dom0.push.locks import VMLocks
from vminterface.dom0.results import inwords
from vminterface.dom0.results.raising import raising
from vminterface.errors import (
    ConnectionLost,
    DeadlineExceeded,
    InvalidValue,
    RemoteProtocolError,
    StoreError,
    printable,
    printable_value,
)
from vminterface.regex import regex

#: What is the store's fault or its VM's, and no argument's.
_STORE_ERRORS = (ConnectionLost, DeadlineExceeded, RemoteProtocolError, StoreError)

_SECONDS = "is not valid (expected seconds, more than 0 and at most 3600)"

#: The home of a domain in the XenStore, dom0's left out.
_HOME = regex(r"(/local/domain/[1-9][0-9]*)(?:/|\Z)")

T = TypeVar("T")

# Inside BareKeys the name `list` is its method's.
Strings = list[str]


class BareKeys:
    """The keys of *channel*; with *vm*, those of that VM. Use it in a ``with`` block, which opens the store.

    In the XenStore, paths are below *vm*'s own ``/local/domain/<domid>/``. Each QubesDB is one VM's own, without *vm*
    that of this machine; a path there may go without its first slash. Every method may raise VMInterfaceError.
    *timeout* is for all of a :meth:`wait`, in seconds. *targets* locates VMs, by default those of this host.
    *open_locks* makes what takes their locks; *stop* is for a caller that takes signals itself.
    """

    def __init__(
        self,
        channel: str,
        vm: Any = None,
        timeout: Any = None,
        *,
        targets: Targets | None = None,
        open_locks: Callable[[], VMLocks] = VMLocks,
        stop: threading.Event | None = None,
    ) -> None:
        self.channel = channel
        self.vm = vm
        self.base = ""
        self._deadline = None if timeout is None else Deadline.after(_seconds(timeout))
        self._targets = targets or Targets(deadline=self._deadline)
        self._open_locks, self._stop = open_locks, stop
        self._own: QubesDB | None = None
        self._target: Target | None = None

    def __enter__(self) -> Self:
        try:
            self.store = self._open()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._close()
        # A QubesDB speaks of paths alone, which are the same in every VM.
        named = str(error).startswith(f"{self.vm}: ")
        if self.vm is not None and self.channel == "qubesdb" and isinstance(error, _STORE_ERRORS) and not named:
            raise type(error)(f"{self.vm}: {error}") from error

    def _open(self) -> KeyStore:
        if self.vm is not None:
            target = self._targets.one(self.vm, self.channel, wait=True)
            self.base, self._target = target.base, target
            return target.store
        if self.channel == "xenstore":
            return self._targets.xenstore
        self.base = "/"
        self._own = QubesDB.open(timeout=STORE_TIMEOUT if self._deadline is None else self._deadline.seconds)
        return self._own

    def _close(self) -> None:
        self._targets.close()
        if self._own is not None:
            self._own.close()

    def path(self, path: Any) -> str:
        """Return the full path of *path*."""
        text = update.path_text(path)
        if self.vm is not None and not self.store.per_vm and text.startswith("/"):
            raise InvalidValue(
                f"'{printable(text, 60)}' is not a path below a VM's home (expected one without / at its start)"
            )
        return text if self.store.per_vm and text.startswith("/") else self.base + text

    def shown(self, path: str) -> str:
        """Return *path*, a full one, as messages print it: without the prefix of all paths of the VM."""
        return path if self.store.per_vm else path.removeprefix(self.base)

    def change(self, paths: Collection[str], work: Callable[[], T]) -> T:
        """Return what *work* returns, which writes to the keys at *paths*, full ones.

        No other program of this host writes to their VMs meanwhile. At Ctrl-C or SIGTERM it has either not begun or
        comes to its end, so that no part of it is left where a store has no transactions. Raises DeadlineExceeded,
        which names who writes to one of the VMs, LockUnavailable, and what *work* raises.
        """

        def locked(stop: threading.Event) -> T:
            vms = {self.vm} if self.vm is not None else self._vms_of(paths)
            if not vms:
                return work()
            with self._open_locks() as locks:
                locks.take_all(vms, Deadline.after(STORE_TIMEOUT), stop)
                return work()

        if self._stop is not None:
            return locked(self._stop)
        whose = "" if self.vm is None else f"{printable_value(self.vm)}: "
        first = printable(self.shown(next(iter(paths), "")), 60)
        others = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        return interrupt.run(locked, lambda _: f"{whose}{first}{others}: done before the interruption")

    def _vms_of(self, paths: Iterable[str]) -> set[str]:
        """Return the VMs that have *paths* in their homes in the XenStore; a QubesDB without a VM is nobody else's."""
        homes = {match[1] for match in map(_HOME.match, paths) if match} if not self.store.per_vm else set()
        names = self.store.read_many([f"{home}/name" for home in sorted(homes)]) if homes else []
        return {name.decode("latin-1") for name in names if name}

    def bring(self, desired: update.Desired) -> update.Changes:
        """Give the keys of *desired*, by full path, their values; nothing where the VM has stopped meanwhile."""

        def check(view: KeyStore) -> None:
            if self._target is not None:
                check_there(view, self._target)

        return update.update(self.store, desired, check=check)

    def read(self, path: Any) -> str | None:
        """Return the value of a key, as printable ASCII."""
        return inwords.shown(self.store.read(self.path(path)))

    def write(self, path: Any, value: Any) -> None:
        """Set a key to *value*, text or a whole number."""
        full, data = self.path(path), update.value_bytes(value)
        self.change([full], lambda: self.store.write(full, data))

    def list(self, path: Any) -> Strings:
        """Return the names directly below a key, sorted."""
        return sorted(printable(name, words.SHOWN) for name in self.store.list(self.path(path)))

    def tree(self, path: Any) -> dict[str, str | None]:
        """Return the values of a key and of all keys below it, by full path."""
        found = self.store.tree(self.path(path))
        return {printable(key, words.SHOWN): inwords.shown(value) for key, value in sorted(found.items())}

    def exists(self, path: Any) -> bool:
        """Return whether the key exists."""
        return self.store.exists(self.path(path))

    def remove(self, path: Any) -> bool:
        """Remove a key and all keys below it; return whether there was one."""
        full = self.path(path)
        return self.change([full], lambda: bool(self.bring({full: None})))

    def permissions(self, path: Any) -> Strings:
        """Return the permissions of a key in XenStore's own notation, the owner first: ``["n0", "r3"]``."""
        return self.store.permissions(self.path(path))

    def set_permissions(self, path: Any, permissions: Any) -> None:
        """Replace the permissions of a key: a list, or one text with commas."""
        desired = permissions.split(",") if isinstance(permissions, str) else permissions
        if not isinstance(desired, list) or not all(isinstance(one, str) for one in desired):
            raise InvalidValue("is not a list (expected one such as [n0, r3])", "perms")
        full = self.path(path)
        self.change([full], lambda: self.store.set_permissions(full, desired))

    def wait(self, path: Any, value: Any = None, *, absent: bool = False) -> str | None:
        """Wait until a key has *value* (None: any), or with *absent* is gone, and return its value."""
        if self._deadline is None:
            raise InvalidValue(_SECONDS, "timeout")
        expected = None if value is None else update.value_bytes(value)

        def holds(now: bytes | None) -> bool:
            return now is None if absent else now is not None and expected in (None, now)

        return inwords.shown(self.store.wait_for(self.path(path), holds, deadline=self._deadline))

    def update(self, values: Any) -> dict[str, dict[str, str | None]]:
        """Bring keys to their *values* by path, None to remove one; return what differed."""
        if not isinstance(values, Mapping):
            raise InvalidValue("is not a mapping (expected paths with their values)", "keys")
        desired = {self.path(p): None if value is None else update.value_bytes(value) for p, value in values.items()}
        return self.change(desired, lambda: inwords.key_changes(self.bring(desired)))


def _seconds(timeout: Any) -> float:
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout <= 3600:
        raise InvalidValue(_SECONDS, "timeout")
    return timeout


@contextmanager
def opened(
    channel: str, vm: Any, invalid: type[Exception], failed: type[Exception], timeout: Any = None
) -> Iterator[BareKeys]:
    """The keys of *channel*, with *vm* of that VM, for one call; errors are raised as by :func:`raising`.

    *timeout* as for :class:`BareKeys`.
    """
    with raising(invalid, failed), BareKeys(channel, vm, timeout) as keys:
        yield keys
