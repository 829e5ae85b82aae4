"""QubesDB daemons that misbehave: every call ends within its deadline, in the right error, and never takes a late
answer."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.faultyqubesdb import Fault, FaultyDaemon
from tests.support.interrupts import interrupted
from tests.support.qubesdb import Daemons
from tests.support.stopwatch import Stopwatch
from vminterface.channel.qubesdb.connection import QubesDBConnection
from vminterface.channel.qubesdb.store import QubesDB
from vminterface.channel.store import END_SECONDS, Read, Remove, Write
from vminterface.deadline import Deadline
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.inventory.targets import Targets
from vminterface.dom0.push.push import push
from vminterface.errors import (
    ConnectionLost,
    DeadlineExceeded,
    RemoteProtocolError,
    StoreError,
    VMInterfaceError,
)
from vminterface.wire.qubesdb import HEADER, Command

#: Seconds that the stores of these tests may wait, and what a shared machine may add.
TIMEOUT = 0.3
SLACK = 1.0


def says(make: Callable[[bytes], bytes], *, then_close: bool = False) -> Fault:
    def play(stream: socket.socket, good: bytes) -> None:
        stream.sendall(make(good))
        if not then_close:
            wait(stream)

    return play


def wait(stream: socket.socket) -> None:
    """Say nothing more until the client hangs up."""
    with suppress(OSError):
        while stream.recv(65536):
            pass


def late(stream: socket.socket, good: bytes) -> None:
    time.sleep(TIMEOUT + 0.1)
    stream.sendall(good)


def drop_by_drop(stream: socket.socket, good: bytes) -> None:
    for byte in good:
        time.sleep(TIMEOUT / 5)
        stream.sendall(bytes([byte]))


def flood(stream: socket.socket, good: bytes) -> None:
    event = HEADER.pack(13, b"/w", 0)
    while True:
        stream.sendall(event * 1000)


def retyped(kind: int) -> Callable[[bytes], bytes]:
    return lambda good: bytes([kind]) + good[1:]


FAULTS: dict[str, tuple[Fault, type[VMInterfaceError]]] = {
    "closes after the request": (says(lambda good: b"", then_close=True), ConnectionLost),
    "answer cut short": (says(lambda good: good[:-1], then_close=True), RemoteProtocolError),
    "answer cut short, nothing more": (says(lambda good: good[:-1]), DeadlineExceeded),
    "end of stream in a header": (says(lambda good: good[:7], then_close=True), RemoteProtocolError),
    "value too long": (says(lambda good: HEADER.pack(10, b"/a", 3072)), RemoteProtocolError),
    "unknown type": (says(retyped(77)), RemoteProtocolError),
    "a request": (says(retyped(0)), RemoteProtocolError),
    "answer to another path": (says(lambda good: good[:1] + b"/other\0" + good[8:]), RemoteProtocolError),
    "silent": (says(lambda good: b""), DeadlineExceeded),
    "malformed watch event": (says(lambda good: HEADER.pack(13, b"x", 0) + good), RemoteProtocolError),
    "late": (late, DeadlineExceeded),
    "drop by drop": (drop_by_drop, DeadlineExceeded),
    "watch events without end": (flood, DeadlineExceeded),
}
CALLS: dict[str, Callable[[QubesDB], object]] = {
    "read": lambda store: store.read("/a"),
    "batch of reads": lambda store: store.read_many(["/a"] * 40),
    "write": lambda store: store.write("/a", b"v"),
    "removal": lambda store: store.remove("/a"),
    "watch": lambda store: store.watch(["/a"]),
    "tree": lambda store: store.tree("/a"),
    "listing": lambda store: store.list("/a"),
}


@pytest.fixture
def against(tmp_path: Path) -> Iterator[Callable[..., tuple[FaultyDaemon, QubesDB]]]:
    """Make a store connected to a daemon with a fault."""
    made: list[tuple[FaultyDaemon, QubesDB]] = []

    def make(fault: Fault, after: int = 0) -> tuple[FaultyDaemon, QubesDB]:
        path = str(tmp_path / f"socket{len(made)}")
        daemon = FaultyDaemon(path, fault, after)
        daemon.side.database.values["/a"] = b"v"
        made.append((daemon, QubesDB(path, TIMEOUT)))
        return made[-1]

    yield make
    for daemon, store in made:
        store.close()
        daemon.stop()


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_daemon_ends_the_call_in_time_and_the_connection_for_good(
    fault: str, call: str, against: Callable[..., Any]
) -> None:
    play, expected = FAULTS[fault]
    _, store = against(play)
    started = Stopwatch()
    with pytest.raises(expected) as raised:
        CALLS[call](store)
    started.check(TIMEOUT + SLACK)
    assert type(raised.value) is expected
    assert "\n" not in str(raised.value)
    assert store.closed
    time.sleep(0.15 if fault == "late" else 0)  # now the late answer is there
    calls: list[Callable[[], object]] = [
        lambda: store.read("/b"),
        lambda: store.read_many(["/b"]),
        lambda: store.watch(["/b"]),
    ]
    for later in calls:
        started = Stopwatch()
        with pytest.raises(ConnectionLost, match="closed"):
            later()
        started.check(0.2)


def test_an_interrupt_in_the_middle_of_a_call_closes_the_connection(against: Callable[..., Any]) -> None:
    _, store = against(late)
    with interrupted(after=TIMEOUT / 3):
        store.read("/a")
    with pytest.raises(ConnectionLost, match="interrupted"):
        store.read("/b")


def test_a_series_of_too_much_is_read_to_its_end_and_refused(
    against: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vminterface.channel.qubesdb.connection.BYTES_MAX", 10_000)
    monkeypatch.setattr("vminterface.channel.qubesdb.connection.ENTRIES_MAX", 50)
    daemon, store = against(says(lambda good: good), 10**6)
    daemon.side.database.values.update({f"/long/k{n}": b"x" * 3000 for n in range(10)})
    daemon.side.database.values.update({f"/many/k{n}": b"" for n in range(51)})
    calls: list[Callable[[], object]] = [
        lambda: store.tree("/long"),
        lambda: store.tree("/many"),
        lambda: store.list("/many"),
    ]
    for call in calls:
        with pytest.raises(StoreError, match="more than"):
            call()
    assert store.list("/long") == [f"k{n}" for n in range(10)]
    with pytest.raises(StoreError, match="more than"):
        store.remove("/many")
    assert store.read("/a") == b"v"


def test_a_watch_hears_of_the_end_of_its_daemon(against: Callable[..., Any]) -> None:
    daemon, store = against(says(lambda good: good, then_close=True), 3)
    with store.watch(["/a"]) as watch:
        watch.next(Deadline.after(1))
        daemon.stop()
        with pytest.raises(ConnectionLost):
            watch.next(Deadline.after(5))
    assert store.closed


@pytest.fixture
def daemons(tmp_path: Path) -> Iterator[Daemons]:
    with Daemons(tmp_path / "q", "work") as running:
        yield running


def test_a_daemon_stopped_in_the_middle_of_a_batch_costs_the_deadline_and_no_more(daemons: Daemons) -> None:
    with daemons.dom0("work") as store:
        threading.Timer(0.05, daemons.signal, [signal.SIGSTOP]).start()
        started = Stopwatch()
        with pytest.raises(DeadlineExceeded, match=r"no reply within 3 s \(\d+ of \d+ came\)"):
            store.batch([Write("/a", b"x")] * 50_000, timeout=3)
        started.check(3 + SLACK)
        daemons.signal(signal.SIGCONT)
        with pytest.raises(ConnectionLost, match="closed"):
            store.read("/a")
    with daemons.dom0("work") as again:
        again.write("/a", b"y")
        assert again.read("/a") == b"y"


def test_a_daemon_killed_in_the_middle_of_a_batch_is_noticed_at_once(daemons: Daemons) -> None:
    with daemons.dom0("work") as store:
        threading.Timer(0.05, daemons.signal, [signal.SIGKILL]).start()
        started = Stopwatch()
        with pytest.raises((ConnectionLost, RemoteProtocolError)):
            store.batch([Read("/a")] * 200_000, timeout=60)
        started.check(30)


def test_a_wait_for_a_key_ends_in_its_own_time_when_the_daemon_stops(daemons: Daemons) -> None:
    with daemons.dom0("work", 20) as store:
        threading.Timer(0.05, daemons.signal, [signal.SIGSTOP]).start()
        started = Stopwatch()
        with pytest.raises(DeadlineExceeded, match=r"^/a: the expected value did not appear within 0.5 s$"):
            store.wait_for("/a", lambda value: value is not None, timeout=0.5)
        started.check(0.5 + END_SECONDS + SLACK)
        daemons.signal(signal.SIGCONT)


def test_a_client_that_waits_for_data_freezes_nobody_once_it_is_closed(daemons: Daemons) -> None:
    """The daemon waits for the rest of a message; ours are whole, and one that is not ends with its connection."""
    with socket.socket(socket.AF_UNIX) as rude:
        rude.connect(str(daemons.folder / "qubesdb.work.sock"))
        rude.sendall(HEADER.pack(Command.WRITE, b"/a", 10))
        time.sleep(0.1)
        with daemons.dom0("work", TIMEOUT) as store, pytest.raises(DeadlineExceeded):
            store.read("/a")
    with daemons.dom0("work") as store:
        assert not store.exists("/a")


def test_after_an_error_that_closes_a_new_connection_works(daemons: Daemons) -> None:
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(5)
        raw.connect(str(daemons.folder / "qubesdb.work.sock"))
        raw.sendall(HEADER.pack(Command.WRITE, b"/a/", 1) + b"v" + HEADER.pack(Command.READ, b"/a", 0))
        assert raw.recv(1000)[0] == 9
        with suppress(ConnectionResetError):
            assert raw.recv(1000) == b""
    with daemons.dom0("work") as store:
        store.write("/a", b"v")


WORK = {"timezone": "Europe/Warsaw", "services": {"cups": True, "crond": False}, "debug": False, "type": "default"}
FORMER = {"/qubes-timezone": b"Europe/Paris", "/qubes-vm-type": b"AppVM", "/qubes-service/cups": b"0"}
WANTED = {
    "/qubes-timezone": b"Europe/Warsaw", "/qubes-service/cups": b"1", "/qubes-service/crond": b"0",
    "/qubes-debug-mode": b"0",
}  # fmt: skip
STOPS: dict[str, Fault] = {
    "stopped": says(lambda good: b""),
    "closed": says(lambda good: b"", then_close=True),
    "cut": says(lambda good: good[:-1], then_close=True),
    "malformed": says(retyped(99)),
}


def changed(daemon: FaultyDaemon) -> dict[str, bytes]:
    """What is in the store but for acknowledgements, which a push that took something back leaves pending."""
    return {path: value for path, value in daemon.side.database.values.items() if not path.startswith("/vminterface/")}


# One request to read, one to see what is to be removed, five changes, five to read back.
@pytest.mark.parametrize("k", range(12))
@pytest.mark.parametrize("how", STOPS)
def test_a_daemon_that_fails_at_any_request_of_a_push_is_told_in_time_and_the_next_push_converges(
    tmp_path: Path, how: str, k: int
) -> None:
    daemon = FaultyDaemon(str(tmp_path / "qubesdb.work.sock"), STOPS[how], k)
    daemon.side.database.values.update(FORMER)
    desired = [VMSettings.parse("work", {**WORK, "timeout": TIMEOUT, "channel": "qubesdb"})]
    try:
        started = Stopwatch()
        with Targets(qubesdb_folder=str(tmp_path)) as targets:
            (outcome,) = push(desired, targets)
        started.check(TIMEOUT + SLACK)
        assert daemon.played
        assert outcome.changes == {}
        assert isinstance(outcome.error, DeadlineExceeded | ConnectionLost | RemoteProtocolError)
        assert "\n" not in outcome.comment()
        if how != "stopped":
            assert changed(daemon) == FORMER, "a new connection puts the former values back"
        with Targets(qubesdb_folder=str(tmp_path)) as targets:
            assert push(desired, targets)[0].ok
            assert changed(daemon) == WANTED
            assert push(desired, targets)[0].changes == {}
    finally:
        daemon.stop()


@pytest.mark.parametrize("k", range(0, 40, 4))
def test_a_real_process_stopped_while_a_push_writes_ends_in_time_and_the_next_push_converges(
    daemons: Daemons, k: int
) -> None:
    desired = [[VMSettings.parse("work", {"timezone": z, "timeout": 0.5, "services": {f"s{n}": b for n in range(40)}})]
              for z, b in (("Europe/Warsaw", True), ("Asia/Tokyo", False))]  # fmt: skip
    with Targets(qubesdb_folder=str(daemons.folder)) as targets:
        assert push(desired[0], targets)[0].ok
    threading.Timer(k * 0.0005, daemons.signal, [signal.SIGSTOP]).start()
    started = Stopwatch()
    with Targets(qubesdb_folder=str(daemons.folder)) as targets:
        for turn in range(100_000):
            (outcome,) = push(desired[(turn + 1) % 2], targets)
            if not outcome.ok:
                break
    assert not outcome.ok
    started.check(3)
    daemons.signal(signal.SIGCONT)
    with Targets(qubesdb_folder=str(daemons.folder)) as targets:
        assert push(desired[1], targets)[0].ok
    with daemons.guest("work") as guest:
        assert guest.read("/qubes-timezone") == b"Asia/Tokyo"
        assert {guest.read(f"/qubes-service/s{n}") for n in range(40)} == {b"0"}


def test_a_removal_asks_only_for_what_is_there(against: Callable[..., Any]) -> None:
    """A daemon in the other half of the pair that finds nothing to remove would end the pair."""
    daemon, store = against(says(lambda good: good), 10**6)
    daemon.side.database.values.update({"/b/c": b"", "/d": b""})
    store.batch([Remove("/a"), Remove("/b"), Remove("/d"), Remove("/none"), Write("/e/f", b""), Remove("/e")])
    assert [r.path for r in daemon.asked if r.command is Command.RM] == ["/a", "/b/", "/d", "/e/"]


def test_no_descriptor_is_lost_by_faults(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(ConnectionLost):
            QubesDBConnection(str(tmp_path / "none"), lambda event: None)
    assert len(os.listdir("/proc/self/fd")) == before
