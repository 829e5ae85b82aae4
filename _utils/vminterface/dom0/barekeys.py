"""Bare keys by path and as plain data: of the host's XenStore, or of a VM's QubesDB."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

from vminterface.channel import update
from vminterface.channel.qubesdb import QubesDB
from vminterface.channel.store import KeyStore
from vminterface.deadline import Deadline
from vminterface.dom0 import interrupt, returns
from vminterface.dom0.locks import VMLocks
from vminterface.dom0.targets import STORE_TIMEOUT, Targets
from vminterface.errors import (
    ConnectionLost,
    DeadlineExceeded,
    InvalidValue,
    RemoteProtocolError,
    StoreError,
    printable,
    printable_value,
)

#: What is the store's fault or its VM's, and no argument's.
_STORE_FAULTS = (ConnectionLost, DeadlineExceeded, RemoteProtocolError, StoreError)

#: The home of a domain in the XenStore, dom0's left out.
_HOME = re.compile(r"(/local/domain/[1-9][0-9]*)(?:/|\Z)")

T = TypeVar("T")

# Inside BareKeys the name `list` is its method's.
Strings = list[str]


class BareKeys:
    """The keys of *channel*; with *vm*, those of that VM. Use it in a ``with`` block, which opens the store.

    In the XenStore, paths are below *vm*'s own ``/local/domain/<domid>/``. Each QubesDB is one VM's own, without *vm*
    that of this machine; a path there may go without its first slash. Every method may raise VMInterfaceError.
    """

    def __init__(self, channel: str, vm: Any = None) -> None:
        self.channel = channel
        self.vm = vm
        self.base = ""
        self._targets = Targets()
        self._own: QubesDB | None = None

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
        if self.vm is not None and self.channel == "qubesdb" and isinstance(error, _STORE_FAULTS) and not named:
            raise type(error)(f"{self.vm}: {error}") from error

    def _open(self) -> KeyStore:
        if self.vm is not None:
            target = self._targets.one(self.vm, self.channel, wait=True)
            self.base = target.base
            return target.store
        if self.channel == "xenstore":
            return self._targets.xenstore
        self.base = "/"
        self._own = QubesDB.open(timeout=STORE_TIMEOUT)
        return self._own

    def _close(self) -> None:
        self._targets.close()
        if self._own is not None:
            self._own.close()

    def path(self, path: Any) -> str:
        """Return the full path of *path*."""
        text = update.path_text(path)
        return text if self.channel == "qubesdb" and text.startswith("/") else self.base + text

    def shown(self, path: str) -> str:
        """Return *path*, a full one, as it is told: without what all paths of the VM have in common."""
        return path if self.channel == "qubesdb" else path.removeprefix(self.base)

    def change(self, paths: Collection[str], work: Callable[[], T]) -> T:
        """Return what *work* returns, which writes to the keys at *paths*, full ones.

        No other program of this host writes to their VMs meanwhile. At Ctrl-C or SIGTERM it has either not begun or
        comes to its end, so that no part of it is left where a store has no transactions. Raises DeadlineExceeded,
        which says who writes to one of the VMs, LockUnavailable, and what *work* raises.
        """

        def locked(stop: threading.Event) -> T:
            vms = {self.vm} if self.vm is not None else self._vms_of(paths)
            if not vms:
                return work()
            with VMLocks() as locks:
                locks.take_all(vms, Deadline.after(STORE_TIMEOUT), stop)
                return work()

        whose = "" if self.vm is None else f"{printable_value(self.vm)}: "
        first = printable(self.shown(next(iter(paths), "")), 60)
        others = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        return interrupt.run(locked, lambda _: f"{whose}{first}{others}: done before the interruption")

    def _vms_of(self, paths: Iterable[str]) -> set[str]:
        """Return the VMs that have *paths* in their homes in the XenStore; a QubesDB without a VM is nobody else's."""
        homes = {match[1] for match in map(_HOME.match, paths) if match} if self.channel == "xenstore" else set()
        names = self.store.read_many([f"{home}/name" for home in sorted(homes)]) if homes else []
        return {name.decode("latin-1") for name in names if name}

    def read(self, path: Any) -> str | None:
        """Return the value of a key, as printable ASCII."""
        return returns.shown(self.store.read(self.path(path)))

    def write(self, path: Any, value: Any) -> None:
        """Set a key to *value*, text or a whole number."""
        full, data = self.path(path), update.value_bytes(value)
        self.change([full], lambda: self.store.write(full, data))

    def list(self, path: Any) -> Strings:
        """Return the names directly below a key, sorted."""
        return sorted(printable(name, returns.SHOWN) for name in self.store.list(self.path(path)))

    def tree(self, path: Any) -> dict[str, str | None]:
        """Return the values of a key and of all keys below it, by full path."""
        found = self.store.tree(self.path(path))
        return {printable(key, returns.SHOWN): returns.shown(value) for key, value in sorted(found.items())}

    def exists(self, path: Any) -> bool:
        """Say whether there is such a key."""
        return self.store.exists(self.path(path))

    def remove(self, path: Any) -> bool:
        """Remove a key and all keys below it; say whether there was one."""
        full = self.path(path)
        return self.change([full], lambda: bool(update.update(self.store, {full: None})))

    def permissions(self, path: Any) -> Strings:
        """Return the permissions of a key in XenStore's own notation, the owner first: ``["n0", "r3"]``."""
        return self.store.permissions(self.path(path))

    def set_permissions(self, path: Any, permissions: Any) -> None:
        """Replace the permissions of a key: a list, or one text with commas."""
        wanted = permissions.split(",") if isinstance(permissions, str) else permissions
        if not isinstance(wanted, list) or not all(isinstance(one, str) for one in wanted):
            raise InvalidValue("expected a list such as [n0, r3]", "perms")
        full = self.path(path)
        self.change([full], lambda: self.store.set_permissions(full, wanted))

    def wait(self, path: Any, value: Any = None, *, absent: bool = False, timeout: Any = 10) -> str | None:
        """Wait until a key has *value* (None: any), or with *absent* is gone, and return its value."""
        if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout <= 3600:
            raise InvalidValue("expected seconds, more than 0 and at most 3600", "timeout")
        expected = None if value is None else update.value_bytes(value)

        def holds(now: bytes | None) -> bool:
            return now is None if absent else now is not None and expected in (None, now)

        return returns.shown(self.store.wait_for(self.path(path), holds, timeout=timeout))

    def update(self, values: Any) -> dict[str, dict[str, str | None]]:
        """Bring keys to their *values* by path, None to remove one; return what differed."""
        if not isinstance(values, Mapping):
            raise InvalidValue("expected a mapping of paths to values", "keys")
        wanted = {self.path(p): None if value is None else update.value_bytes(value) for p, value in values.items()}
        return self.change(wanted, lambda: returns.key_changes(update.update(self.store, wanted)))


@contextmanager
def opened(channel: str, vm: Any, invalid: type[Exception], failed: type[Exception]) -> Iterator[BareKeys]:
    """The keys of *channel*, with *vm* of that VM, for one call; errors are raised as by :func:`returns.raising`."""
    with returns.raising(invalid, failed), BareKeys(channel, vm) as keys:
        yield keys
