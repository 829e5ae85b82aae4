"""The key store on the real xenstored: from dom0, and from a guest by its bus's socket and by its device file."""

import os
import threading
import time

import pytest

from lab.xenstored.fakexen import RealXenstored
from tests.support.stopwatch import Stopwatch
from tests.support.stores import GUEST, HOME, dom0, guest, guest_home, xenstored
from vminterface.channel.store import GetPermissions, KeyStore, List, Read, Remove, SetPermissions, WatchEvent, Write
from vminterface.channel.xenstore.store import XenStore
from vminterface.deadline import Deadline
from vminterface.errors import (
    ConnectionLost,
    DeadlineExceeded,
    KeyNotFound,
    LocalProtocolError,
    PermissionDenied,
    QuotaExceeded,
    StoreError,
    TransactionConflict,
)

__all__ = ["dom0", "guest", "guest_home", "xenstored"]


def soon() -> Deadline:
    return Deadline.after(30)


def test_a_value_of_any_bytes_is_read_as_it_was_written(dom0: XenStore) -> None:
    for value in (b"", b"\0", b"trailing\0\0", bytes(range(256))):
        dom0.write("/a/b", value)
        assert dom0.read("/a/b") == value


def test_it_says_what_it_can(dom0: XenStore) -> None:
    def kinds(store: KeyStore) -> tuple[object, ...]:
        return store.per_vm, store.home, store.transactions, store.parents, store.nul_bytes

    assert kinds(dom0) == (False, "", True, True, True)
    assert dom0.transaction(kinds) == kinds(dom0)


def test_a_value_may_be_as_long_as_it_says(dom0: XenStore) -> None:
    path = "/a/" + "b" * 100
    most = dom0.max_value(path)
    dom0.write(path, b"x" * most)
    assert len(dom0.read(path)) == most
    with pytest.raises(LocalProtocolError):
        dom0.write(path, b"x" * (most + 1))


@pytest.mark.parametrize("name", ["a", "A-b_c@1/2"])
def test_a_name_that_it_allows_can_be_written(dom0: XenStore, name: str) -> None:
    assert dom0.allows(name)
    dom0.write(f"/x/{name}", b"1")


@pytest.mark.parametrize("name", ["", "a.b", "a b", "a/", "ä"])
def test_a_name_that_it_does_not_allow_cannot_be_written(dom0: XenStore, name: str) -> None:
    assert not dom0.allows(name)
    with pytest.raises(LocalProtocolError):
        dom0.write(f"/x/{name}", b"1")


def test_writing_creates_parents_and_removing_takes_the_subtree(dom0: XenStore) -> None:
    dom0.write("/a/b/c", b"1")
    assert dom0.read("/a") == b""
    assert dom0.list("/a") == ["b"]
    dom0.remove("/a")
    assert not dom0.exists("/a")
    assert not dom0.exists("/a/b/c")


def test_what_is_not_there_is_key_not_found(dom0: XenStore) -> None:
    for call in (dom0.read, dom0.remove, dom0.list, dom0.permissions):
        with pytest.raises(KeyNotFound, match=r"^/none: no such key"):
            call("/none")
    assert dom0.read_many(["/none", "/"]) == [None, b""]


def test_a_refusal_without_a_class_of_its_own_names_errno_and_path(dom0: XenStore) -> None:
    with pytest.raises(StoreError, match=r"^/: .*EINVAL"):
        dom0.remove("/")


def test_permissions_are_set_and_read(dom0: XenStore, xenstored: RealXenstored) -> None:
    dom0.write("/a", b"")
    with pytest.raises(KeyNotFound, match=r"^/a: no such key, or no such domain"):
        dom0.set_permissions("/a", ["n3"])
    for domid in (3, 4):
        xenstored.create(domid)
    dom0.set_permissions("/a", ["n3", "r4", "b0"])
    assert dom0.permissions("/a") == ["n3", "r4", "b0"]


def test_one_batch_takes_every_operation_and_keeps_their_order(dom0: XenStore) -> None:
    outcomes = dom0.batch(
        [
            Write("/a/b", b"1"),
            Read("/a/b"),
            List("/a"),
            GetPermissions("/a"),
            SetPermissions("/a", ("r0",)),
            GetPermissions("/a"),
            Remove("/a/none"),
            Remove("/a"),
            Read("/a"),
        ]
    )
    assert outcomes[:6] == [None, b"1", ["b"], ["n0"], None, ["r0"]]
    assert isinstance(outcomes[6], KeyNotFound)
    assert outcomes[7] is None
    assert isinstance(outcomes[8], KeyNotFound)
    assert dom0.batch([]) == []


def test_a_batch_with_something_that_cannot_be_sent_changes_nothing(dom0: XenStore) -> None:
    with pytest.raises(LocalProtocolError, match=r"a\.b"):
        dom0.batch([Write("/x", b""), Read("/a.b")])
    assert not dom0.exists("/x")


def test_ten_thousand_keys_go_in_one_batch(dom0: XenStore) -> None:
    paths = [f"/many/k{n}" for n in range(10_000)]
    assert dom0.batch([Write(path, path.encode()) for path in paths], timeout=60) == [None] * 10_000
    assert dom0.read_many(paths, timeout=60) == [path.encode() for path in paths]


def test_buffers_full_in_both_directions_do_not_block_each_other(dom0: XenStore) -> None:
    value = b"x" * 4000
    outcomes = dom0.batch([op for n in range(1000) for op in (Write("/big", value), Read("/big"))], timeout=60)
    assert outcomes == [None, value] * 1000


def test_a_directory_longer_than_one_message_is_listed_whole(dom0: XenStore) -> None:
    names = {f"a-rather-long-name-of-a-key-{n}" for n in range(2000)}
    dom0.batch([Write(f"/dir/{name}", b"") for name in names], timeout=60)
    listed, small = dom0.batch([List("/dir"), List("/")])
    assert len(listed) == 2000
    assert set(listed) == names
    assert "dir" in small
    assert len(dom0.tree("/dir")) == 2001


def test_a_directory_that_changes_while_it_is_listed_is_listed_again(dom0: XenStore, xenstored: RealXenstored) -> None:
    dom0.batch([Write(f"/dir/a-rather-long-name-of-a-key-{n}", b"") for n in range(600)], timeout=60)
    end = threading.Event()

    def change() -> None:
        with XenStore.open(xenstored.socket_path) as other:
            while not end.is_set():
                other.write("/dir/zz", b"")
                other.remove("/dir/zz")
                # Longer than a listing takes on a busy machine, so that one of its attempts is undisturbed.
                time.sleep(0.01)

    changing = threading.Thread(target=change)
    changing.start()
    try:
        for _ in range(50):
            listed = dom0.list("/dir")
            assert len(set(listed) - {"zz"}) == 600
            assert len(listed) == len(set(listed))
    finally:
        end.set()
        changing.join()


def test_the_longest_value_of_a_socket_is_taken_and_one_byte_more_is_not(dom0: XenStore) -> None:
    dom0.write("/v", b"x" * (4096 - 3))
    assert len(dom0.read("/v")) == 4093
    with pytest.raises(LocalProtocolError):
        dom0.write("/v", b"x" * (4096 - 2))


def test_the_tree_has_all_values_by_full_path(dom0: XenStore) -> None:
    dom0.write("/a/b/c", b"1")
    dom0.write("/a/d", b"2")
    assert dom0.tree("/a") == {"/a": b"", "/a/b": b"", "/a/b/c": b"1", "/a/d": b"2"}


def test_a_watch_fires_at_once_and_then_at_changes_below(dom0: XenStore, xenstored: RealXenstored) -> None:
    with XenStore.open(xenstored.socket_path) as other, dom0.watch(["/a", "/b"]) as watch:
        first = watch.next(soon())
        while len(first) < 2:
            first += watch.next(soon())
        assert set(first) == {WatchEvent("/a", "/a"), WatchEvent("/b", "/b")}
        other.write("/a/x", b"")
        assert WatchEvent("/a/x", "/a") in watch.next(soon())


def test_events_reach_their_own_watch_while_other_calls_go_on(dom0: XenStore) -> None:
    with dom0.watch(["/a"]) as a, dom0.watch(["/b"]) as b:
        dom0.write("/a/1", b"")
        dom0.write("/b/1", b"")
        assert set(a.next(soon())) == {WatchEvent("/a", "/a"), WatchEvent("/a/1", "/a")}
        assert set(b.next(soon())) == {WatchEvent("/b", "/b"), WatchEvent("/b/1", "/b")}


def test_a_watch_without_events_ends_at_its_deadline_and_the_store_stays_good(dom0: XenStore) -> None:
    with dom0.watch(["/a"]) as watch:
        watch.next(soon())
        started = Stopwatch()
        with pytest.raises(DeadlineExceeded):
            watch.next(Deadline.after(0.1))
        started.check(1)
        dom0.write("/a", b"1")
        assert watch.next(soon()) == [WatchEvent("/a", "/a")]


def test_a_closed_watch_is_removed_from_the_daemon(dom0: XenStore, xenstored: RealXenstored) -> None:
    for _ in range(200):  # more than any quota, were they not removed
        dom0.watch(["/a"]).close()
    dom0.write("/a", b"")
    assert dom0._watches == {}


def test_a_flood_of_events_keeps_a_bounded_memory_and_still_says_that_something_changed(dom0: XenStore) -> None:
    with dom0.watch(["/a"]) as watch:
        dom0.batch([Write(f"/a/k{n}", b"") for n in range(6000)], timeout=60)
        events = watch.next(soon())
        assert len(events) <= 4096
        assert WatchEvent("/a", "/a") in events


def test_wait_for_returns_the_value_that_was_waited_for(dom0: XenStore, xenstored: RealXenstored) -> None:
    def later() -> None:
        with XenStore.open(xenstored.socket_path) as other:
            time.sleep(0.05)
            other.write("/ready", b"no")
            other.write("/ready", b"yes")

    writer = threading.Thread(target=later)
    writer.start()
    assert dom0.wait_for("/ready", lambda value: value == b"yes") == b"yes"
    writer.join()
    with pytest.raises(DeadlineExceeded):
        dom0.wait_for("/ready", lambda value: value == b"never", timeout=0.1)


def test_domains_come_and_go_as_special_watches_tell(dom0: XenStore, xenstored: RealXenstored) -> None:
    with dom0.watch(["@introduceDomain", "@releaseDomain"]) as watch:
        watch.next(soon())
        xenstored.create(3)
        assert WatchEvent("@introduceDomain", "@introduceDomain") in watch.next(soon())
        assert dom0.is_introduced(3)
        xenstored.destroy(3)
        assert watch.next(soon()) == [WatchEvent("@releaseDomain", "@releaseDomain")]
        assert not dom0.is_introduced(3)


def test_domains_are_the_named_vms_without_dom0(dom0: XenStore) -> None:
    assert dom0.domains() == {}
    dom0.write("/local/domain/0/name", b"Domain-0")
    dom0.write("/local/domain/3/name", b"work")
    dom0.write("/local/domain/4/domid", b"4")
    dom0.write("/local/domain/5/name", b"\x1b[2J")
    dom0.write("/local/domain/12/name", b"sys-net")
    assert dom0.domains() == {"work": 3, "sys-net": 12}


def test_a_transaction_shows_its_changes_all_at_once(dom0: XenStore, xenstored: RealXenstored) -> None:
    with XenStore.open(xenstored.socket_path) as other:

        def work(view: KeyStore) -> str:
            view.batch([Write("/t/a", b"1"), Write("/t/b", b"2")])
            assert view.read("/t/a") == b"1"
            assert not other.exists("/t/a")
            return "done"

        assert dom0.transaction(work) == "done"
        assert other.read_many(["/t/a", "/t/b"]) == [b"1", b"2"]


def test_a_transaction_whose_work_raises_changes_nothing(dom0: XenStore) -> None:
    def work(view: KeyStore) -> None:
        view.write("/t", b"1")
        raise ZeroDivisionError

    for _ in range(20):  # more than the quota of open transactions, were they not aborted
        with pytest.raises(ZeroDivisionError):
            dom0.transaction(work)
    assert not dom0.exists("/t")


def test_a_transaction_refuses_another_inside_watches_and_use_after_its_end(dom0: XenStore) -> None:
    kept: list[KeyStore] = []

    def work(view: KeyStore) -> None:
        kept.append(view)
        with pytest.raises(LocalProtocolError):
            view.transaction(lambda inner: None)
        with pytest.raises(LocalProtocolError):
            view.watch(["/a"])

    dom0.transaction(work)
    with pytest.raises(LocalProtocolError):
        kept[0].read("/")


def test_a_transaction_that_always_conflicts_gives_up_after_its_attempts(
    dom0: XenStore, xenstored: RealXenstored
) -> None:
    tries = 0
    with XenStore.open(xenstored.socket_path) as other:

        def work(view: KeyStore) -> None:
            nonlocal tries
            tries += 1
            view.read("/")
            view.write("/t", b"mine")
            other.write("/t", str(tries).encode())

        other.write("/t", b"")
        with pytest.raises(TransactionConflict):
            dom0.transaction(work, attempts=3)
        assert tries == 3
        assert other.read("/t") == b"3"


def test_no_update_is_lost_among_writers_that_conflict(xenstored: RealXenstored, dom0: XenStore) -> None:
    writers, rounds = 4, 25
    dom0.write("/counter", b"0")

    def count() -> None:
        with XenStore.open(xenstored.socket_path) as store:
            for _ in range(rounds):
                store.transaction(lambda v: v.write("/counter", b"%d" % (int(v.read("/counter")) + 1)), attempts=500)

    threads = [threading.Thread(target=count) for _ in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert dom0.read("/counter") == b"%d" % (writers * rounds)


def test_a_guest_reads_and_writes_by_relative_paths(guest: XenStore, dom0: XenStore) -> None:
    assert guest.read("name") == b"work"
    guest.write("memory/meminfo", b"123456")
    assert dom0.read(f"{HOME}/memory/meminfo") == b"123456"
    assert guest.tree("memory") == {"memory": b"", "memory/meminfo": b"123456"}
    assert guest.permissions("memory/meminfo")[0] == f"n{GUEST}"
    guest.remove("memory/meminfo")
    assert guest.list("memory") == []


def test_a_guest_is_denied_what_dom0_keeps(guest: XenStore) -> None:
    for call in (
        lambda: guest.write("name", b"mine"),
        lambda: guest.read("secret"),
        lambda: guest.write("/tool/x", b""),
        lambda: guest.set_permissions("name", [f"n{GUEST}"]),
        lambda: guest.is_introduced(1),
    ):
        with pytest.raises(PermissionDenied):
            call()


def test_a_guest_meets_its_quota(guest: XenStore) -> None:
    with pytest.raises(QuotaExceeded, match=r"^memory/big: "):
        guest.write("memory/big", b"x" * 2100)
    outcomes = guest.batch([Write(f"memory/k{n}", b"") for n in range(1100)], timeout=60)
    assert any(isinstance(outcome, QuotaExceeded) for outcome in outcomes)


def test_a_guest_reads_thousands_of_keys_without_passing_its_quota_of_requests(guest: XenStore) -> None:
    assert guest.read_many(["name"] * 3000, timeout=60) == [b"work"] * 3000


def test_a_guest_sees_dom0s_changes_by_watch_and_in_transactions(guest: XenStore, dom0: XenStore) -> None:
    with guest.watch(["name"]) as watch:
        assert watch.next(soon()) == [WatchEvent("name", "name")]
        dom0.write(f"{HOME}/name", b"renamed")
        assert watch.next(soon()) == [WatchEvent("name", "name")]
    guest.transaction(lambda view: view.write("memory/a", b"1"))
    assert dom0.read(f"{HOME}/memory/a") == b"1"


@pytest.mark.parametrize("xenstored", ["real"], indirect=True)  # the lab's daemon has no device file
def test_a_device_takes_a_message_of_4096_bytes_with_its_header_and_no_more(
    xenstored: RealXenstored, guest_home: str
) -> None:
    with XenStore.open(xenstored.device(GUEST)) as store:
        with pytest.raises(LocalProtocolError, match="4080"):
            store.write("memory/v", b"x" * (4081 - len("memory/v") - 1))
        with pytest.raises(QuotaExceeded):  # sent whole, and refused by the daemon
            store.write("memory/v", b"x" * (4080 - len("memory/v") - 1))


def test_the_path_is_found_in_the_environment(monkeypatch: pytest.MonkeyPatch, xenstored: RealXenstored) -> None:
    monkeypatch.setenv("XENSTORED_PATH", xenstored.socket_path)
    with XenStore.open() as store:
        assert store.exists("/")


def test_no_store_at_the_path_is_connection_lost_naming_it() -> None:
    for path in ("/nonexistent/socket", os.path.dirname(__file__)):
        with pytest.raises(ConnectionLost, match=path):
            XenStore.open(path)


def test_a_closed_store_says_so(dom0: XenStore) -> None:
    watch = dom0.watch(["/a"])
    dom0.close()
    dom0.close()
    for call in (lambda: dom0.read("/"), lambda: dom0.list("/"), lambda: dom0.transaction(lambda v: v.read("/"))):
        with pytest.raises(ConnectionLost, match="closed"):
            call()
    watch.close()
