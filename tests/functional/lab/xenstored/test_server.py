"""The lab's XenStore daemon stays up and bounded whatever its clients do."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.xenstored.process import OwnXenstored
from lab.xenstored.server import OUTPUT_LIMIT
from tests.support import seeds
from tests.support.lab_store import RawClient, wait_until
from vminterface.errors import ConnectionLost, StoreError
from vminterface.wire.xenstore import Op


@pytest.fixture
def store(tmp_path: Path) -> Iterator[OwnXenstored]:
    with OwnXenstored(tmp_path / "s") as daemon:
        yield daemon


@pytest.fixture
def dom0(store: OwnXenstored) -> Iterator[RawClient]:
    client = RawClient(store.socket_path)
    yield client
    client.close()


def raw(path: str) -> socket.socket:
    stream = socket.socket(socket.AF_UNIX)
    stream.connect(path)
    stream.settimeout(10)
    return stream


def guest_with_home(store: OwnXenstored, dom0: RawClient, domid: int) -> str:
    store.create(domid)
    dom0.ask(Op.MKDIR, f"/local/domain/{domid}")
    dom0.ask(Op.SET_PERMS, f"/local/domain/{domid}", arguments=(f"n{domid}",))
    return store.socket(domid)


def write_for_ever(stream: socket.socket) -> None:
    """Write 900 different nodes again and again and take what is answered."""
    for number in range(1_000_000):
        name = f"node-{number % 900}\0".encode()
        stream.sendall(struct.pack("<IIII", Op.WRITE, 1, 0, len(name)) + name)
        with contextlib.suppress(BlockingIOError):
            stream.recv(65536, socket.MSG_DONTWAIT)


def resident_kib(store: OwnXenstored) -> int:
    assert store.process is not None
    status = Path(f"/proc/{store.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


def test_a_message_that_is_too_long_ends_that_connection_alone(store: OwnXenstored, dom0: RawClient) -> None:
    with raw(store.socket_path) as stream:
        stream.sendall(struct.pack("<IIII", Op.READ, 1, 0, 4097))
        assert stream.recv(100) == b""
    assert dom0.ask(Op.READ, "/tool")[0] == "OK"


def test_a_restart_ends_every_connection_and_keeps_the_nodes(store: OwnXenstored, dom0: RawClient) -> None:
    guest = guest_with_home(store, dom0, 1)
    dom0.ask(Op.WRITE, "/local/domain/1/k", b"kept")
    with raw(store.socket_path) as one, raw(guest) as other:
        store.restart()
        assert (one.recv(1), other.recv(1)) == (b"", b"")
    again, inside = RawClient(store.socket_path), RawClient(guest)
    assert again.ask(Op.READ, "/local/domain/1/k")[1] == b"kept"
    assert inside.ask(Op.READ, "k")[1] == b"kept"
    for client in (again, inside):
        client.close()


@pytest.mark.fuzz
def test_random_bytes_end_connections_but_never_the_daemon(store: OwnXenstored, dom0: RawClient) -> None:
    rng = seeds.chance("bytes to the XenStore daemon")
    for _ in range(300):
        with raw(store.socket_path) as stream:
            length = rng.choice((0, 1, 8, 40))
            header = struct.pack("<IIII", rng.randrange(25), rng.randrange(9), rng.choice((0, 0, 1)), length)
            junk = bytes(rng.choice(b"\0/@abcT1n0") for _ in range(rng.randrange(60)))
            stream.sendall(rng.choice((header + junk, rng.randbytes(30), header[: rng.randrange(16)])))
    assert dom0.ask(Op.READ, "/tool")[0] == "OK"


def test_a_client_that_does_not_read_is_served_no_further_and_costs_little(
    store: OwnXenstored, dom0: RawClient
) -> None:
    dom0.ask(Op.WRITE, "/big", b"x" * 4000)
    before = resident_kib(store)
    request = struct.pack("<IIII", Op.READ, 1, 0, 5) + b"/big\0"
    with raw(store.socket_path) as stream:
        stream.settimeout(0.5)
        with pytest.raises(TimeoutError):
            stream.sendall(request * 100_000)
        assert dom0.ask(Op.READ, "/tool")[0] == "OK"
        assert resident_kib(store) - before < 20 * OUTPUT_LIMIT // 1024


def test_events_for_a_client_that_does_not_read_are_merged(store: OwnXenstored, dom0: RawClient) -> None:
    watcher = RawClient(store.socket_path)
    watcher.ask(Op.WATCH, "/x", arguments=("t",))
    watcher.new_events()
    before = resident_kib(store)
    for number in range(20_000):
        dom0.ask(Op.WRITE, f"/x/{number % 10}", b"")
    assert watcher.new_events() == {(f"/x/{number}", "t") for number in range(10)}
    assert resident_kib(store) - before < 4096
    watcher.close()


def test_a_guest_that_floods_a_watcher_that_does_not_read_waits_for_it(store: OwnXenstored, dom0: RawClient) -> None:
    path = guest_with_home(store, dom0, 1)
    watcher = raw(store.socket_path)
    payload = b"/local/domain/1\0" + b"t" * 2000 + b"\0"
    watcher.sendall(struct.pack("<IIII", Op.WATCH, 1, 0, len(payload)) + payload)
    with raw(path) as stream:
        stream.settimeout(1)
        with pytest.raises(TimeoutError):
            write_for_ever(stream)
        assert dom0.ask(Op.READ, "/tool")[0] == "OK"
        watcher.close()  # now nobody has to be waited for
        stream.settimeout(10)
        assert stream.recv(65536)


def test_a_released_domains_connections_end_and_its_socket_goes(store: OwnXenstored, dom0: RawClient) -> None:
    path = guest_with_home(store, dom0, 1)
    guest = RawClient(path)
    assert guest.ask(Op.WRITE, "x")[0] == "OK"
    store.destroy(1)
    assert guest.ended()
    assert not os.path.exists(path)
    assert dom0.ask(Op.DIRECTORY, "/local/domain")[2] == ()


def test_a_domain_that_does_not_exist_cannot_be_introduced(store: OwnXenstored) -> None:
    with pytest.raises(StoreError, match="ENOENT"):
        store.introduce(9)


def test_it_ends_at_sigterm_and_takes_its_socket_along(store: OwnXenstored) -> None:
    process = store.process
    assert process is not None
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    assert not os.path.exists(store.socket_path)


def test_a_daemon_that_cannot_start_is_one_sentence(tmp_path: Path) -> None:
    too_long = tmp_path / ("x" * 100)
    with pytest.raises(ConnectionLost, match="did not start"):
        OwnXenstored(too_long).start()


def test_many_clients_are_served_side_by_side(store: OwnXenstored) -> None:
    clients = [RawClient(store.socket_path) for _ in range(200)]
    for number, client in enumerate(clients):
        assert client.ask(Op.WRITE, f"/c/{number}", b"x")[0] == "OK"
    for client in clients:
        client.close()
    last = RawClient(store.socket_path)
    assert len(last.ask(Op.DIRECTORY, "/c")[2]) == 200
    assert store.process is not None
    descriptors = f"/proc/{store.process.pid}/fd"
    assert wait_until(lambda: len(os.listdir(descriptors)) < 20)
    last.close()
