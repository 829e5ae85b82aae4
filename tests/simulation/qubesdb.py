"""A simulated pair of QubesDB daemons, dom0's and the VM's: each side sees later what the other has been given.

Sources: qubes-core-qubesdb as seen when run. Dom0's daemon starts empty after an end of its own and gets from the VM's
only what is written from then on; the VM's starts with all that dom0's has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from tests.simulation.daemons import Connection, Daemon
from tests.simulation.scheduler import APART, TIMED_OUT, Process, World
from tests.simulation.trace import Trace
from vminterface.channel.qubesdb.sockets import Sockets
from vminterface.channel.store import (
    TREE_LIMIT,
    GetPermissions,
    KeyStore,
    List,
    Operation,
    Read,
    Readable,
    Remove,
    SetPermissions,
    VMStore,
    Watch,
    WatchEvent,
    Write,
)
from vminterface.deadline import Deadline
from vminterface.errors import ConnectionLost, DeadlineExceeded, KeyNotFound, StoreError, VMInterfaceError

T = TypeVar("T")


class Side(Daemon):
    """One daemon of a pair, with its keys; what is written to dom0's is noted."""

    def __init__(self, world: World, name: str, trace: Trace, vm: str, *, noted: bool) -> None:
        super().__init__(world, name, trace)
        self.vm, self._noted = vm, noted
        self.keys: dict[str, bytes] = {}
        self.watches: list[_Watch] = []
        self.other: Side | None = None
        #: When the last message from the other side arrives.
        self._arrival = 0.0
        #: Share of watch events that come late, and how late; the same for what the other side sends.
        self.late, self.twice, self.lateness = 0.0, 0.0, 0.3

    def list(self, path: str) -> list[str] | KeyNotFound:
        """Return the names below, or the error."""
        top = path if path.endswith("/") else f"{path}/"
        names = {key[len(top) :].partition("/")[0] for key in self.keys if key.startswith(top)}
        if not names and path != "/" and path not in self.keys:
            return KeyNotFound(f"{path}: no such key")
        return sorted(names)

    def read(self, path: str) -> bytes | KeyNotFound:
        """Return a value, or the error."""
        value = self.keys.get(path)
        return KeyNotFound(f"{path}: no such key") if value is None else value

    def write(self, who: str, path: str, value: bytes) -> None:
        """Set a value."""
        self._set(who, path, value)
        self._send(who, path, value)

    def remove(self, who: str, path: str) -> None:
        """Remove a key and all below it; a path that ends with a slash: what is below it alone."""
        top = path if path.endswith("/") else f"{path}/"
        gone = [key for key in self.keys if key == path or key.startswith(top)]
        if not gone:
            raise KeyNotFound(f"{path}: no such key")
        for key in gone:
            self._set(who, key, None)
            self._send(who, key, None)

    def tree(self, path: str) -> dict[str, bytes]:
        """Return the values at and below a path."""
        top = path if path.endswith("/") else f"{path}/"
        found = {key: value for key, value in self.keys.items() if key == path or key.startswith(top)}
        if not found and path != "/":
            raise KeyNotFound(f"{path}: no such key")
        return found

    def _set(self, who: str, path: str, value: bytes | None) -> None:
        old = self.keys.get(path)
        if value is None:
            self.keys.pop(path, None)
        else:
            self.keys[path] = value
        if self._noted:
            self.trace.batch += 1
            self.trace.wrote(self.world.now, who, self.vm, path, old, value)
        random = self.process.random
        for one in self.watches:
            if (event := one.event(path)) is not None:
                slow = random.random() * self.lateness if random.random() < self.late else 0.0
                for _ in range(2 if random.random() < self.twice else 1):
                    one.connection.push(lambda one=one, event=event: one.add(event), slow)  # type: ignore[misc]

    def _send(self, who: str, path: str, value: bytes | None) -> None:
        """Pass a change on to the other side, in order."""
        other = self.other
        if other is None or not other.up:
            return
        epochs, random = (self.epoch, other.epoch), self.process.random
        slow = random.random() * self.lateness if random.random() < self.late else 0.0
        other._arrival = max(other._arrival + APART, self.world.now + self.process.delay() + slow)

        def take() -> None:
            # What is between the two when one of them ends is lost.
            if (self.epoch, other.epoch) == epochs:
                other._set(who, path, value)

        self.world.at(other._arrival, lambda: other.serve(take), random)


class Pair:
    """The two daemons of one start of a VM."""

    def __init__(self, world: World, trace: Trace, vm: str, number: int) -> None:
        self.world, self.vm, self.number = world, vm, number
        self.dom0 = Side(world, f"QubesDB of {vm} in dom0", trace, vm, noted=True)
        self.inside = Side(world, f"QubesDB in {vm}", trace, vm, noted=False)
        self.dom0.other, self.inside.other = self.inside, self.dom0

    def restart_dom0(self) -> None:
        """Let dom0's daemon start anew: it is empty, and its clients are gone."""
        self.end_dom0()
        self.number += 1000
        self.dom0.start()

    def end_dom0(self) -> None:
        """End dom0's daemon, and with it what it holds."""
        if self.dom0.up:
            self.dom0.die()
        for path in list(self.dom0.keys):
            self.dom0._set("restart", path, None)
        self.dom0.watches.clear()

    def restart_inside(self) -> None:
        """Let the VM's daemon start anew: it gets all that dom0's has."""
        if self.inside.up:
            self.inside.die()
        self.inside.watches.clear()
        self.inside.keys.clear()
        self.inside.start()
        if self.dom0.up:
            self.inside.keys.update(self.dom0.keys)

    def end(self) -> None:
        """End with the VM."""
        for side in (self.dom0, self.inside):
            if side.up:
                side.die()


class SimulatedSockets(Sockets):
    """The sockets of a host's QubesDBs, as *process* sees them; not *in_use* is a host without any."""

    def __init__(self, process: Process, pairs: dict[str, Pair], *, in_use: bool) -> None:
        self._process, self._pairs, self._in_use = process, pairs, in_use

    def in_use(self) -> bool:
        return self._in_use

    def vms(self) -> list[str]:
        return sorted(self._pairs)

    def find(self, vm: str) -> str | None:
        return f"/run/qubes/qubesdb.{vm}.sock" if vm in self._pairs else None

    def mark(self, path: str) -> tuple[int, ...]:
        return (self._pairs[path.split(".")[1]].number,)

    def open(self, path: str, timeout: float) -> VMStore:
        return SimulatedQubesDB(self._pairs[path.split(".")[1]].dom0, self._process, path, timeout)


class SimulatedQubesDB(VMStore):
    """A connection of *process* to one side of a pair."""

    channel = "qubesdb"
    per_vm = True
    home = "/"
    transactions = False
    parents = False
    nul_bytes = False

    def __init__(self, side: Side, process: Process, path: str, timeout: float) -> None:
        self.timeout = timeout
        self.side, self.process = side, process
        self.connection = Connection(side, process, path)

    def max_value(self, path: str) -> int:
        return 3072

    def allows(self, name: str) -> bool:
        return len(name) < 64

    @property
    def closed(self) -> bool:
        return bool(self.connection.closed_because)

    def close(self) -> None:
        self.connection.close()

    def _deadline(self, timeout: float | None) -> Deadline:
        return Deadline.after(self.timeout if timeout is None else timeout)

    def batch(self, operations: Sequence[Operation], *, timeout: float | None = None) -> list[Any]:
        if not operations:
            return []
        return self.connection.ask(operations, self._deadline(timeout), self._serve)

    def _serve(self, operation: Operation) -> Any:
        """Let the daemon do *operation*, and return its reply."""
        side, path, who = self.side, operation.path, self.process.name
        match operation:
            case Read():
                return side.read(path)
            case Write(value=value):
                return side.write(who, path, value)
            case List():
                return side.list(path)
            case Remove():
                return side.remove(who, path)
            case GetPermissions() | SetPermissions():
                return StoreError(f"{path}: QubesDB has no permissions")

    def tree(
        self,
        path: str,
        *,
        limit: int = TREE_LIMIT,
        timeout: float | None = None,
        keep: Callable[[str], bool] | None = None,
    ) -> dict[str, bytes]:
        (found,) = self.connection.ask([lambda: self.side.tree(path)], self._deadline(timeout))
        if isinstance(found, VMInterfaceError):
            raise found
        return {key: value for key, value in found.items() if keep is None or keep(key)}

    def transaction(self, work: Callable[[KeyStore], T], *, attempts: int = 8, timeout: float | None = None) -> T:
        return work(self)

    def watch(self, paths: Iterable[str], *, timeout: float | None = None) -> Watch:
        watch = _Watch(self, tuple(paths))
        self.connection.ask([lambda: self.side.watches.append(watch)], self._deadline(timeout))
        return watch


# The same programs watch the same paths in all runs.
@cache
def _watched(paths: tuple[str, ...], changed: str) -> str | None:
    """Return the first of *paths* that *changed* is, or is below."""
    return next((path for path in paths if path in ("/", changed) or changed.startswith(f"{path}/")), None)


@dataclass(eq=False)
class _Watch(Watch):
    """Some paths, and the events that nobody has taken yet."""

    store: SimulatedQubesDB
    paths: tuple[str, ...]

    def __post_init__(self) -> None:
        self.connection = self.store.connection
        #: By what makes them one.
        self._events = {(path, path): WatchEvent(path, path) for path in self.paths}
        self._waiting: Callable[[Any], None] | None = None
        self.connection.at_end.append(self.close)

    def event(self, changed: str) -> WatchEvent | None:
        """Return the event of a change of that path; None: it is not watched."""
        path = _watched(self.paths, changed)
        return None if path is None else WatchEvent(changed, path)

    def add(self, event: WatchEvent) -> None:
        """Take an event that has come."""
        self._events[event.path, event.registered] = event
        if self._waiting is not None:
            self._waiting(None)

    def next(self, deadline: Deadline, others: Sequence[Readable] = ()) -> list[WatchEvent]:
        connection = self.connection
        while not self._events:
            if connection.closed_because:
                raise ConnectionLost(f"{connection.path}: the connection is closed: {connection.closed_because}")
            deadline.check(connection.path)
            self._waiting = connection.world.waker()
            woken = connection.world.wait(deadline.expires)
            self._waiting = None
            if woken is TIMED_OUT:
                raise DeadlineExceeded(f"{connection.path}: no event in time")
        events = list(self._events.values())
        self._events.clear()
        return events

    def close(self) -> None:
        if self in self.store.side.watches:
            self.store.side.watches.remove(self)
        if self._waiting is not None:
            self._waiting(None)
