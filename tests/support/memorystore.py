"""A VM's QubesDB in a test's memory: what code does with keys, without a daemon and without waiting.

The lab's daemons speak the protocols; this store does each operation at once, and its watch lets virtual time pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tests.support.virtualtime import Clock
from vminterface.channel.store import (
    TREE_LIMIT,
    KeyStore,
    List,
    Operation,
    Read,
    Readable,
    Remove,
    VMStore,
    Watch,
    WatchEvent,
    Write,
)
from vminterface.deadline import Deadline
from vminterface.dom0.inventory.targets import Target
from vminterface.errors import DeadlineExceeded, KeyNotFound, VMInterfaceError


class MemoryStore(VMStore):
    """The store with *keys*. What ``fails`` has by path is raised by an operation on it.

    ``done`` has the writes and removals in turn; ``then`` is called after each batch with changes, as another program
    would write.
    """

    channel, timeout, home = "qubesdb", 1.0, "/"
    transactions = parents = False
    nul_bytes, closed = True, False

    def __init__(
        self, keys: dict[str, bytes] | None = None, *, per_vm: bool = True, clock: Clock | None = None
    ) -> None:
        self.keys = dict(keys or {})
        self.per_vm = per_vm
        self.clock = clock
        self.done: list[Write | Remove] = []
        self.fails: dict[str, VMInterfaceError] = {}
        self.then: Callable[[], None] = lambda: None
        #: What is called at each wait of a watch.
        self.meanwhile: list[Callable[[], None]] = []
        self.watched: list[str] = []
        self.waits: list[float] = []

    def max_value(self, path: str) -> int:
        return 3072

    def allows(self, name: str) -> bool:
        return bool(name)

    def batch(self, operations: Sequence[Operation], *, timeout: float | None = None) -> list[Any]:
        outcomes = [self._outcome(one) for one in operations]
        if any(isinstance(one, Write | Remove) for one in operations):
            self.then()
        return outcomes

    def _outcome(self, one: Operation) -> Any:
        path = one.path
        if path in self.fails:
            return self.fails[path]
        if isinstance(one, Read):
            return self.keys.get(path, KeyNotFound(path))
        top = f"{path.rstrip('/')}/"
        below = [key for key in self.keys if key.startswith(top)]
        if isinstance(one, List):
            return sorted({key[len(top) :].partition("/")[0] for key in below}) or KeyNotFound(path)
        assert isinstance(one, Write | Remove)
        self.done.append(one)
        if isinstance(one, Write):
            self.keys[path] = one.value
            return None
        gone = [*below, *([path] if path in self.keys else [])]
        for key in gone:
            del self.keys[key]
        return None if gone else KeyNotFound(path)

    def tree(
        self,
        path: str,
        *,
        limit: int = TREE_LIMIT,
        timeout: float | None = None,
        keep: Callable[[str], bool] | None = None,
    ) -> dict[str, bytes]:
        if path in self.fails:
            raise self.fails[path]
        top = f"{path.rstrip('/')}/"
        found = {key: value for key, value in self.keys.items() if key == path or key.startswith(top)}
        if not found:
            raise KeyNotFound(path)
        return {key: value for key, value in found.items() if keep is None or keep(key)}

    def transaction(self, work: Callable[[KeyStore], Any], *, attempts: int = 8, timeout: float | None = None) -> Any:
        return work(self)

    def watch(self, paths: Iterable[str], *, timeout: float | None = None) -> Watch:
        paths = [*paths]
        self.watched += paths
        return _Watch(self, paths)

    def close(self) -> None:
        """Nothing to end."""

    def target(self, vm: str) -> Target:
        """Return *vm* as one that runs and has this store."""
        return Target(vm, None, self, "/")


class _Watch(Watch):
    """Lets time pass, and then what is to happen meanwhile; it has an event for that under each of *paths*."""

    def __init__(self, store: MemoryStore, paths: list[str]) -> None:
        self._store = store
        self._paths = paths

    def next(self, deadline: Deadline, others: Sequence[Readable] = ()) -> list[WatchEvent]:
        store = self._store
        store.waits.append(round(deadline.remaining, 6))
        if store.meanwhile:
            store.meanwhile.pop(0)()
            return [WatchEvent(path, path) for path in self._paths]
        assert store.clock is not None
        store.clock.sleep(deadline.remaining)
        raise DeadlineExceeded("no event")

    def close(self) -> None:
        """Nothing to end."""
