"""QubesDB as a key store, on the lab's daemons: one in dom0 and one in the VM, which keep each other's keys."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.qubesdb import Daemons
from tests.support.stopwatch import Stopwatch
from vminterface.channel.qubesdb.store import QubesDB
from vminterface.channel.store import GetPermissions, KeyStore, List, Read, Remove, SetPermissions, Write
from vminterface.deadline import Deadline
from vminterface.errors import (
    ConnectionLost,
    DeadlineExceeded,
    InvalidValue,
    KeyNotFound,
    LocalProtocolError,
    StoreError,
)


@pytest.fixture(scope="module")
def daemons(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemons]:
    with Daemons(tmp_path_factory.mktemp("q"), "work") as running:
        yield running


@pytest.fixture
def store(daemons: Daemons) -> Iterator[QubesDB]:
    with daemons.dom0("work") as store:
        yield store
    with daemons.dom0("work") as cleaner:
        for name in cleaner.list("/"):
            cleaner.remove(f"/{name}")


@pytest.fixture
def guest(daemons: Daemons) -> Iterator[QubesDB]:
    with daemons.guest("work") as store:
        yield store


def test_what_dom0_writes_the_vm_reads_and_the_other_way_round(store: QubesDB, guest: QubesDB) -> None:
    store.write("/qubes-timezone", b"Europe/Warsaw")
    assert guest.read("/qubes-timezone") == b"Europe/Warsaw"
    guest.write("/qubes-timezone", b"Asia/Tokyo")
    assert store.read("/qubes-timezone") == b"Asia/Tokyo"


def test_an_empty_value_is_not_the_same_as_no_key(store: QubesDB) -> None:
    store.write("/t", b"")
    assert store.read("/t") == b""
    assert store.exists("/t")
    assert not store.exists("/u")
    with pytest.raises(KeyNotFound, match="/u: no such key"):
        store.read("/u")


def test_a_batch_does_everything_in_order_and_tells_each_outcome(store: QubesDB) -> None:
    outcomes = store.batch(
        [Write("/a", b"1"), Read("/a"), Write("/a/b", b"2"), List("/a"), Remove("/a"), Read("/a"), Remove("/a")]
    )
    assert outcomes[:5] == [None, b"1", None, ["b"], None]
    assert [type(outcome) for outcome in outcomes[5:]] == [KeyNotFound, KeyNotFound]
    assert not store.exists("/a/b")


def test_a_large_batch_is_pipelined(store: QubesDB) -> None:
    paths = [f"/many/k{n}" for n in range(5000)]
    assert store.batch([Write(path, b"x" * (n % 3000)) for n, path in enumerate(paths)]) == [None] * 5000
    assert store.read_many([*paths, "/none"]) == [*(b"x" * (n % 3000) for n in range(5000)), None]
    assert len(store.list("/many")) == 5000
    assert len(store.tree("/many")) == 5000


def test_a_listing_gives_direct_names_of_this_key_and_of_no_other_that_starts_so(store: QubesDB) -> None:
    for path in ("/a/b", "/a/c/d", "/ab", "/a-b/c", "/a//e"):
        store.write(path, b"")
    assert store.list("/a") == ["b", "c"]
    assert store.list("/") == ["a", "a-b", "ab"]
    assert store.list("/ab") == []
    with pytest.raises(KeyNotFound):
        store.list("/none")


def test_a_tree_holds_the_key_and_all_below_it_though_the_key_itself_may_not_exist(store: QubesDB) -> None:
    for path in ("/a/b", "/a/c/d", "/ab"):
        store.write(path, b"x")
    assert store.tree("/a") == {"/a/b": b"x", "/a/c/d": b"x"}
    assert store.tree("/a/b") == {"/a/b": b"x"}
    assert set(store.tree("/")) == {"/a/b", "/a/c/d", "/ab"}
    with pytest.raises(KeyNotFound):
        store.tree("/none")
    with pytest.raises(StoreError, match="more than 2 keys"):
        store.tree("/", limit=2)


def test_a_removal_takes_the_key_and_all_below_it_and_nothing_else(store: QubesDB, guest: QubesDB) -> None:
    for path in ("/a", "/a/b", "/a/b/c", "/ab"):
        store.write(path, b"x")
    store.remove("/a/b")
    assert sorted(guest.tree("/")) == ["/a", "/ab"]
    store.remove("/a")
    assert sorted(guest.tree("/")) == ["/ab"]
    with pytest.raises(KeyNotFound, match="/a: no such key"):
        store.remove("/a")


def test_there_are_no_permissions(store: QubesDB) -> None:
    assert [str(o) for o in store.batch([GetPermissions("/a"), SetPermissions("/a", ("n0",))])] == [
        "/a: QubesDB has no permissions"
    ] * 2
    with pytest.raises(StoreError, match="QubesDB has no permissions"):
        store.permissions("/a")


def test_a_transaction_runs_its_work_once_on_the_store_itself(store: QubesDB) -> None:
    calls = []

    def work(view: KeyStore) -> str:
        calls.append(view)
        return "done"

    assert store.transaction(work) == "done"
    assert calls == [store]
    assert not store.transactions


def test_it_says_what_it_can(store: QubesDB) -> None:
    assert (store.per_vm, store.home, store.parents, store.nul_bytes) == (True, "/", False, False)
    most = store.max_value("/a")
    store.write("/a", b"x" * most)
    assert len(store.read("/a")) == most
    with pytest.raises(LocalProtocolError):
        store.write("/a", b"x" * (most + 1))


@pytest.mark.parametrize("name", ["a", "a.b-c_d", "qubes-service/a.b", "x" * 62])
def test_a_name_that_it_allows_can_be_written(store: QubesDB, name: str) -> None:
    assert store.allows(name)
    store.write(store.home + name, b"1")


@pytest.mark.parametrize("name", ["", "a b", "a/", "ä", "x" * 63, "\udc80"])
def test_a_name_that_it_does_not_allow_cannot_be_written(store: QubesDB, name: str) -> None:
    assert not store.allows(name)
    with pytest.raises(LocalProtocolError):
        store.write(store.home + name, b"1")


@pytest.mark.parametrize(
    "path", ["", "a", "/a b", "/ä", "/a\0", "/a b/", "/" + 63 * "a", "/a+b", "-a", "/a\n", "\udc80", "/\udc80"]
)
@pytest.mark.parametrize("make", [Read, lambda p: Write(p, b""), Remove, List])
def test_a_path_that_cannot_be_is_refused_and_nothing_of_its_batch_is_sent(
    store: QubesDB, make: Callable[..., Any] | type[Any], path: str
) -> None:
    with pytest.raises(LocalProtocolError, match="expected"):
        store.batch([Write("/sent", b""), make(path)])
    assert not store.exists("/sent")


@pytest.mark.parametrize(
    "operation", [Read("/a/"), Write("/a/", b""), List("/a/"), Read("/"), Write("/", b""), Remove("/")]
)
def test_a_folder_and_the_root_are_no_keys(store: QubesDB, operation: Any) -> None:
    with pytest.raises(LocalProtocolError):
        store.batch([operation])


@pytest.mark.parametrize("value", [b"x" * 3072, b"a\0b"])
def test_a_value_that_cannot_be_is_refused_and_nothing_of_its_batch_is_sent(store: QubesDB, value: bytes) -> None:
    with pytest.raises(LocalProtocolError):
        store.batch([Write("/sent", b""), Write("/t", value)])
    assert not store.exists("/sent")


def test_limits_can_be_reached(store: QubesDB) -> None:
    path = "/" + 62 * "a"
    store.write(path, b"x" * 3071)
    assert store.read(path) == b"x" * 3071
    assert store.list("/") == [path[1:]]
    with store.watch([path]) as watch:
        watch.next(Deadline.after(5))
        store.remove(path)
        assert [e.path for e in watch.next(Deadline.after(5))] == [path]


def events(watch: Any, seconds: Any = 5.0) -> set[tuple[str, str]]:
    return {(event.path, event.registered) for event in watch.next(Deadline.after(seconds))}


def test_a_watch_tells_of_each_path_at_once_and_of_changes_at_it_and_below_it(store: QubesDB, guest: QubesDB) -> None:
    with guest.watch(["/a", "/c"]) as watch:
        assert events(watch) == {("/a", "/a"), ("/c", "/c")}
        for path in ("/a", "/a/b/c", "/ab", "/c"):
            store.write(path, b"")
        store.write("/c/last", b"")
        seen = set()
        while ("/c/last", "/c") not in seen:
            seen |= events(watch)
        assert seen == {("/a", "/a"), ("/a/b/c", "/a"), ("/c", "/c"), ("/c/last", "/c")}


@pytest.mark.parametrize("removed", ["/w", "/w/x", "/w/x/y"])
def test_a_watch_tells_of_a_key_that_went_with_a_directory(store: QubesDB, removed: str) -> None:
    store.write("/w/x/y", b"")
    with store.watch(["/w/x/y"]) as watch:
        events(watch)
        store.remove(removed)
        assert {registered for _, registered in events(watch)} == {"/w/x/y"}


def test_two_watches_of_one_store_each_get_their_events(store: QubesDB) -> None:
    with store.watch(["/a"]) as first:
        with store.watch(["/a", "/b"]) as second:
            events(first)
            events(second)
            store.write("/a/x", b"")
            assert events(first) == {("/a/x", "/a")}
            assert events(second) == {("/a/x", "/a")}
        store.write("/a/y", b"")
        assert events(first) == {("/a/y", "/a")}
        store.write("/b", b"")
        with pytest.raises(DeadlineExceeded):
            first.next(Deadline.after(0.1))
    with pytest.raises(LocalProtocolError):
        first.next(Deadline.after(0.1))


def test_a_watch_without_a_reader_keeps_a_bounded_number_of_events(store: QubesDB) -> None:
    with store.watch(["/a"]) as watch:
        events(watch)
        store.batch([Write(f"/a/k{n}", b"") for n in range(9000)])
        told = events(watch)
        assert len(told) <= 4096
        assert ("/a", "/a") in told


def test_wait_for_ends_when_the_key_is_as_wanted(store: QubesDB, guest: QubesDB) -> None:
    def write() -> None:
        with_late.write("/state", b"3")
        with_late.write("/state", b"4")

    with_late = guest
    timer = threading.Timer(0.1, write)
    timer.start()
    assert store.wait_for("/state", lambda value: value == b"4", timeout=5) == b"4"
    timer.join()
    with pytest.raises(DeadlineExceeded, match=r"/state: the expected value did not appear within 0\.1 s"):
        store.wait_for("/state", lambda value: value is None, timeout=0.1)
    guest.remove("/state")
    assert store.wait_for("/state", lambda value: value is None, timeout=5) is None


def test_the_read_only_socket_shows_and_refuses(daemons: Daemons, store: QubesDB) -> None:
    store.write("/a", b"1")
    with QubesDB(str(daemons.folder / "qubesdb.work.ro.sock"), 5.0) as reader:
        assert reader.read("/a") == b"1"
        for change in (Write("/a", b"2"), Remove("/a")):
            (outcome,) = reader.batch([change])
            assert type(outcome) is StoreError
        with reader.watch(["/a"]) as watch:
            events(watch)
            store.write("/a", b"3")
            assert events(watch) == {("/a", "/a")}


def test_the_socket_is_looked_for_where_the_environment_says(
    daemons: Daemons, store: QubesDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMINTERFACE_QUBESDB_DIR", str(daemons.folder))
    with QubesDB.open("work") as other:
        other.write("/a", b"")
    assert store.exists("/a")


def test_without_a_socket_or_with_no_name_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConnectionLost, match=f"no QubesDB of nosuch: there is no socket in {tmp_path}"):
        QubesDB.open("nosuch", folder=str(tmp_path))
    with pytest.raises(ConnectionLost, match="no QubesDB here"):
        QubesDB.open(folder=str(tmp_path))
    for name in ("../work", "", "a b"):
        with pytest.raises(InvalidValue):
            QubesDB.open(name, folder=str(tmp_path))


def test_the_socket_of_a_daemon_that_is_gone_is_told(tmp_path: Path) -> None:
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(tmp_path / "qubesdb.work.sock"))
    stale.close()
    with pytest.raises(ConnectionLost, match="refused"):
        QubesDB.open("work", folder=str(tmp_path))


def test_a_daemon_whose_queue_of_clients_is_full_costs_the_deadline(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "qubesdb.work.sock"))
        listener.listen(0)
        stores = [QubesDB.open("work", 0.3, folder=str(tmp_path)) for _ in range(3)]
        started = Stopwatch()
        with pytest.raises(DeadlineExceeded):
            stores[-1].read("/a")
        started.check(1.5, least=0.25)
        for store in stores:
            store.close()


def test_a_client_too_many_is_hung_up_on_and_the_others_go_on(daemons: Daemons, store: QubesDB) -> None:
    crowd = [daemons.dom0("work") for _ in range(255)]
    for one in crowd:
        one.write("/a", b"")
    with daemons.dom0("work") as late, pytest.raises(ConnectionLost):
        late.read("/a")
    for one in crowd:
        one.close()
    assert store.exists("/a")


def test_no_message_is_ever_half_sent(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "qubesdb.work.sock"))
    listener.listen()
    store = QubesDB.open("work", 0.2, folder=str(tmp_path))
    stream, _ = listener.accept()
    with pytest.raises(DeadlineExceeded):
        store.batch([Write("/a", b"x" * 3000)] * 2000)
    received = b""
    while data := stream.recv(1 << 20):
        received += data
    assert received
    assert len(received) % (72 + 3000) == 0
    with pytest.raises(ConnectionLost, match="closed"):
        store.read("/a")
    stream.close()
    listener.close()


def test_descriptors_are_given_back(daemons: Daemons) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with daemons.dom0("work") as store:
            store.exists("/a")
    assert len(os.listdir("/proc/self/fd")) == before
