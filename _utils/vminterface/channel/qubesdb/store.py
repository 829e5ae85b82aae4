"""QubesDB as a key store: the keys of one VM, as dom0 and the VM itself both see and change them.

What it is differs from the XenStore: it has no permissions and no transactions, a key may have keys below it without
existing itself, and every path starts with ``/`` (the daemon and client library of qubes-core-qubesdb).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from vminterface.channel.qubesdb.connection import AnyReply, QubesDBConnection
from vminterface.channel.qubesdb.operations import (
    Plan,
    check,
    is_within,
    outcome_of,
    raise_refusal,
    refusal,
    whole_folders,
)
from vminterface.channel.qubesdb.pace import COSTS, Pace, portions
from vminterface.channel.qubesdb.places import find_socket, folders
from vminterface.channel.store import (
    TREE_LIMIT,
    KeyStore,
    List,
    Operation,
    Readable,
    Remove,
    VMStore,
    Watch,
    WatchEvent,
    ending,
)
from vminterface.deadline import Deadline
from vminterface.errors import ConnectionLost, KeyNotFound, LocalProtocolError, StoreError, VMInterfaceError
from vminterface.wire import qubesdb as wire
from vminterface.wire.qubesdb import PATH_MAX, VALUE_MAX, Command, ErrorReply, Reply, Request, is_key_path

T = TypeVar("T")

#: Events that one watch keeps for its reader before it falls back to "something below the watched path changed".
_EVENTS_MAX = 4096


class QubesDB(VMStore):
    """A connection to one VM's QubesDB; make it with :meth:`open`."""

    channel = "qubesdb"
    per_vm = True
    home = "/"
    transactions = False
    parents = False
    nul_bytes = False

    def __init__(self, path: str, timeout: float, *, inside: bool = False) -> None:
        self.timeout = timeout
        #: Whether this is a VM's own. Dom0's daemon has none of its keys after a restart of its own, and ends over a
        #: removal of what it has not: a key is written once more before it is removed.
        self._inside = inside
        self._pace = Pace.of(path)
        self._connection = QubesDBConnection(path, self._on_event)
        self._watches: list[_QubesDBWatch] = []
        #: How many watches need each path that the daemon watches for us.
        self._registered: Counter[str] = Counter()

    @classmethod
    def open(cls, vm: str | None = None, timeout: float = 5.0, *, folder: str | None = None) -> QubesDB:
        """Connect to the QubesDB of *vm* from dom0, or with None to the one of the VM that this program runs in.

        Its socket is in *folder*; default: ``VMINTERFACE_QUBESDB_DIR``, then ``/run/qubes`` and
        ``/var/run/qubes``. Raises ConnectionLost, InvalidValue for an invalid VM name.
        """
        path = find_socket(vm, folder)
        if path is None:
            of = "here" if vm is None else f"of {vm}"
            raise ConnectionLost(f"no QubesDB {of}: there is no socket in {' or '.join(folders(folder))}")
        return cls(path, timeout, inside=vm is None)

    def max_value(self, path: str) -> int:
        return VALUE_MAX

    def allows(self, name: str) -> bool:
        path = f"/{name}".encode("utf-8", "surrogateescape")
        return len(path) <= PATH_MAX and is_key_path(path)

    @property
    def closed(self) -> bool:
        """Whether the connection has ended, be it by :meth:`close` or by a fault."""
        return self._connection.closed

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def _deadline(self, timeout: float | None) -> Deadline:
        return Deadline.after(self.timeout if timeout is None else timeout)

    def _ask(
        self, requests: Sequence[Request], deadline: Deadline, keep: Callable[[str], bool] | None = None
    ) -> list[AnyReply]:
        return self._connection.exchange(requests, deadline, keep)

    def batch(self, operations: Sequence[Operation], *, timeout: float | None = None) -> list[Any]:
        deadline = self._deadline(timeout)
        for operation in operations:
            check(operation)
        existing = self._existing([o.path for o in operations if isinstance(o, Remove)], deadline)
        plan = Plan.of(operations, existing, again=self._inside)
        replies = self._change(plan.requests, deadline)
        return [
            outcome_of(operation, [replies[place] for place in places])
            for operation, places in zip(operations, plan.places, strict=True)
        ]  # fmt: skip

    def _change(self, requests: Sequence[Request], deadline: Deadline) -> list[AnyReply]:
        """Do as :meth:`_ask`, with changes in portions that the other daemon of the pair can take."""
        replies: list[AnyReply] = []
        for portion, cost in portions(requests):
            if cost:
                self._keep_pace(cost, deadline)
            replies += self._ask(portion, deadline)
            if cost:
                self._pace.add(cost)
        return replies

    def _keep_pace(self, cost: int, deadline: Deadline) -> None:
        """Wait until changes of that *cost* may be sent."""
        if pause := self._pace.pause(cost):
            time.sleep(min(pause, deadline.check(self._connection.path)))

    def _existing(self, paths: Sequence[str], deadline: Deadline) -> dict[str, bytes]:
        """Return the keys at and below *paths* and in folders that may go with them, inside a VM with their values.

        A removal is asked for only where there is something: daemons of a pair part for good over one that finds
        nothing on the other side.
        """
        if not paths:
            return {}
        folders = whole_folders(paths)
        single = [path for path in paths if not any(path.startswith(folder) for folder in folders)]
        command = Command.MULTIREAD if self._inside else Command.LIST
        tops = [*folders, *single]
        found: dict[str, bytes] = {}
        for top, (reply, entries) in zip(tops, self._ask([Request(command, t) for t in tops], deadline), strict=True):
            raise_refusal(reply)
            found.update((entry.path, entry.value) for entry in entries if is_within(entry.path, top.rstrip("/")))
        return found

    def read(self, path: str, *, timeout: float | None = None) -> bytes:
        # The most frequent requests go past the operations' own lists.
        ((reply, _),) = self._ask([Request(Command.READ, path)], self._deadline(timeout))
        if not isinstance(reply, Reply):
            raise refusal(reply)
        return reply.value

    def write(self, path: str, value: bytes, *, timeout: float | None = None) -> None:
        # As :meth:`_change` does; one request is one portion.
        deadline, cost = self._deadline(timeout), COSTS[Command.WRITE]
        self._keep_pace(cost, deadline)
        ((reply, _),) = self._ask([Request(Command.WRITE, path, value)], deadline)
        self._pace.add(cost)
        raise_refusal(reply)

    def read_many(self, paths: Sequence[str], *, timeout: float | None = None) -> list[bytes | None]:
        values: list[bytes | None] = []
        for reply, _ in self._ask([Request(Command.READ, path) for path in paths], self._deadline(timeout)):
            if isinstance(reply, Reply):
                values.append(reply.value)
            elif isinstance(reply, ErrorReply) and reply.missing:
                values.append(None)
            else:
                raise refusal(reply)
        return values

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
        check(List(path))
        ((reply, entries),) = self._ask([Request(Command.MULTIREAD, path)], self._deadline(timeout), keep)
        raise_refusal(reply)
        found = {entry.path: entry.value for entry in entries if is_within(entry.path, path)}
        if len(found) > limit:
            raise StoreError(f"{path}: more than {limit} keys below it")
        if not found and path != "/":
            raise KeyNotFound(f"{path}: no such key")
        return found

    def transaction(self, work: Callable[[KeyStore], T], *, attempts: int = 8, timeout: float | None = None) -> T:
        """Return what *work* returns, called once: QubesDB changes one key at a time."""
        return work(self)

    def watch(self, paths: Iterable[str], *, timeout: float | None = None) -> Watch:
        deadline = None if timeout is None else Deadline.after(timeout)
        watch = _QubesDBWatch(self, list(paths), deadline)
        for path in watch.paths:
            check(List(path))
        self._watches.append(watch)
        try:
            self._register(Command.WATCH, watch, deadline or self._deadline(None))
        except BaseException:
            watch.close()
            raise
        return watch

    def _register(self, command: Command, watch: _QubesDBWatch, deadline: Deadline) -> None:
        """Let the daemon know of the paths that this watch is the first to need, or the last to have needed."""
        desired = {need for path in watch.paths for need in _watched_for(path)}
        if command is Command.WATCH:
            changed = sorted(desired - self._registered.keys())
            self._registered.update(desired)
            self._connection.expect_events(True)
            watch.registered = desired
        else:
            self._registered.subtract(watch.registered)
            changed = sorted(path for path in watch.registered if not self._registered[path])
            self._registered = +self._registered
            watch.registered = set()
        replies = self._ask([Request(command, path) for path in changed], deadline)
        self._connection.expect_events(bool(self._registered))
        for reply, _ in replies:
            if not (isinstance(reply, ErrorReply) and reply.missing):
                raise_refusal(reply)

    def _unregister(self, watch: _QubesDBWatch, deadline: Deadline) -> None:
        self._watches.remove(watch)
        self._register(Command.UNWATCH, watch, deadline)

    def _on_event(self, event: wire.WatchEvent) -> None:
        for watch in self._watches:
            watch.add(event.path)

    def _receive(self, deadline: Deadline, others: Sequence[Readable]) -> bool:
        """Wait until something comes, and give watch events to their watches; False: one of *others* is readable."""
        return self._connection.receive(deadline, others)


class _QubesDBWatch(Watch):
    """Some paths, and the events that nobody has taken yet."""

    def __init__(self, store: QubesDB, paths: list[str], deadline: Deadline | None) -> None:
        self.paths = paths
        self._deadline = deadline
        #: What the daemon watches for it.
        self.registered: set[str] = set()
        self._store = store
        self._closed = False
        #: Keys only: a repeated event has no further meaning, and dict keeps the order.
        self._events: dict[WatchEvent, None] = dict.fromkeys(WatchEvent(path, path) for path in paths)

    def add(self, changed: str) -> None:
        """Keep the event of *changed* for the reader; one that ends with ``/`` removed all that was below it."""
        below = changed.endswith("/")
        path = changed.rstrip("/") or "/"
        for watched in self.paths:
            if is_within(path, watched) or (below and watched.startswith(changed)):
                if len(self._events) >= _EVENTS_MAX:
                    self._events = dict.fromkeys(WatchEvent(one, one) for one in self.paths)
                    return
                self._events[WatchEvent(path if is_within(path, watched) else watched, watched)] = None

    def next(self, deadline: Deadline, others: Sequence[Readable] = ()) -> list[WatchEvent]:
        while not self._events:
            if self._closed:
                raise LocalProtocolError("this watch is closed")
            if not self._store._receive(deadline, others):
                return []
        events = list(self._events)
        self._events = {}
        return events

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            with suppress(VMInterfaceError):
                self._store._unregister(self, ending(self._deadline, self._store.timeout))


def _watched_for(path: str) -> set[str]:
    """Return what the daemon has to watch so that every change of *path* or below it is seen.

    A directory that is removed gives one event, to those who watch it or a directory above it. The root is left
    out: it would bring every event there is, and nobody removes all keys in one go.
    """
    if path == "/":
        return {"/"}
    parents = {path[: at + 1] for at in range(1, len(path)) if path[at] == "/"}
    below = {f"{path}/"} if len(path) < PATH_MAX else set()
    return {path} | parents | below
