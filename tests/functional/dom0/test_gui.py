"""Both ends of a GUI connection on a socket, and what a VM then knows of its screen and keyboard."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.fakexen import missing
from tests.support.dom0 import Dom0
from tests.support.stores import need
from tests.support.xservers import XServer, lack
from vminterface.deadline import Deadline
from vminterface.dom0 import gui as daemon
from vminterface.errors import ConnectionLost, DeadlineExceeded, RemoteProtocolError
from vminterface.values.keyboard import KeyboardLayout
from vminterface.values.monitor import MonitorLayout
from vminterface.vm import gui as agent
from vminterface.vm.handlers import setmonitorlayout
from vminterface.vm.machine import Machine
from vminterface.wire.gui import CURRENT, Message, Type, Version, XConf

ONE = MonitorLayout.parse("1366 768 0 0\n")
TWO = MonitorLayout.parse("1920 1080 0 0 508 285\n1280 800 1920 0\n")


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ends = socket.socketpair()
    yield ends
    for end in ends:
        end.close()


class InThread(threading.Thread):
    """Does one thing beside the test and keeps what came of it."""

    def __init__(self, work: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self._work = work
        self.result: object = None
        self.start()

    def run(self) -> None:
        try:
            self.result = self._work()
        except Exception as error:
            self.result = error

    def end(self) -> object:
        self.join(10)
        assert not self.is_alive()
        return self.result


def soon(seconds: float = 5.0) -> Deadline:
    return Deadline.after(seconds)


def screen_file(machine: Machine) -> str | None:
    return machine.read_text("/run/vminterface/screen")


def test_the_screen_is_that_of_the_monitor_layout() -> None:
    assert daemon.screen_of(ONE) == XConf(1368, 768, 24, 4105)
    assert daemon.screen_of(TWO) == XConf(3200, 1080, 24, 13501)
    aside = MonitorLayout.parse("800 600 100 50\n")
    assert daemon.screen_of(aside) == XConf.of_screen(900, 650)


def test_the_widest_layout_fits_into_a_screen() -> None:
    assert daemon.screen_of(MonitorLayout.parse("16383 1080 16384 0\n")).width == 32768


@pytest.mark.parametrize("minor", [0, 3, 4, 8])
def test_both_ends_agree_and_messages_go(tmp_path: Path, pair: tuple[socket.socket, socket.socket], minor: int) -> None:
    machine = Machine(str(tmp_path))
    ours, theirs = pair
    other = InThread(lambda: agent.begin(theirs, machine, soon(), version=Version(1, minor)))
    gui = daemon.begin(ours, TWO, soon())
    there = other.end()
    assert screen_file(machine) == "3200 1080 xconf\n"
    gui.send(Message(Type.KEYMAP_NOTIFY, 0, bytes(32)), soon())
    assert there.receive(soon()) == Message(Type.KEYMAP_NOTIFY, 0, bytes(32))  # type: ignore[attr-defined]
    theirs.close()
    with pytest.raises(ConnectionLost):
        gui.receive(soon())


def test_a_later_monitor_layout_overrides_what_the_connection_said(
    tmp_path: Path, pair: tuple[socket.socket, socket.socket]
) -> None:
    need(lack("Xvfb", "xrandr"))
    machine = Machine(str(tmp_path))
    ours, theirs = pair
    other = InThread(lambda: agent.begin(theirs, machine, soon()))
    daemon.begin(ours, ONE, soon())
    other.end()
    assert screen_file(machine) == "1368 768 xconf\n"
    server = XServer.xvfb()
    try:
        setmonitorlayout.show(MonitorLayout.parse("1024 768 0 0\n"), machine, Deadline.after(10), server.display)
    finally:
        server.end()
    assert screen_file(machine) == "1024 768 layout\n"


def test_the_keyboard_is_there_before_the_agent_knows_the_screen(
    tmp_path: Path, pair: tuple[socket.socket, socket.socket]
) -> None:
    need(missing())
    keyboard = KeyboardLayout.parse("pl+dvorak")
    ours, theirs = pair
    with Dom0(tmp_path / "xen") as host:
        host.start_vm("work")
        with host.targets() as targets, host.guest_store("work") as guest:
            target = targets.one("work")
            begun = InThread(lambda: daemon.begin(ours, ONE, soon(), target=target, keyboard=keyboard))
            value = guest.wait_for("qubes-keyboard", lambda value: value is not None, timeout=5)
            assert value is not None
            assert value.decode() == keyboard.keymap().text
            assert begun.is_alive()
            agent.begin(theirs, Machine(str(tmp_path / "vm")), soon())
            begun.end()


def test_an_agent_of_another_major_version_gets_no_screen(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.sendall(Version(2, 0).render())
    with pytest.raises(RemoteProtocolError, match=r"GUI protocol 2\.0"):
        daemon.begin(ours, ONE, soon())
    ours.close()
    assert theirs.recv(100) == b""


@pytest.mark.parametrize("says", [b"", CURRENT.render(), CURRENT.render() + bytes(15)])
def test_a_daemon_that_falls_silent_costs_the_agent_its_deadline_and_nothing_is_recorded(
    tmp_path: Path, pair: tuple[socket.socket, socket.socket], says: bytes
) -> None:
    machine = Machine(str(tmp_path))
    ours, theirs = pair
    ours.sendall(says)
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=r"no answer within 0\.3 s"):
        agent.begin(theirs, machine, soon(0.3))
    assert 0.2 < time.monotonic() - began < 2
    ours.close()
    assert screen_file(machine) is None


def test_a_screen_that_ends_short_or_is_absurd_is_an_error_and_not_recorded(
    tmp_path: Path, pair: tuple[socket.socket, socket.socket]
) -> None:
    machine = Machine(str(tmp_path))
    ours, theirs = pair
    ours.sendall(CURRENT.render() + bytes(16))
    with pytest.raises(RemoteProtocolError, match="0 x 0 pixels"):
        agent.begin(theirs, machine, soon())
    assert screen_file(machine) is None


def test_an_agent_that_reads_nothing_holds_nobody_up(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.sendall(CURRENT.render())
    gui = daemon.begin(ours, ONE, soon())
    # More than any socket keeps for a reader.
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    with pytest.raises(DeadlineExceeded):
        gui.send(Message(Type.CLIPBOARD_DATA, 0, bytes(500_000)), soon(0.3))


def test_an_agent_that_goes_before_it_told_its_version_is_an_error(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.close()
    with pytest.raises(
        RemoteProtocolError, match="the agent closed the connection before it sent its GUI protocol version"
    ):
        daemon.begin(ours, ONE, soon())


@pytest.mark.parametrize("reads_it", [True, False])
def test_a_daemon_of_another_major_version_is_named_to_the_agent_and_nothing_is_recorded(
    tmp_path: Path, pair: tuple[socket.socket, socket.socket], reads_it: bool
) -> None:
    """The real one (xside.c) shows its user a message and ends, and says nothing to the agent."""
    machine = Machine(str(tmp_path))
    ours, theirs = pair
    begun = InThread(lambda: agent.begin(theirs, machine, soon()))
    assert ours.recv(4, 0 if reads_it else socket.MSG_PEEK) == CURRENT.render()
    ours.close()
    error = begun.end()
    assert isinstance(error, RemoteProtocolError)
    assert "closed the connection when it was offered GUI protocol 1.8 (expected one that speaks 1.x)" in str(error)
    assert screen_file(machine) is None
