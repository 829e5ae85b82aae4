"""A simulated xenstored, and the key store that a process has of it.

Transactions conflict as those of the C xenstored do: a node is taken into one as it is at the first use, and at the end
each must be as it was. Permissions are enforced for writing. Sources: Xen's ``docs/misc/xenstore.txt`` and
``tools/xenstored``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any, TypeVar

from tests.simulation.daemons import Connection, Daemon
from tests.simulation.scheduler import TIMED_OUT, Process, World
from tests.simulation.trace import Trace
from vminterface import runtime
from vminterface.channel.store import (
    GetPermissions,
    HostStore,
    KeyStore,
    List,
    Operation,
    Read,
    Readable,
    Remove,
    SetPermissions,
    Watch,
    WatchEvent,
    Write,
)
from vminterface.deadline import Deadline
from vminterface.errors import (
    ConnectionLost,
    DeadlineExceeded,
    KeyNotFound,
    LocalProtocolError,
    PermissionDenied,
    QuotaExceeded,
    TransactionConflict,
    VMInterfaceError,
)
from vminterface.wire.xenstore_messages import is_path

T = TypeVar("T")
SOCKET = "/run/xenstored/socket"
#: Nodes that an unprivileged domain may own.
NODES_MAX = 30
#: Below its own path, where a VM may make any nodes.
OWN = "data"


# Not frozen, and copied without replace: there are many, and those take three times as long.
@dataclass(slots=True)
class Node:
    """One node, which never changes: *children* in their order; *generation* is another after each write."""

    value: bytes = b""
    permissions: tuple[str, ...] = ("n0",)
    children: tuple[str, ...] = ()
    generation: int = 0


@dataclass(slots=True)
class Transaction:
    """What one has taken from the store, and what it has made of it; None: no such node."""

    seen: dict[str, int | None] = field(default_factory=dict)
    nodes: dict[str, Node | None] = field(default_factory=dict)
    #: Paths that changed, in this order, for watches: whether the path was removed.
    changed: dict[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Registered:
    path: str
    absolute: str
    #: What all paths below it begin with, and it does itself with a slash at its end.
    below: str
    watch: _Watch
    connection: Connection


def _no_key(path: str) -> KeyNotFound:
    return KeyNotFound(f"{path}: no such key (ENOENT)")


class Xenstored(Daemon):
    """The daemon with all its nodes."""

    def __init__(self, world: World, trace: Trace) -> None:
        super().__init__(world, "xenstored", trace)
        self.nodes: dict[str, Node] = {"/": Node(children=("local",)), "/local": Node(children=("domain",))}
        self.nodes["/local/domain"] = Node()
        self.watches: list[_Registered] = []
        #: Share of watch events that come late, and of those that come twice; and how late.
        self.late, self.twice, self.lateness = 0.0, 0.0, 0.3
        self._generations = count(1)
        self._domids = count(1)

    # Domains, as the toolstack makes and ends them.

    def introduce(self, vm: str) -> int:
        """Make the domain of a VM."""
        domid = next(self._domids)
        home = f"/local/domain/{domid}"
        self.trace.homes[home] = vm
        self._put("toolstack", None, home, b"", ("n0", f"r{domid}"))
        self._put("toolstack", None, f"{home}/name", vm.encode(), ("n0", f"r{domid}"))
        self._put("toolstack", None, f"{home}/domid", b"%d" % domid, ("n0", f"r{domid}"))
        self._put("toolstack", None, f"{home}/{OWN}", b"", (f"n{domid}",))
        self._fire("@introduceDomain")
        return domid

    def release(self, domid: int) -> None:
        """End a domain: its nodes are gone."""
        self.remove("toolstack", None, f"/local/domain/{domid}")
        self.trace.gone.add(f"/local/domain/{domid}")
        self._fire("@releaseDomain")

    # One request each.

    def read(self, transaction: Transaction | None, path: str) -> bytes | KeyNotFound:
        """Return a value, or the error."""
        node = self._get(transaction, path)
        return _no_key(path) if node is None else node.value

    def names(self, transaction: Transaction | None, path: str) -> list[str]:
        """Return the names below."""
        return list(self._have(transaction, path).children)

    def permissions(self, transaction: Transaction | None, path: str) -> list[str]:
        """Return who owns and may use it."""
        return list(self._have(transaction, path).permissions)

    def write(self, who: str, transaction: Transaction | None, path: str, value: bytes, domid: int = 0) -> None:
        """Set a value, parents included."""
        node = self._get(transaction, path)
        if node is not None:
            self._may_write(node, path, domid)
            self._set(who, transaction, path, Node(value, node.permissions, node.children, node.generation), domid)
        else:
            self._put(who, transaction, path, value, None, domid)

    def remove(self, who: str, transaction: Transaction | None, path: str, domid: int = 0) -> None:
        """Remove a node and all below it."""
        self._may_write(self._have(transaction, path), path, domid)
        for name in self.names(transaction, path):
            self.remove(who, transaction, f"{path}/{name}", domid)
        parent, _, name = path.rpartition("/")
        above = self._have(transaction, parent or "/")
        self._set(who, transaction, path, None, domid)
        left = tuple(one for one in above.children if one != name)
        self._store(transaction, parent or "/", Node(above.value, above.permissions, left, above.generation))

    def set_permissions(self, who: str, transaction: Transaction | None, path: str, permissions: Iterable[str]) -> None:
        """Replace the permissions."""
        node = self._have(transaction, path)
        self._set(who, transaction, path, Node(node.value, tuple(permissions), node.children, node.generation), 0)

    def commit(self, who: str, transaction: Transaction) -> None:
        """Make its changes the store's. Raises TransactionConflict."""
        for path, generation in transaction.seen.items():
            now = self.nodes.get(path)
            if (None if now is None else now.generation) != generation:
                raise TransactionConflict("transaction: changed by others at the same time (EAGAIN)")
        old = {path: self.nodes.get(path) for path in transaction.changed}
        for path, node in transaction.nodes.items():
            if node is None:
                self.nodes.pop(path, None)
            elif node is not self.nodes.get(path):
                self._keep(path, node)
        self.trace.batch += 1
        for path, removed in transaction.changed.items():
            self._changed(who, path, old[path], self.nodes.get(path), removed)

    # What they are made of.

    def _get(self, transaction: Transaction | None, path: str) -> Node | None:
        if transaction is None:
            return self.nodes.get(path)
        if path not in transaction.nodes:
            node = self.nodes.get(path)
            transaction.nodes[path] = node
            transaction.seen[path] = None if node is None else node.generation
        return transaction.nodes[path]

    def _keep(self, path: str, node: Node) -> None:
        """Take *node*, of a generation of its own."""
        self.nodes[path] = Node(node.value, node.permissions, node.children, next(self._generations))

    def _have(self, transaction: Transaction | None, path: str) -> Node:
        node = self._get(transaction, path)
        if node is None:
            raise _no_key(path)
        return node

    def _put(
        self, who: str, transaction: Transaction | None, path: str, value: bytes, permissions: Any, domid: int = 0
    ) -> None:
        """Make a node, and those above it."""
        parent, _, name = path.rpartition("/")
        above = self._get(transaction, parent or "/")
        if above is None:
            self._put(who, transaction, parent, b"", permissions, domid)
            above = self._have(transaction, parent)
        self._may_write(above, path, domid)
        if domid:
            owner = f"n{domid}"
            if sum(node.permissions[0] == owner for node in self.nodes.values()) >= NODES_MAX:
                raise QuotaExceeded(f"{path}: quota exceeded (ENOSPC)")
        children = (*above.children, name)
        self._store(transaction, parent or "/", Node(above.value, above.permissions, children, above.generation))
        self._set(who, transaction, path, Node(value, permissions or above.permissions), domid)

    def _set(self, who: str, transaction: Transaction | None, path: str, node: Node | None, domid: int) -> None:
        if transaction is not None:
            transaction.nodes[path] = node
            transaction.changed[path] = node is None
            return
        old = self.nodes.get(path)
        if node is None:
            self.nodes.pop(path, None)
        else:
            self._keep(path, node)
        self.trace.batch += 1
        self._changed(who, path, old, node, node is None)

    def _store(self, transaction: Transaction | None, path: str, node: Node) -> None:
        """Take another list of children; that alone fires no watch."""
        if transaction is not None:
            transaction.nodes[path] = node
        else:
            self._keep(path, node)

    def _changed(self, who: str, path: str, old: Node | None, new: Node | None, removed: bool) -> None:
        before, after = (None if node is None else node.value for node in (old, new))
        self.trace.wrote(self.world.now, who, self.name, path, before, after)
        self._fire(path, removed=removed)

    def _fire(self, path: str, *, removed: bool = False) -> None:
        below = f"{path}/"
        for one in self.watches:
            if below.startswith(one.below) or (removed and one.below.startswith(below)):
                at = one.absolute
                seen = one.path + path[len(at) :] if path.startswith(at) else one.path
                self.send(one, WatchEvent(seen, one.path))

    def send(self, one: _Registered, event: WatchEvent) -> None:
        """Let a watch event come to its watch, perhaps late, perhaps twice."""
        random = self.process.random
        slow = random.random() * self.lateness if random.random() < self.late else 0.0
        for _ in range(2 if random.random() < self.twice else 1):
            one.connection.push(lambda: one.watch.add(event), slow)

    @staticmethod
    def _may_write(node: Node, path: str, domid: int) -> None:
        first, *others = node.permissions
        if domid and first[1:] != str(domid) and not {f"w{domid}", f"b{domid}"} & set(others):
            raise PermissionDenied(f"{path}: permission denied (EACCES)")


class SimulatedXenStore(HostStore):
    """A connection of *process* to the daemon; *domid* is not 0 in a VM."""

    channel = "xenstore"
    per_vm = False
    home = ""
    transactions = True
    parents = True
    nul_bytes = True

    def __init__(self, daemon: Xenstored, process: Process, timeout: float, domid: int = 0) -> None:
        self.timeout = timeout
        self.daemon = daemon
        self.process = process
        self.domid = domid
        self.connection = Connection(daemon, process, SOCKET)
        self.connection.at_end.append(self._forget)

    def _forget(self) -> None:
        self.daemon.watches = [one for one in self.daemon.watches if one.connection is not self.connection]

    def max_value(self, path: str) -> int:
        return 4095 - len(path)

    def allows(self, name: str) -> bool:
        return is_path(name)

    @property
    def closed(self) -> bool:
        return bool(self.connection.closed_because)

    def close(self) -> None:
        self.connection.close()

    def _path(self, path: str) -> str:
        return path if path.startswith(("/", "@")) else f"/local/domain/{self.domid}/{path}".rstrip("/")

    def deadline(self, timeout: float | None) -> Deadline:
        """Return by when a call is to have ended."""
        return Deadline.after(self.timeout if timeout is None else timeout)

    def batch(self, operations: Sequence[Operation], *, timeout: float | None = None) -> list[Any]:
        return self.do(operations, self.deadline(timeout), None)

    def do(self, operations: Sequence[Operation], deadline: Deadline, transaction: Transaction | None) -> list[Any]:
        """Do *operations* inside *transaction*, if any."""
        return self.connection.ask(operations, deadline, partial(self._serve, transaction)) if operations else []

    def _serve(self, transaction: Transaction | None, operation: Operation) -> Any:
        """Let the daemon do *operation*, and return its reply."""
        daemon, path, who, domid = self.daemon, self._path(operation.path), self.process.name, self.domid
        match operation:
            case Read():
                return daemon.read(transaction, path)
            case Write(value=value):
                return daemon.write(who, transaction, path, value, domid)
            case List():
                return daemon.names(transaction, path)
            case Remove():
                return daemon.remove(who, transaction, path, domid)
            case GetPermissions():
                return daemon.permissions(transaction, path)
            case SetPermissions(permissions=permissions):
                return daemon.set_permissions(who, transaction, path, permissions)

    def transaction(self, work: Callable[[KeyStore], T], *, attempts: int = 8, timeout: float | None = None) -> T:
        deadline = self.deadline(timeout)
        for attempt in range(attempts):
            if attempt:
                pause = min(0.001 * 2**attempt, 0.1) * (0.5 + self.process.random.random() / 2)
                runtime.sleep(min(pause, deadline.check("transaction")))
            transaction = Transaction()
            self.connection.ask([lambda: None], deadline)
            try:
                result = work(_View(self, transaction, deadline))
                ended = self.connection.ask([lambda: self.daemon.commit(self.process.name, transaction)], deadline)[0]  # noqa: B023
            except TransactionConflict:
                continue
            if isinstance(ended, TransactionConflict):
                continue
            if isinstance(ended, VMInterfaceError):
                raise ended
            return result
        raise TransactionConflict(f"transaction: others changed the same keys, {attempts} times in a row")

    def watch(self, paths: Iterable[str], *, timeout: float | None = None) -> Watch:
        watch = _Watch(self)
        self.connection.ask(list(paths), self.deadline(timeout), watch.register)
        return watch

    def registered(self, watch: _Watch, path: str) -> None:
        """Watch *path*, which gives one event at once."""
        absolute = self._path(path)
        one = _Registered(path, absolute, f"{absolute}/", watch, self.connection)
        self.daemon.watches.append(one)
        self.daemon.send(one, WatchEvent(path, path))

    def domains(self, *, timeout: float | None = None, unspoken: list[bytes] | None = None) -> dict[str, int]:
        deadline = self.deadline(timeout)
        domids = sorted(int(name) for name in self.do([List("/local/domain")], deadline, None)[0])
        names = self.do([Read(f"/local/domain/{domid}/name") for domid in domids], deadline, None)
        pairs = zip(domids, names, strict=True)
        return {name.decode("ascii"): domid for domid, name in pairs if isinstance(name, bytes) and domid}


class _View(SimulatedXenStore):
    """The store as a transaction sees it."""

    def __init__(self, store: SimulatedXenStore, transaction: Transaction, deadline: Deadline) -> None:
        self.timeout = deadline.seconds
        self.daemon, self.process, self.domid = store.daemon, store.process, store.domid
        self.connection = store.connection
        self._transaction, self._deadline = transaction, deadline

    def batch(self, operations: Sequence[Operation], *, timeout: float | None = None) -> list[Any]:
        return self.do(operations, self._deadline, self._transaction)

    def transaction(self, work: Callable[[KeyStore], T], *, attempts: int = 8, timeout: float | None = None) -> T:
        raise LocalProtocolError("XenStore does not support a transaction inside a transaction")

    def watch(self, paths: Iterable[str], *, timeout: float | None = None) -> Watch:
        raise LocalProtocolError("a transaction does not see changes by others (watch the store itself)")


class _Watch(Watch):
    """The events that have come and that nobody has taken yet."""

    def __init__(self, store: SimulatedXenStore) -> None:
        self._store = store
        #: By what makes them one.
        self._events: dict[tuple[str, str], WatchEvent] = {}
        self._waiting: Callable[[Any], None] | None = None
        store.connection.at_end.append(self._lost)

    def register(self, path: str) -> None:
        self._store.registered(self, path)

    def _lost(self) -> None:
        if self._waiting is not None:
            self._waiting(None)

    def add(self, event: WatchEvent) -> None:
        """Take an event that has come."""
        self._events[event.path, event.registered] = event
        if self._waiting is not None:
            self._waiting(None)

    def next(self, deadline: Deadline, others: Sequence[Readable] = ()) -> list[WatchEvent]:
        connection = self._store.connection
        while not self._events:
            if connection.closed_because:
                raise ConnectionLost(f"{SOCKET}: the connection is closed: {connection.closed_because}")
            deadline.check(SOCKET)
            self._waiting = connection.world.waker()
            woken = connection.world.wait(deadline.expires)
            self._waiting = None
            if woken is TIMED_OUT:
                raise DeadlineExceeded(f"{SOCKET}: no event in time")
        events = list(self._events.values())
        self._events.clear()
        return events

    def close(self) -> None:
        daemon = self._store.daemon
        daemon.watches = [one for one in daemon.watches if one.watch is not self]
