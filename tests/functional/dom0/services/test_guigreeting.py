"""Both ends of a GUI connection on a socket, and what a VM then knows of its screen and keyboard."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from lab.xenstored.fakexen import missing
from tests.support.dom0 import Dom0
from tests.support.stopwatch import Stopwatch
from tests.support.stores import need
from tests.support.xservers import XServer, lack
from vminterface.channel.gui import connect, socket_path
from vminterface.deadline import Deadline
from vminterface.dom0.inventory.targets import Targets
from vminterface.dom0.services import guigreeting as daemon
from vminterface.errors import ConnectionLost, DeadlineExceeded, InvalidValue, RemoteProtocolError, VMNotRunning
from vminterface.values.keyboard import KeyboardLayout
from vminterface.values.monitor import MonitorLayout
from vminterface.vm.agent import gui as agent
from vminterface.vm.handlers import setmonitorlayout
from vminterface.vm.machine.machine import Machine
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
    gui = daemon.begin(ours, daemon.screen_of(TWO), soon())
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
    daemon.begin(ours, daemon.screen_of(ONE), soon())
    other.end()
    assert screen_file(machine) == "1368 768 xconf\n"
    server = XServer.xvfb()
    try:
        setmonitorlayout.apply(MonitorLayout.parse("1024 768 0 0\n"), machine, Deadline.after(10), server.display)
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
            begun = InThread(
                lambda: daemon.begin(ours, daemon.screen_of(ONE), soon(), target=target, keyboard=keyboard)
            )
            value = guest.wait_for("qubes-keyboard", lambda value: value is not None, timeout=5)
            assert value is not None
            assert value.decode() == keyboard.keymap().text
            assert begun.is_alive()
            agent.begin(theirs, Machine(str(tmp_path / "vm")), soon())
            begun.end()


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Targets]:
    """A host on which ``work`` runs, and a folder for what stands for its vchans."""
    need(missing())
    (tmp_path / "vchan").mkdir()
    monkeypatch.setenv("VCHAN_SOCKET_DIR", str(tmp_path / "vchan"))
    with Dom0(tmp_path / "xen") as host:
        host.start_vm("work")
        with host.targets() as targets:
            yield targets


@contextmanager
def answering(path: str, work: Callable[[socket.socket], object]) -> Iterator[InThread]:
    """Let *work* have the first connection that is made to *path*."""
    with socket.socket(socket.AF_UNIX) as ear:
        ear.bind(path)
        ear.listen(1)
        ear.settimeout(5)

        def take() -> object:
            with ear.accept()[0] as stream:
                return work(stream)

        yield InThread(take)


def test_a_vms_agent_is_greeted_on_the_socket_that_stands_for_its_vchan(work: Targets, tmp_path: Path) -> None:
    machine = Machine(str(tmp_path / "vm"))
    keyboard = KeyboardLayout.parse("pl+dvorak")
    path = socket_path(work.one("work").domid or 0)
    assert path == f"{tmp_path}/vchan/vchan.1.0.6000.sock"
    with answering(path, lambda stream: agent.begin(stream, machine, soon())) as there:
        greeting = daemon.greet(work, "work", XConf.of_screen(1366, 768), keyboard=keyboard)
        there.end()
    assert (str(greeting.version), greeting.screen.width) == ("1.8", 1368)
    assert screen_file(machine) == "1368 768 xconf\n"
    target = work.one("work")
    assert target.store.read(target.path("qubes-keyboard")).decode() == keyboard.keymap().text


def test_an_agent_of_another_version_is_named(work: Targets, tmp_path: Path) -> None:
    path = str(tmp_path / "agent")

    def reply(stream: socket.socket) -> bytes:
        stream.sendall(Version(2, 1).render())
        return stream.recv(1)

    with answering(path, reply) as there:
        with pytest.raises(RemoteProtocolError) as raised:
            daemon.greet(work, "work", XConf.of_screen(800, 600), path=path)
        assert there.end() == b""
    assert str(raised.value) == "work: GUI protocol 2.1 (expected 1.x, up to 1.8)"


def test_an_agent_that_says_nothing_costs_the_time_that_it_was_given(work: Targets, tmp_path: Path) -> None:
    path = str(tmp_path / "agent")
    with answering(path, lambda stream: stream.recv(1)):
        began = Stopwatch()
        with pytest.raises(DeadlineExceeded, match=r"^work: the GUI connection: no reply within 0\.2 s$"):
            daemon.greet(work, "work", XConf.of_screen(800, 600), path=path, timeout=0.2)
    began.check(2)


def test_an_agent_that_says_more_than_its_version_is_refused_without_reading_it_all(
    work: Targets, tmp_path: Path
) -> None:
    path = str(tmp_path / "agent")

    def flood(stream: socket.socket) -> None:
        stream.settimeout(5)
        stream.sendall(CURRENT.render() + bytes(64 << 20))

    with answering(path, flood) as there:
        greeting = daemon.greet(work, "work", XConf.of_screen(800, 600), path=path)
        assert isinstance(there.end(), OSError)
    assert greeting.version == CURRENT


def test_nobody_there_is_one_sentence_at_once(work: Targets, tmp_path: Path) -> None:
    with pytest.raises(ConnectionLost, match=r"^work: no GUI agent listens at .*/vchan\.1\.0\.6000\.sock: No such"):
        daemon.greet(work, "work", XConf.of_screen(800, 600))
    with pytest.raises(ConnectionLost, match="path too long"):
        daemon.greet(work, "work", XConf.of_screen(800, 600), path="/" + "x" * 200)
    with pytest.raises(VMNotRunning, match="personal"):
        daemon.greet(work, "personal", XConf.of_screen(800, 600))


def test_an_agent_that_has_connections_enough_is_said_to(work: Targets, tmp_path: Path) -> None:
    path = str(tmp_path / "agent")
    with socket.socket(socket.AF_UNIX) as ear, ExitStack() as others:
        ear.bind(path)
        ear.listen(0)
        others.enter_context(connect(path, soon()))
        with pytest.raises(ConnectionLost, match="takes no more connections"):
            daemon.greet(work, "work", XConf.of_screen(800, 600), path=path)


@pytest.mark.parametrize("text", ["", "1920", "1920x", "0x600", "800x600 ", "40000x600", "-1x5", "8e2x600", "800X600"])
def test_what_is_no_screen_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="is not a valid screen: "):
        daemon.parse_screen(text)


def test_the_number_of_this_domain_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VCHAN_DOMAIN", "7")
    assert socket_path(3).endswith("/vchan.3.7.6000.sock")
    monkeypatch.setenv("VCHAN_DOMAIN", "dom0")
    with pytest.raises(InvalidValue, match="VCHAN_DOMAIN: 'dom0' is not a valid domain number"):
        socket_path(3)


def test_an_agent_of_another_major_version_gets_no_screen(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.sendall(Version(2, 0).render())
    with pytest.raises(RemoteProtocolError, match=r"GUI protocol 2\.0"):
        daemon.begin(ours, daemon.screen_of(ONE), soon())
    ours.close()
    assert theirs.recv(100) == b""


@pytest.mark.parametrize("says", [b"", CURRENT.render(), CURRENT.render() + bytes(15)])
def test_a_daemon_that_falls_silent_costs_the_agent_its_deadline_and_nothing_is_recorded(
    tmp_path: Path, pair: tuple[socket.socket, socket.socket], says: bytes
) -> None:
    machine = Machine(str(tmp_path))
    ours, theirs = pair
    ours.sendall(says)
    began = Stopwatch()
    with pytest.raises(DeadlineExceeded, match=r"no reply within 0\.3 s"):
        agent.begin(theirs, machine, soon(0.3))
    began.check(2, least=0.2)
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
    gui = daemon.begin(ours, daemon.screen_of(ONE), soon())
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
        daemon.begin(ours, daemon.screen_of(ONE), soon())


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
    assert "closed the connection after being offered GUI protocol 1.8 (expected one that speaks 1.x)" in str(error)
    assert screen_file(machine) is None
