"""Daemons that misbehave: every call ends within its deadline, in the right error, and never takes a late answer."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from lab.xenstored.fakexen import RealXenstored
from tests.support.interrupts import interrupted
from tests.support.stopwatch import Stopwatch
from tests.support.stores import dom0, guest, guest_home, xenstored
from vminterface.channel.store import END_SECONDS, Read, Write
from vminterface.channel.xenstore.store import XenStore
from vminterface.deadline import Deadline
from vminterface.errors import (
    ConnectionLost,
    DeadlineExceeded,
    KeyNotFound,
    QuotaExceeded,
    RemoteProtocolError,
    StoreError,
    VMInterfaceError,
)
from vminterface.wire.xenstore import (
    HEADER,
    NEED_DATA,
    SERVER,
    Connection,
    ConnectionClosed,
    ErrorReply,
    Op,
    Reply,
    Request,
)

__all__ = ["dom0", "guest", "guest_home", "xenstored"]

#: Seconds that the stores of these tests may wait, and what a shared machine may add.
TIMEOUT = 0.3
SLACK = 1.0

ANSWERS: dict[Op, dict[str, Any]] = {Op.READ: {"value": b"true"}, Op.TRANSACTION_START: {"strings": ("5",)}}


def good(request: Request) -> bytes:
    return Connection(SERVER).send(
        Reply(request.request_id, request.op, transaction=request.transaction, **ANSWERS.get(request.op, {}))
    )


class FaultyDaemon(threading.Thread):
    """Answers well, until *op* is asked for: then plays *fault*, which gets the stream and the request."""

    def __init__(self, path: str, op: Op, fault: Callable[[socket.socket, Request], None]) -> None:
        super().__init__(daemon=True)
        self._op = op
        self._error = fault
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen()
        self.start()

    def run(self) -> None:
        stream, _ = self._listener.accept()
        with stream, suppress(OSError):
            connection = Connection(SERVER)
            while True:
                while (event := connection.next_event()) is NEED_DATA:
                    connection.receive_data(stream.recv(65536))
                if isinstance(event, ConnectionClosed):
                    return
                assert isinstance(event, Request)
                if event.op is self._op:
                    self._error(stream, event)
                else:
                    stream.sendall(good(event))

    def stop(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.join(5)
        assert not self.is_alive()


def send(make: Callable[[Request], bytes], *, then_close: bool = False) -> Callable[[socket.socket, Request], None]:
    def play(stream: socket.socket, request: Request) -> None:
        stream.sendall(make(request))
        if then_close:
            stream.shutdown(socket.SHUT_RDWR)

    return play


def begin_and_stop(stream: socket.socket, request: Request) -> None:
    stream.sendall(good(request)[:-1])
    while stream.recv(65536):
        pass


def late(stream: socket.socket, request: Request) -> None:
    time.sleep(TIMEOUT + 0.1)
    stream.sendall(good(request))


def drop_by_drop(stream: socket.socket, request: Request) -> None:
    for byte in good(request):
        time.sleep(TIMEOUT / 5)
        stream.sendall(bytes([byte]))


def flood(stream: socket.socket, request: Request) -> None:
    event = HEADER.pack(Op.WATCH_EVENT, 0, 0, 4) + b"/\0t\0"
    while True:
        stream.sendall(event * 1000)


def message(kind: int, request_id: int, payload: bytes) -> bytes:
    return HEADER.pack(kind, request_id, 0, len(payload)) + payload


FAULTS: dict[str, tuple[Callable[[socket.socket, Request], None], type[VMInterfaceError]]] = {
    "closes after the request": (send(lambda r: b"", then_close=True), ConnectionLost),
    "reply cut short": (send(lambda r: good(r)[:-1], then_close=True), RemoteProtocolError),
    "reply cut short, nothing more": (begin_and_stop, DeadlineExceeded),
    "end of stream in a header": (send(lambda r: good(r)[:7], then_close=True), RemoteProtocolError),
    "length over 4096": (send(lambda r: HEADER.pack(r.op, r.request_id, 0, 4097)), RemoteProtocolError),
    "wrong request id": (send(lambda r: message(r.op, r.request_id + 1, b"OK\0")), RemoteProtocolError),
    "unknown operation": (send(lambda r: message(77, r.request_id, b"OK\0")), RemoteProtocolError),
    "silent": (send(lambda r: b""), DeadlineExceeded),
    "malformed watch event": (send(lambda r: message(Op.WATCH_EVENT, 0, b"/a") + good(r)), RemoteProtocolError),
    "late": (late, DeadlineExceeded),
    "drop by drop": (drop_by_drop, DeadlineExceeded),
    "watch events without end": (flood, DeadlineExceeded),
}

CALLS: dict[str, tuple[Op, Callable[[XenStore], object]]] = {
    "read": (Op.READ, lambda store: store.read("/a")),
    "batch of reads": (Op.READ, lambda store: store.read_many(["/a"] * 40)),
    "write": (Op.WRITE, lambda store: store.write("/a", b"v")),
    "watch": (Op.WATCH, lambda store: store.watch(["/a"])),
    "start of a transaction": (Op.TRANSACTION_START, lambda store: store.transaction(lambda view: None)),
    "write in a transaction": (Op.WRITE, lambda store: store.transaction(lambda view: view.write("/a", b""))),
    "end of a transaction": (Op.TRANSACTION_END, lambda store: store.transaction(lambda view: view.write("/a", b""))),
}


@pytest.fixture
def against(tmp_path: Path) -> Iterator[Callable[[Op, Callable[[socket.socket, Request], None]], XenStore]]:
    """Make a store connected to a daemon with a fault."""
    made: list[tuple[XenStore, FaultyDaemon]] = []

    def make(op: Op, fault: Callable[[socket.socket, Request], None]) -> XenStore:
        path = str(tmp_path / f"socket{len(made)}")
        daemon = FaultyDaemon(path, op, fault)
        made.append((XenStore.open(path, timeout=TIMEOUT), daemon))
        return made[-1][0]

    yield make
    for store, daemon in made:
        store.close()
        daemon.stop()


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_daemon_ends_the_call_in_time_and_the_connection_for_good(
    fault: str, call: str, against: Callable[..., XenStore]
) -> None:
    play, expected = FAULTS[fault]
    op, do = CALLS[call]
    store = against(op, play)
    started = Stopwatch()
    with pytest.raises(expected) as raised:
        do(store)
    started.check(TIMEOUT + SLACK)
    assert type(raised.value) is expected
    assert "\n" not in str(raised.value)
    time.sleep(0.15 if fault == "late" else 0)  # now the late answer is there
    for later in (lambda: store.read("/b"), lambda: store.read_many(["/b"]), lambda: store.watch(["/b"])):
        with pytest.raises(ConnectionLost, match="closed"):
            later()


@pytest.mark.parametrize("call", CALLS)
def test_an_errno_that_nobody_knows_is_a_store_error_with_its_name(call: str, against: Callable[..., XenStore]) -> None:
    op, do = CALLS[call]
    store = against(op, send(lambda r: Connection(SERVER).send(ErrorReply(r.request_id, "EWHATEVER"))))
    with pytest.raises(StoreError, match="EWHATEVER"):
        do(store)
    if op is not Op.READ:
        assert store.read("/b") == b"true"  # a refusal is no fault of the connection


def test_an_interrupt_in_the_middle_of_a_call_closes_the_connection(against: Callable[..., XenStore]) -> None:
    store = against(Op.READ, late)
    with interrupted(after=TIMEOUT / 3):
        store.read("/a")
    with pytest.raises(ConnectionLost, match="interrupted"):
        store.read("/b")


def test_a_part_listing_without_end_is_refused(against: Callable[..., XenStore]) -> None:
    def play(stream: socket.socket, request: Request) -> None:
        server = Connection(SERVER)
        if request.op is Op.DIRECTORY_PART:
            stream.sendall(server.send(Reply(request.request_id, Op.DIRECTORY_PART, strings=("1",))))

    store = against(Op.DIRECTORY_PART, play)
    with pytest.raises(RemoteProtocolError, match="does not end"):
        store._list_in_parts("/a", Deadline.after(1), 0)
    with pytest.raises(ConnectionLost):
        store.read("/b")


def test_a_part_listing_that_changes_all_the_time_is_given_up_after_a_while(
    against: Callable[..., XenStore],
) -> None:
    generations = count(1)

    def play(stream: socket.socket, request: Request) -> None:
        server = Connection(SERVER)
        strings = (str(next(generations)), "name") if request.op is Op.DIRECTORY_PART else ()
        stream.sendall(server.send(Reply(request.request_id, request.op, strings=strings)))

    store = against(Op.DIRECTORY_PART, play)
    outcome = store._list_in_parts("/a", Deadline.after(5), 0)
    assert isinstance(outcome, StoreError)
    assert str(outcome) == "/a: its names change faster than they can be listed"
    assert next(generations) < 1000


def signalled_after_its_first_replies(
    daemon: RealXenstored, number: int, left: int
) -> tuple[threading.Thread, list[Write | Read]]:
    """Return a thread that signals *daemon* once it has carried out the first of a batch; the batch has *left* more."""
    process = daemon.process
    assert process is not None

    def signal_it() -> None:
        with XenStore.open(daemon.socket_path) as other:
            while not other.exists("/begun"):
                time.sleep(0.001)
        os.kill(process.pid, number)

    thread = threading.Thread(target=signal_it)
    thread.start()
    return thread, [*[Read("/")] * 100, Write("/begun", b""), *[Read("/")] * left]


def test_a_daemon_stopped_in_the_middle_of_a_batch_costs_the_deadline_and_no_more(
    xenstored: RealXenstored, dom0: XenStore
) -> None:
    thread, batch = signalled_after_its_first_replies(xenstored, signal.SIGSTOP, 49_899)
    started = Stopwatch()
    with pytest.raises(DeadlineExceeded, match=r"of 50000 came"):
        dom0.batch(batch, timeout=3)
    started.check(3 + SLACK)
    thread.join()
    assert xenstored.process is not None
    os.kill(xenstored.process.pid, signal.SIGCONT)
    with pytest.raises(ConnectionLost, match="closed"):
        dom0.read("/")
    with XenStore.open(xenstored.socket_path) as again:
        assert again.exists("/")


def test_a_daemon_killed_in_the_middle_of_a_batch_is_noticed_at_once(xenstored: RealXenstored, dom0: XenStore) -> None:
    thread, batch = signalled_after_its_first_replies(xenstored, signal.SIGKILL, 199_899)
    started = Stopwatch()
    # Which one depends on whether it dies between two messages or in one.
    with pytest.raises((ConnectionLost, RemoteProtocolError)):
        dom0.batch(batch, timeout=60)
    started.check(30)
    thread.join()
    with pytest.raises(ConnectionLost):
        dom0.read("/")


def test_after_a_restart_of_the_daemon_only_a_new_connection_works(xenstored: RealXenstored, dom0: XenStore) -> None:
    dom0.write("/a", b"")
    watch = dom0.watch(["/a"])
    watch.next(Deadline.after(5))
    xenstored.stop()
    xenstored.start()
    with pytest.raises(ConnectionLost):
        watch.next(Deadline.after(5))
    watch.close()
    with pytest.raises(ConnectionLost):
        dom0.read("/a")
    with XenStore.open(xenstored.socket_path) as again, pytest.raises(KeyNotFound):
        again.read("/a")


def test_a_wait_for_a_key_ends_in_its_own_time_when_the_daemon_stops(xenstored: RealXenstored, dom0: XenStore) -> None:
    assert xenstored.process is not None
    timer = threading.Timer(0.05, os.kill, (xenstored.process.pid, signal.SIGSTOP))
    timer.start()
    started = Stopwatch()
    try:
        with pytest.raises(DeadlineExceeded, match=r"^/a: the expected value did not appear within 0.5 s$"):
            dom0.wait_for("/a", lambda value: value is not None, timeout=0.5)
        started.check(0.5 + END_SECONDS + SLACK)
    finally:
        timer.join()
        assert xenstored.process is not None
        os.kill(xenstored.process.pid, signal.SIGCONT)


def test_a_wait_for_a_key_ends_in_its_own_time_when_the_watch_is_not_answered(against: Callable[..., XenStore]) -> None:
    store = against(Op.WATCH, send(lambda r: b""))
    store.timeout = 20
    started = Stopwatch()
    with pytest.raises(DeadlineExceeded):
        store.wait_for("/a", bool, timeout=TIMEOUT)
    started.check(TIMEOUT + SLACK)


def test_a_wait_that_ran_late_leaves_the_connection_good(dom0: XenStore) -> None:
    with pytest.raises(DeadlineExceeded):
        dom0.wait_for("/a", bool, timeout=0.05)
    assert dom0.list("/") == ["tool"]


def test_too_many_watches_are_refused_in_these_words(guest: XenStore) -> None:
    with pytest.raises(QuotaExceeded, match=r"^name: too many watches: .* \(E2BIG\)$"):
        guest.watch(["name"] * 150)
    assert guest.exists("name")
