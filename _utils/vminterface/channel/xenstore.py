"""The XenStore as a key store: Xen's own store of keys, of dom0 and of every VM.

Paths, permissions and errors are those of Xen's ``docs/misc/xenstore.txt``. A path that does not start with ``/``
is relative to the own domain's home, ``/local/domain/<own id>/``.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import count, islice
from typing import Any, TypeVar

from vminterface.channel.store import END_SECONDS, KeyStore, List, Operation, Read, Watch, WatchEvent, ending
from vminterface.channel.xenstore_connection import XenStoreConnection
from vminterface.channel.xenstore_operations import (
    is_too_long,
    outcome_of,
    refusal,
    refusal_of_watch,
    requests_of,
    too_many_names,
)
from vminterface.channel.xenstore_transport import find_place
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
from vminterface.wire.xenstore_messages import LISTING_MAX, NAMES_MAX

T = TypeVar("T")

#: Seconds before the second attempt of a transaction; doubled (about) at each further one, up to the second number.
_PAUSE = (0.001, 0.1)
#: Events that one watch keeps for its reader before it falls back to "something below the watched path changed".
_EVENTS_MAX = 4096
#: How often the listing of a directory in parts may start again: a guest that changes its names all the time must not
#: hold up who reads the lists of many.
_RESTARTS_MAX = 100


class XenStore(KeyStore):
    """A connection to the XenStore; make it with :meth:`open`."""

    channel = "xenstore"
    has_transactions = True

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
        answer = self._connection.ask_at_once(Request(Op.READ, path), self.timeout if timeout is None else timeout)
        if isinstance(answer, ErrorReply):
            raise refusal(path, answer.error)
        return answer.value

    def read_many(self, paths: Sequence[str], *, timeout: float | None = None) -> list[bytes | None]:
        # The same for the most frequent batch.
        requests = [Request(Op.READ, path) for path in paths]
        values: list[bytes | None] = []
        for path, answer in zip(paths, self._connection.exchange(requests, self._deadline(timeout)), strict=True):
            if not isinstance(answer, ErrorReply):
                values.append(answer.value)
            elif answer.error == "ENOENT":
                values.append(None)
            else:
                raise refusal(path, answer.error)
        return values

    def _batch(self, operations: Sequence[Operation], deadline: Deadline, transaction: int) -> list[Any]:
        asked = [requests_of(operation, transaction) for operation in operations]
        came = iter(self._connection.exchange([request for group in asked for request in group], deadline))
        outcomes: list[Any] = []
        too_long: list[int] = []
        for operation, group in zip(operations, asked, strict=True):
            answers = tuple(islice(came, len(group)))
            if is_too_long(operation, answers):
                too_long.append(len(outcomes))
            outcomes.append(outcome_of(operation, answers))
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
                return StoreError(f"{path}: its names keep changing while they are listed")
            request = Request(Op.DIRECTORY_PART, path, arguments=(str(offset),), transaction=transaction)
            answer = self._connection.ask(request, deadline)
            if isinstance(answer, ErrorReply):
                if answer.error == "EINVAL" and offset:
                    generation, names, offset = "", [], 0  # fewer names than before: the offset is behind them
                    continue
                return refusal(path, answer.error)
            if offset and answer.strings[0] != generation:
                generation, names, offset = "", [], 0
                continue
            generation, *part = answer.strings
            ended = bool(part) and not part[-1]
            names += part[:-1] if ended else part
            offset += sum(len(name) + 1 for name in part if name)
            if ended:
                return names
            if len(names) > NAMES_MAX or offset > LISTING_MAX:
                return too_many_names(path)
            if not part:
                self._connection.close("endless listing")
                raise RemoteProtocolError(f"{path}: the store's listing of this directory has no end")

    def transaction(self, work: Callable[[KeyStore], T], *, attempts: int = 8, timeout: float | None = None) -> T:
        deadline = self._deadline(timeout)
        for attempt in range(attempts):
            if attempt:
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
        answer = self._connection.ask(request, deadline)
        return answer.error if isinstance(answer, ErrorReply) else ""

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
        for request, answer in zip(requests, self._connection.exchange(requests, deadline), strict=True):
            if isinstance(answer, ErrorReply):
                raise refusal_of_watch(request.path, answer.error)

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

    def _receive(self, deadline: Deadline) -> None:
        """Wait until something comes, and give watch events to their watches."""
        self._connection.receive(deadline)

    def domains(self, *, timeout: float | None = None) -> dict[str, int]:
        """Return the domid of each running VM by its name, dom0 left out.

        What has no name yet, or one that is not printable ASCII, is no VM to speak of. Of two with the same name,
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
            if isinstance(untrusted_name, bytes) and untrusted_name.isascii():
                name = untrusted_name.decode("ascii")
                if name and name.isprintable():
                    found[name] = domid
        return found

    def domain_path(self, domid: int, *, timeout: float | None = None) -> str:
        """Return the home of domain *domid*, ``/local/domain/<domid>``."""
        return self._about_domain(Op.GET_DOMAIN_PATH, domid, timeout)

    def is_introduced(self, domid: int, *, timeout: float | None = None) -> bool:
        """Say whether the store serves domain *domid*: from its start to its end."""
        return self._about_domain(Op.IS_DOMAIN_INTRODUCED, domid, timeout) == "T"

    def _about_domain(self, op: Op, domid: int, timeout: float | None) -> str:
        return self._word(Request(op, arguments=(str(domid),)), f"domain {domid}", self._deadline(timeout))

    def _word(self, request: Request, about: str, deadline: Deadline) -> str:
        answer = self._connection.ask(request, deadline)
        if isinstance(answer, ErrorReply):
            raise refusal(about, answer.error)
        return answer.strings[0]


class _Transaction(KeyStore):
    """The store as one transaction sees it, while its work runs."""

    channel = "xenstore"
    has_transactions = True

    def __init__(self, store: XenStore, number: str, deadline: Deadline) -> None:
        self.timeout = deadline.seconds
        self._store = store
        self._number = int(number)
        self._deadline = deadline
        self._ended = False

    def batch(self, operations: Sequence[Operation], *, timeout: float | None = None) -> list[Any]:
        if self._ended:
            raise LocalProtocolError("this transaction has ended: use the store itself")
        deadline = self._deadline if timeout is None else Deadline.after(min(timeout, self._deadline.remaining))
        return self._store._batch(operations, deadline, self._number)

    def transaction(self, work: Callable[[KeyStore], T], *, attempts: int = 8, timeout: float | None = None) -> T:
        raise LocalProtocolError("the XenStore has no transaction inside a transaction")

    def watch(self, paths: Iterable[str], *, timeout: float | None = None) -> Watch:
        raise LocalProtocolError("a transaction sees no changes of others: watch the store itself")

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
        #: Keys only: the same event twice tells no more than once, and dict keeps the order.
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

    def next(self, deadline: Deadline) -> list[WatchEvent]:
        while not self._events:
            if self._closed:
                raise LocalProtocolError("this watch was closed")
            self._store._receive(deadline)
        events = list(self._events)
        self._events.clear()
        return events

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            with suppress(VMInterfaceError):
                self._store._unregister(self, ending(self._deadline, self._store.timeout))
