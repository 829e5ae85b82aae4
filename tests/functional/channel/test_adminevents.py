"""What happens in qubesd arrives as it happens; a stream that breaks, hangs or floods is an error in time."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab.qubesd.daemon import Qubesd
from vminterface.channel.adminapi import AdminAPI
from vminterface.channel.adminevents import EventStream
from vminterface.deadline import Deadline
from vminterface.errors import (
    ConnectionLost,
    DeadlineExceeded,
    OutputTooLarge,
    PermissionDenied,
    RemoteProtocolError,
    VMInterfaceError,
)
from vminterface.wire.adminevents import EVENT_LIMIT, AdminEvent

ESTABLISHED = b"1\0\0connection-established\0\0"


def named(stream: EventStream, name: str) -> AdminEvent:
    """The next event of this name."""
    while (event := stream.next(Deadline.after(5))).name != name:
        pass
    return event


def test_what_happens_arrives_with_its_vm_and_its_values(qubesd: Qubesd) -> None:
    with AdminAPI.open().events() as stream:
        AdminAPI.open().set_property("work", "debug", "True")
        expected = {"name": "debug", "newvalue": "True", "oldvalue": "False"}
        assert named(stream, "property-set:debug") == AdminEvent("work", "property-set:debug", expected)
        AdminAPI.open().set_feature("work", "service.cups", "")
        event = named(stream, "domain-feature-set:service.cups")
        assert event.values == {"feature": "service.cups", "value": ""}
        qubesd.start_vm("sys-net")
        assert named(stream, "domain-start").vm == "sys-net"


def test_a_deadline_that_passes_costs_nothing_of_what_comes_later(qubesd: Qubesd) -> None:
    with AdminAPI.open().events() as stream:
        with pytest.raises(DeadlineExceeded):
            stream.next(Deadline.after(0.05))
        qubesd.events.fire("work", "firewall-changed")
        assert stream.next(Deadline.after(5)).name == "firewall-changed"


def test_a_stream_that_was_closed_is_noticed_by_qubesd(qubesd: Qubesd) -> None:
    stream = AdminAPI.open().events()
    assert qubesd.events.listeners == 1
    stream.close()
    stream.close()
    until = time.monotonic() + 30
    while qubesd.events.listeners and time.monotonic() < until:
        time.sleep(0.02)
    assert qubesd.events.listeners == 0


def test_a_qubesd_that_ends_ends_the_stream(qubesd: Qubesd) -> None:
    with AdminAPI.open().events() as stream:
        qubesd.stop_listening()
        with pytest.raises(ConnectionLost, match=r"qubesd\.sock: qubesd stopped sending events"):
            stream.next(Deadline.after(5))
    with pytest.raises(ConnectionLost, match=r"qubesd\.sock: "):
        AdminAPI.open().events()


def test_a_qubesd_that_hangs_costs_the_deadline(qubesd: Qubesd) -> None:
    qubesd.hung.set()
    with pytest.raises(DeadlineExceeded, match=r"within 0\.2 s"):
        AdminAPI.open().events(0.2)


@contextmanager
def sending(path: Path, data: bytes, end: bool = True) -> Iterator[Callable[[], EventStream]]:
    """A peer that sends *data* to whoever connects."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        over = threading.Event()

        def serve() -> None:
            connection = listener.accept()[0]
            with connection:
                connection.settimeout(5)
                connection.recv(100)
                try:
                    connection.sendall(data)
                except OSError:
                    return
                if not end:
                    over.wait(10)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield lambda: EventStream(str(path), b"admin.Events+ dom0 name dom0\0", Deadline.after(2))
        over.set()
        thread.join(10)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", PermissionDenied),
        (b"0\0", RemoteProtocolError),
        (b"2\0QubesException\0\0no\0", RemoteProtocolError),
        (b"1x\0\0a\0\0", RemoteProtocolError),
        (b"1\0\0\xff\0\0", RemoteProtocolError),
        (b"1\0\0half", ConnectionLost),
        (b"1\0\0" + b"x" * (2 * EVENT_LIMIT), OutputTooLarge),
        (b"1\0\0a\0" + b"k\0v\0" * 5000, OutputTooLarge),
    ],
)
def test_what_is_no_event_is_an_error_of_its_own(tmp_path: Path, data: bytes, error: type[Any]) -> None:
    with sending(tmp_path / "peer.sock", ESTABLISHED + data if data else b"") as connect:
        with pytest.raises(error) as raised, connect() as stream:
            stream.next(Deadline.after(2))
        assert isinstance(raised.value, VMInterfaceError)
        assert "\n" not in str(raised.value)


def test_events_that_arrive_in_pieces_or_together_are_the_same(tmp_path: Path) -> None:
    several = ESTABLISHED + b"1\0work\0property-set:ip\0name\0ip\0newvalue\0\0\0" + b"1\0work\0domain-start\0\0"
    with sending(tmp_path / "peer.sock", several, end=False) as connect, connect() as stream:
        assert stream.next(Deadline.after(2)) == AdminEvent("work", "property-set:ip", {"name": "ip", "newvalue": ""})
        assert stream.next(Deadline.after(2)) == AdminEvent("work", "domain-start", {})
