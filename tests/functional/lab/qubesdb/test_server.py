"""The lab's QubesDB daemon says on the wire what the real one was seen to say."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.qubesdb.side import Client, Side
from tests.support.qubesdb import PROJECT, Daemons
from vminterface.wire.qubesdb import HEADER, Command, Event, Request, WatchEvent

OK, NOENT, ERROR, VALUE, ENTRY, NAME, EVENT = range(7, 14)
CLOSED = "closed"


class Raw:
    """A client of plain bytes."""

    def __init__(self, path: Path) -> None:
        self.stream = socket.socket(socket.AF_UNIX)
        self.stream.settimeout(5)
        self.stream.connect(str(path))

    def say(self, kind: int, path: bytes = b"", value: bytes = b"", length: int | None = None) -> None:
        self.stream.sendall(HEADER.pack(kind, path, len(value) if length is None else length) + value)

    def hear(self) -> tuple[int, bytes, bytes] | str:
        """Take one message: type, path, value."""
        try:
            head = self.stream.recv(HEADER.size, socket.MSG_WAITALL)
        except ConnectionResetError:
            return CLOSED
        if not head:
            return CLOSED
        kind, path, length = HEADER.unpack(head)
        value = self.stream.recv(length, socket.MSG_WAITALL) if length else b""
        return kind, path.partition(b"\0")[0], value

    def ask(self, kind: int, path: bytes = b"", value: bytes = b"") -> tuple[int, bytes, bytes] | str:
        self.say(kind, path, value)
        return self.hear()

    def series(self, kind: int, path: bytes) -> list[bytes]:
        """The paths that LIST or MULTIREAD gives."""
        self.say(kind, path)
        found: list[bytes] = []
        while True:
            heard = self.hear()
            assert not isinstance(heard, str), heard
            its_kind, its_path, value = heard
            if not its_path:
                assert value == b""
                return found
            assert its_kind == kind + 9
            found.append(its_path)


@pytest.fixture
def daemons(tmp_path: Path) -> Iterator[Daemons]:
    with Daemons(tmp_path / "q", "work", "other") as running:
        yield running


@pytest.fixture
def dom0(daemons: Daemons) -> Iterator[Raw]:
    client = Raw(daemons.folder / "qubesdb.work.sock")
    yield client
    client.stream.close()


@pytest.fixture
def guest(daemons: Daemons) -> Iterator[Raw]:
    client = Raw(daemons.folder / "work/qubesdb.sock")
    yield client
    client.stream.close()


@pytest.mark.parametrize(
    ("kind", "path", "value", "reply"),
    [
        (0, b"/none", b"", NOENT),
        (1, b"/a", b"", OK),
        (1, b"/a", b"x" * 3071, OK),
        (1, b"/a", b"x" * 3072, ERROR),
        (1, b"/a", b"x" * 200_000, ERROR),
        (1, b"/a", b"a\0b", ERROR),
        (1, b"/a b", b"x", ERROR),
        (0, b"-a", b"", ERROR),
        (4, b"/none", b"", NOENT),
        (4, b"/none/", b"", NOENT),
        (4, b"/a", b"x", ERROR),
        (3, b"/a", b"x", ERROR),
        (2, b"/a", b"x", ERROR),
        (5, b"/any/", b"", OK),
        (5, b"", b"", OK),
        (6, b"/any/", b"", NOENT),
        (7, b"/a", b"", ERROR),
        (255, b"/a", b"x", ERROR),
        (255, b"/" + 62 * b"a", b"", ERROR),
        (1, b"/a/", b"a\0b", ERROR),
    ],
)
def test_a_request_gets_its_answer_and_the_connection_goes_on(
    dom0: Raw, kind: int, path: bytes, value: bytes, reply: int
) -> None:
    assert dom0.ask(kind, path, value) == (reply, path, b"")
    assert dom0.ask(1, b"/z", b"v") == (OK, b"/z", b"")


@pytest.mark.parametrize("path", [b"a", b"/a/", b"/", b""])
def test_a_write_to_what_is_no_key_gets_an_error_and_ends_the_connection(dom0: Raw, path: bytes) -> None:
    assert dom0.ask(1, path, b"v") == (ERROR, path, b"")
    assert dom0.hear() == CLOSED


def test_a_write_to_what_is_no_key_ends_no_connection_that_can_only_read(daemons: Daemons) -> None:
    client = Raw(daemons.folder / "qubesdb.work.ro.sock")
    assert client.ask(1, b"/a/", b"v") == (ERROR, b"/a/", b"")
    assert client.ask(0, b"/a") == (NOENT, b"/a", b"")
    client.stream.close()


def test_an_unknown_command_gets_all_64_bytes_of_its_path_back(dom0: Raw) -> None:
    assert dom0.ask(99, b"/" + 63 * b"a") == (ERROR, b"/" + 63 * b"a", b"")


def test_what_was_asked_before_a_read_with_data_is_answered(dom0: Raw) -> None:
    dom0.stream.sendall(HEADER.pack(1, b"/a", 1) + b"v" + HEADER.pack(0, b"/a", 0) + HEADER.pack(0, b"/a", 1) + b"x")
    assert [dom0.hear() for _ in range(3)] == [(OK, b"/a", b""), (VALUE, b"/a", b"v"), CLOSED]


def test_a_read_with_data_ends_the_connection_without_a_word(dom0: Raw) -> None:
    assert dom0.ask(0, b"/a", b"v") == CLOSED


def test_a_path_of_64_bytes_is_cut(dom0: Raw) -> None:
    assert dom0.ask(1, b"/" + 63 * b"a", b"v")[0] == OK
    assert dom0.ask(0, b"/" + 62 * b"a") == (VALUE, b"/" + 62 * b"a", b"v")


def test_a_series_goes_by_prefix_sorted_and_that_of_everything_backwards(dom0: Raw) -> None:
    for path in (b"/ab", b"/a/b", b"/a", b"/c"):
        dom0.ask(1, path, b"v")
    assert dom0.series(3, b"/a") == [b"/a", b"/a/b", b"/ab"]
    assert dom0.series(3, b"/a/") == [b"/a/b"]
    assert dom0.series(3, b"") == [b"/a", b"/a/b", b"/ab", b"/c"]
    assert dom0.series(2, b"") == [b"/c", b"/ab", b"/a/b", b"/a"]
    assert dom0.series(2, b"/none") == []


def test_a_removal_of_a_directory_leaves_the_key_and_is_one_event(dom0: Raw, guest: Raw) -> None:
    for path in (b"/w", b"/w/x", b"/w/y"):
        dom0.ask(1, path, b"v")
    for path in (b"/w/x", b"/w/", b"/", b""):
        assert guest.ask(5, path)[0] == OK
    assert dom0.ask(4, b"/w/")[0] == OK
    assert [guest.hear(), guest.hear()] == [(EVENT, b"/w/", b"")] * 2
    assert guest.series(3, b"") == [b"/w"]


def test_events_come_to_the_writer_after_its_answer_once_for_each_registration(dom0: Raw) -> None:
    for _ in range(2):
        dom0.ask(5, b"/a")
    assert dom0.ask(1, b"/a", b"v")[0] == OK
    assert [dom0.hear(), dom0.hear()] == [(EVENT, b"/a", b"")] * 2
    assert dom0.ask(6, b"/a")[0] == OK
    assert dom0.ask(1, b"/a", b"v")[0] == OK
    assert dom0.hear() == (EVENT, b"/a", b"")
    assert dom0.ask(6, b"/a")[0] == OK
    assert dom0.ask(6, b"/a")[0] == NOENT


def test_a_half_message_keeps_everybody_waiting_until_it_is_whole(dom0: Raw, guest: Raw) -> None:
    guest.say(1, b"/a", length=2)
    time.sleep(0.1)
    dom0.say(0, b"/a")
    dom0.stream.settimeout(0.2)
    with pytest.raises(TimeoutError):
        dom0.hear()
    guest.stream.sendall(b"vv")
    dom0.stream.settimeout(5)
    assert guest.hear() == (OK, b"/a", b"")
    assert dom0.hear()[0] in (VALUE, NOENT)


def test_each_vm_has_its_own_keys(daemons: Daemons, dom0: Raw) -> None:
    dom0.ask(1, b"/a", b"v")
    other = Raw(daemons.folder / "qubesdb.other.sock")
    assert other.ask(0, b"/a")[0] == NOENT
    other.stream.close()


def test_a_client_that_does_not_read_keeps_nobody_waiting(daemons: Daemons, guest: Raw) -> None:
    deaf = Raw(daemons.folder / "work/qubesdb.sock")
    for n in range(200):
        guest.ask(1, b"/k%d" % n, b"x" * 3000)
    for _ in range(3):
        deaf.say(2, b"/k")
    assert guest.ask(0, b"/k7")[0] == VALUE
    deaf.stream.close()
    assert guest.ask(0, b"/k7")[0] == VALUE


def test_a_vms_daemon_that_starts_again_gets_all_keys_and_dom0s_starts_empty() -> None:
    dom0, vm = Side(), Side()
    vm.join(dom0)
    heard: list[Event] = []
    client = Client(heard.append)
    dom0.handle(client, Request(Command.WRITE, "/a", b"1"))
    dom0.handle(client, Request(Command.WRITE, "/b", b"2"))
    assert vm.database.values == {"/a": b"1", "/b": b"2"}
    vm.part()
    fresh = Side()
    watcher = Client(heard.append)
    watcher.watches["/"] = 1
    fresh.clients.add(watcher)
    heard.clear()
    fresh.join(dom0)
    assert fresh.database.values == dom0.database.values
    assert [event.path for event in heard if isinstance(event, WatchEvent)] == ["/b", "/a"]
    dom0.part()
    empty = Side()
    fresh.join(empty)
    assert empty.database.values == {}
    assert fresh.database.values == {"/a": b"1", "/b": b"2"}


def test_a_removal_that_finds_nothing_on_the_other_side_ends_the_pair() -> None:
    dom0, vm = Side(), Side()
    vm.join(dom0)
    dom0.database.values["/only-here"] = b""
    dom0.handle(Client(lambda event: None), Request(Command.RM, "/only-here"))
    assert dom0.ended
    assert vm.ended


def is_heard(path: Path) -> bool:
    """Whether a daemon answers at *path*. The socket of one that has ended otherwise than it should is still there."""
    try:
        client = Raw(path)
    except ConnectionRefusedError:
        return False
    try:
        return client.ask(0, b"/none") == (NOENT, b"/none", b"")
    finally:
        client.stream.close()


@pytest.mark.parametrize(("count", "survives"), [(56, True), (57, False)])
def test_more_removals_at_once_than_there_is_room_to_reply_to_end_the_daemon_that_gets_them(
    daemons: Daemons, dom0: Raw, guest: Raw, count: int, survives: bool
) -> None:
    for n in range(count):
        dom0.ask(1, b"/f/%d" % n)
    dom0.stream.sendall(b"".join(HEADER.pack(4, b"/f/%d" % n, 0) for n in range(count)))
    assert [dom0.hear()[0] for _ in range(count)] == [OK] * count
    assert is_heard(daemons.folder / "work/qubesdb.sock") is survives
    assert dom0.ask(1, b"/a", b"v")[0] == OK, "dom0's own goes on, and tells nobody"


def test_a_folder_goes_with_one_reply(dom0: Raw, guest: Raw) -> None:
    for n in range(400):
        dom0.ask(1, b"/f/%d" % n)
    assert dom0.ask(4, b"/f/")[0] == OK
    assert guest.series(3, b"") == []


def test_a_removal_in_the_vm_of_what_dom0s_daemon_lacks_after_its_restart_ends_both() -> None:
    pair = Side(), Side()
    pair[1].join(pair[0])
    pair[1].database.values["/a"] = b"v"
    pair[1].handle(Client(lambda event: None), Request(Command.RM, "/a"))
    assert pair[0].ended
    assert pair[1].ended


@pytest.mark.parametrize("writer", ["reply", "event"])
def test_dom0s_daemon_dies_when_it_writes_to_a_client_that_has_closed_and_the_vms_does_not(
    daemons: Daemons, dom0: Raw, guest: Raw, writer: str
) -> None:
    for inside, path in ((True, "work/qubesdb.sock"), (False, "qubesdb.work.sock")):
        client, other = Raw(daemons.folder / path), Raw(daemons.folder / path)
        client.ask(5, b"/a")
        other.ask(0, b"/none")
        with daemons.stopped():
            if writer == "reply":
                client.say(0, b"/a")
            else:
                other.say(1, b"/a", b"v")
            client.stream.close()
        assert is_heard(daemons.folder / path) is inside
    assert guest.ask(0, b"/none")[0] == NOENT
    assert not is_heard(daemons.folder / path)


def test_it_ends_with_its_sockets_when_it_is_told_to(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "lab.qubesdb", str(tmp_path), f"work={tmp_path / 'vm'}"]
    environment = {"PYTHONPATH": f"{PROJECT}:{PROJECT / '_utils'}"}
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert sorted(p.name for p in tmp_path.glob("*.sock")) == ["qubesdb.work.ro.sock", "qubesdb.work.sock"]
        assert sorted(p.name for p in tmp_path.glob("vm/*.sock")) == ["qubesdb.ro.sock", "qubesdb.sock"]
        process.terminate()
        assert process.wait(10) == 0
    assert not list(tmp_path.rglob("*.sock"))
