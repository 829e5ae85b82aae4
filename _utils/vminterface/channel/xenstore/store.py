"""The XenStore as a key store: Xen's own store of keys, of dom0 and of every VM.

Paths, permissions and errors are those of Xen's ``docs/misc/xenstore.txt``. A path that does not start with ``/``
is relative to the own domain's home, ``/local/domain/<own id>/``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import count, islice
from typing import Any, TypeVar

from vminterface.channel.store import (
    END_SECONDS,
    HostStore,
    KeyStore,
    List,
    Operation,
    Read,
    Readable,
    Watch,
    WatchEvent,
    ending,
)
from vminterface.channel.xenstore.connection import XenStoreConnection
from vminterface.channel.xenstore.operations import (
    is_too_long,
    outcome_of,
    refusal,
    refusal_of_watch,
    requests_of,
    too_many_names,
)
from vminterface.channel.xenstore.transport import find_place
from vminterface.deadline import Deadline
from vminterface.errors import (
    KeyNotFound,
    LocalProtocolError,
    RemoteProtocolError,
    StoreError,
    TransactionConflict,
    VMInterfaceError,
)
from vminterface.wire import xenstore as wire
from vminterface.wire.xenstore import ErrorReply, Op, Request
from vminterface.wire.xenstore_messages import LISTING_MAX, NAMES_MAX, PAYLOAD_MAX, is_path

T = TypeVar("T")

#: Seconds before the second attempt of a transaction; doubled (about) at each further one, up to the second number.
_PAUSE = (0.001, 0.1)
#: Events that one watch keeps for its reader before it falls back to "something below the watched path changed".
_EVENTS_MAX = 4096
#: How often the listing of a directory in parts may start again: a guest that changes its names all the time must not
#: hold up who reads the lists of many.
_RESTARTS_MAX = 100


class _Rules(KeyStore):
    """What holds of the XenStore, inside a transaction and outside."""

    channel = "xenstore"
    per_vm = False
    home = ""
    transactions = True
    parents = True
    nul_bytes = True

    def max_value(self, path: str) -> int:
        # A message has both, with a NUL byte between.
        return PAYLOAD_MAX - 1 - len(path)

    def allows(self, name: str) -> bool:
        return is_path(name)


class XenStore(_Rules, HostStore):
    """A connection to the XenStore; make it with :meth:`open`."""

    def __init__(self, path: str, timeout: float, window: int | None) -> None:
        self.timeout = timeout
        self._connection = XenStoreConnection(path, self._on_event, timeout, window)
        self._watches: dict[str, _XenStoreWatch] = {}
        self._tokens = count(1)

    @classmethod
    def open(cls, path: str | None = None, timeout: float = 5.0, *, window: int | None = None) -> XenStore:
        """Connect to the daemon's socket or to the kernel's device at *path*.

        Default: ``XENSTORED_PATH``, then the usual sockets, then the usual device files. *window*: requests in
        flight at most on a socket, default many; on a device there is one. Raises ConnectionLost.
        """
        return cls(path or find_place(), timeout, window)

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def _deadline(self, timeout: float | None) -> Deadline:
        return Deadline.after(self.timeout if timeout is None else timeout)

    def batch(self, operations: Sequence[Operation], *, timeout: float | None = None) -> list[Any]:
        return self._batch(operations, self._deadline(timeout), 0)

    def read(self, path: str, *, timeout: float | None = None) -> bytes:
        # The most frequent call by far goes past the lists of a batch.
        reply = self._connection.ask_at_once(Request(Op.READ, path), self.timeout if timeout is None else timeout)
        if isinstance(reply, ErrorReply):
            raise refusal(path, reply.error)
        return reply.value

    def read_many(self, paths: Sequence[str], *, timeout: float | None = None) -> list[bytes | None]:
        # The same for the most frequent batch.
        requests = [Request(Op.READ, path) for path in paths]
        values: list[bytes | None] = []
        for path, reply in zip(paths, self._connection.exchange(requests, self._deadline(timeout)), strict=True):
            if not isinstance(reply, ErrorReply):
                values.append(reply.value)
            elif reply.error == "ENOENT":
                values.append(None)
            else:
                raise refusal(path, reply.error)
        return values

    def _batch(self, operations: Sequence[Operation], deadline: Deadline, transaction: int) -> list[Any]:
        asked = [requests_of(operation, transaction) for operation in operations]
        came = iter(self._connection.exchange([request for group in asked for request in group], deadline))
        outcomes: list[Any] = []
        too_long: list[int] = []
        for operation, group in zip(operations, asked, strict=True):
            replies = tuple(islice(came, len(group)))
            if is_too_long(operation, replies):
                too_long.append(len(outcomes))
            outcomes.append(outcome_of(operation, replies))
        for at in too_long:
            outcomes[at] = self._list_in_parts(operations[at].path, deadline, transaction)
        return outcomes

    def _list_in_parts(self, path: str, deadline: Deadline, transaction: int) -> list[str] | VMInterfaceError:
        """Return the names below *path*, part by part; from the start again whenever they changed meanwhile."""
        generation, offset, starts = "", 0, 0
        names: list[str] = []
        while True:
            starts += not offset
            if starts > _RESTARTS_MAX:
                return StoreError(f"{path}: its names change faster than they can be listed")
            request = Request(Op.DIRECTORY_PART, path, arguments=(str(offset),), transaction=transaction)
            reply = self._connection.ask(request, deadline)
            if isinstance(reply, ErrorReply):
                if reply.error == "EINVAL" and offset:
                    generation, names, offset = "", [], 0  # fewer names than before: the offset is behind them
                    continue
                return refusal(path, reply.error)
            if offset and reply.strings[0] != generation:
                generation, names, offset = "", [], 0
                continue
            generation, *part = reply.strings
            ended = bool(part) and not part[-1]
            names += part[:-1] if ended else part
            offset += sum(len(name) + 1 for name in part if name)
            if ended:
                return names
            if len(names) > NAMES_MAX or offset > LISTING_MAX:
                return too_many_names(path)
            if not part:
                self._connection.close("endless listing")
                raise RemoteProtocolError(f"{path}: the store's listing of this directory does not end")

    def transaction(self, work: Callable[[KeyStore], T], *, attempts: int = 8, timeout: float | None = None) -> T:
        deadline = self._deadline(timeout)
        for attempt in range(attempts):
            if attempt:
                import random  # here, as a conflict is rare

                pause = min(_PAUSE[0] * 2**attempt, _PAUSE[1]) * random.uniform(0.5, 1.0)
                time.sleep(min(pause, deadline.check("transaction")))
            view = _Transaction(self, self._word(Request(Op.TRANSACTION_START), "transaction", deadline), deadline)
            try:
                result = work(view)
            except TransactionConflict:
                view.abort()
                continue
            except BaseException:
                view.abort()
                raise
            if view.commit():
                return result
        raise TransactionConflict(f"transaction: others changed the same keys, {attempts} times in a row")

    def _end(self, transaction: int, how: str, deadline: Deadline) -> str:
        """End *transaction*, *how* being T or F; return the errno name of a refusal, else ""."""
        request = Request(Op.TRANSACTION_END, arguments=(how,), transaction=transaction)
        reply = self._connection.ask(request, deadline)
        return reply.error if isinstance(reply, ErrorReply) else ""

    def watch(self, paths: Iterable[str], *, timeout: float | None = None) -> Watch:
        deadline = None if timeout is None else Deadline.after(timeout)
        watch = _XenStoreWatch(self, {f"{next(self._tokens):x}": path for path in paths}, deadline)
        # Known before they are asked for: the first event may come before the answer.
        self._watches.update(dict.fromkeys(watch.tokens, watch))
        try:
            self._register(watch, deadline or self._deadline(None))
        except BaseException:
            watch.close()
            raise
        return watch

    def _register(self, watch: _XenStoreWatch, deadline: Deadline) -> None:
        requests = [Request(Op.WATCH, path, arguments=(token,)) for token, path in watch.tokens.items()]
        for request, reply in zip(requests, self._connection.exchange(requests, deadline), strict=True):
            if isinstance(reply, ErrorReply):
                raise refusal_of_watch(request.path, reply.error)

    def _unregister(self, watch: _XenStoreWatch, deadline: Deadline) -> None:
        requests = [Request(Op.UNWATCH, path, arguments=(token,)) for token, path in watch.tokens.items()]
        try:
            self._connection.exchange(requests, deadline)
        finally:
            for token in watch.tokens:
                self._watches.pop(token, None)

    def _on_event(self, event: wire.WatchEvent) -> None:
        # One may still come after its watch was closed: then nobody wants it.
        watch = self._watches.get(event.token)
        if watch is not None:
            watch.add(event)

    def _receive(self, deadline: Deadline, others: Sequence[Readable]) -> bool:
        """Wait until something comes, and give watch events to their watches; False: one of *others* is readable."""
        return self._connection.receive(deadline, others)

    def domains(self, *, timeout: float | None = None, unspoken: list[bytes] | None = None) -> dict[str, int]:
        """Return the domid of each running VM by its name, dom0 left out.

        A domain without a name, or with one that is not printable ASCII, is not counted as a VM; *unspoken*
        gets such names. Of two with the same name,
        as while a VM starts again, the younger one counts.
        """
        deadline = self._deadline(timeout)
        listed = self._batch([List("/local/domain")], deadline, 0)[0]
        if isinstance(listed, KeyNotFound):
            return {}
        if isinstance(listed, VMInterfaceError):
            raise listed
        domids = sorted(int(name) for name in listed if name.isdecimal() and name != "0")
        names = self._batch([Read(f"/local/domain/{domid}/name") for domid in domids], deadline, 0)
        found: dict[str, int] = {}
        for domid, untrusted_name in zip(domids, names, strict=True):
            if not isinstance(untrusted_name, bytes):
                continue
            name = untrusted_name.decode("latin-1")
            if name and name.isascii() and name.isprintable():
                found[name] = domid
            elif unspoken is not None:
                unspoken.append(untrusted_name)
        return found

    def is_introduced(self, domid: int, *, timeout: float | None = None) -> bool:
        """Return whether the store serves domain *domid*: from its start to its end."""
        request = Request(Op.IS_DOMAIN_INTRODUCED, arguments=(str(domid),))
        return self._word(request, f"domain {domid}", self._deadline(timeout)) == "T"

    def _word(self, request: Request, about: str, deadline: Deadline) -> str:
        reply = self._connection.ask(request, deadline)
        if isinstance(reply, ErrorReply):
            raise refusal(about, reply.error)
        return reply.strings[0]


class _Transaction(_Rules):
    """The store as one transaction sees it, while its work runs."""

    def __init__(self, store: XenStore, number: str, deadline: Deadline) -> None:
        self.timeout = deadline.seconds
        self._store = store
        self._number = int(number)
        self._deadline = deadline
        self._ended = False

    def batch(self, operations: Sequence[Operation], *, timeout: float | None = None) -> list[Any]:
        if self._ended:
            raise LocalProtocolError("this transaction has ended (use the store itself)")
        deadline = self._deadline if timeout is None else Deadline.after(min(timeout, self._deadline.remaining))
        return self._store._batch(operations, deadline, self._number)

    def transaction(self, work: Callable[[KeyStore], T], *, attempts: int = 8, timeout: float | None = None) -> T:
        raise LocalProtocolError("XenStore does not support a transaction inside a transaction")

    def watch(self, paths: Iterable[str], *, timeout: float | None = None) -> Watch:
        raise LocalProtocolError("a transaction does not see changes by others (watch the store itself)")

    def close(self) -> None:
        """Nothing to close: the transaction ends with its work, the connection is the store's."""

    def commit(self) -> bool:
        """Make the changes visible; False if others changed what was used."""
        self._ended = True
        error = self._store._end(self._number, "T", self._deadline)
        if error and error != "EAGAIN":
            raise refusal("transaction", error)
        return not error

    def abort(self) -> None:
        """Give the changes up. A lost connection has done that already."""
        self._ended = True
        with suppress(VMInterfaceError):
            self._store._end(self._number, "F", Deadline.after(max(self._deadline.remaining, END_SECONDS)))


class _XenStoreWatch(Watch):
    """Paths by their tokens, and the events that nobody has taken yet."""

    def __init__(self, store: XenStore, tokens: dict[str, str], deadline: Deadline | None) -> None:
        self.tokens = tokens
        self._deadline = deadline
        self._store = store
        self._closed = False
        #: Keys only: a repeated event has no further meaning, and dict keeps the order.
        self._events: dict[WatchEvent, None] = {}

    def add(self, event: wire.WatchEvent) -> None:
        """Keep *event* for the reader."""
        registered = self.tokens[event.token]
        path = event.path
        if len(self._events) >= _EVENTS_MAX:
            self._events.clear()
            self._events.update({WatchEvent(watched, watched): None for watched in self.tokens.values()})
            path = registered
        self._events[WatchEvent(path, registered)] = None

    def next(self, deadline: Deadline, others: Sequence[Readable] = ()) -> list[WatchEvent]:
        while not self._events:
            if self._closed:
                raise LocalProtocolError("this watch is closed")
            if not self._store._receive(deadline, others):
                return []
        events = list(self._events)
        self._events.clear()
        return events

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            with suppress(VMInterfaceError):
                self._store._unregister(self, ending(self._deadline, self._store.timeout))
