"""How connections to a QubesDB end, and how fast changes come: no daemon of the pair dies of it.

The lab's daemons have the limits of the real ones: dom0's dies of a client that has closed before its reply is
written, the VM's of a removal that it has no room to reply to, and both of one that finds nothing.
"""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from signal import Signals
from typing import Any

import pytest

from tests.support.interrupts import interrupted
from tests.support.lab_store import wait_until
from tests.support.qubesdb import PROJECT, Daemons
from tests.support.stopwatch import Stopwatch
from tests.support.warm import WarmPython
from vminterface.channel.qubesdb import readout
from vminterface.channel.qubesdb.store import QubesDB
from vminterface.channel.store import Read, Remove, Write
from vminterface.errors import DeadlineExceeded, VMInterfaceError
from vminterface.wire.qubesdb import Command, Request


@pytest.fixture
def daemons(tmp_path: Path) -> Iterator[Daemons]:
    with Daemons(tmp_path / "q", "work") as running:
        yield running


def in_work(daemons: Daemons) -> bool:
    """Whether both daemons of the pair serve, and speak to each other."""
    mark = str(time.monotonic()).encode()
    try:
        with daemons.dom0("work") as dom0, daemons.guest("work") as guest:
            dom0.write("/mark", mark)
            return guest.read("/mark") == mark
    except VMInterfaceError:
        return False


def hung(store: QubesDB) -> None:
    with pytest.raises(DeadlineExceeded):
        store.batch([Read("/a")] * 20, timeout=0.2)


def burst(store: QubesDB) -> None:
    with pytest.raises(DeadlineExceeded):
        store.batch([Write(f"/a/{n}", b"x" * 1000) for n in range(2000)], timeout=0.2)


def cut_short(store: QubesDB) -> None:
    with interrupted(after=0.1):
        store.read("/a", timeout=5)


def dropped(store: QubesDB) -> None:
    """Nobody closes it: a request is on its way when the last variable that held it goes."""
    connection = store._connection
    connection._line.owes = True
    connection._socket.send(connection._wire.send(Request(Command.READ, "/a")))


@pytest.mark.parametrize("leave", [hung, burst, cut_short, dropped])
def test_a_daemon_that_goes_on_after_we_have_given_up_lives(daemons: Daemons, leave: Callable[..., Any]) -> None:
    store = daemons.dom0("work")
    with daemons.stopped():
        leave(store)
        del store
        gc.collect()
    assert in_work(daemons)


@pytest.mark.parametrize("leave", [QubesDB.close, lambda store: None])
def test_a_daemon_whose_watch_was_not_taken_back_lives(daemons: Daemons, leave: Callable[..., Any]) -> None:
    other = daemons.dom0("work")
    store = daemons.dom0("work")
    watch = store.watch(["/a"])
    with daemons.stopped():
        with pytest.raises(DeadlineExceeded):
            other.write("/a", b"x", timeout=0.2)
        leave(store)
        del store, watch
        gc.collect()
    assert in_work(daemons)


PROGRAM = """
import sys
from vminterface.channel.qubesdb.store import QubesDB
from vminterface.channel.store import Write
with QubesDB.open("work", folder=sys.argv[1]) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    store.batch([Write("/a/b", b"x")] * 200, timeout=0.3)
"""


def test_a_program_that_ends_at_its_deadline_leaves_somebody_who_reads_on(daemons: Daemons) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(daemons.folder)], env={**os.environ, "PYTHONPATH": f"{PROJECT}/_utils"},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as program:  # fmt: skip
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        with daemons.stopped():
            said = program.communicate("\n", 10)[1]
            assert "DeadlineExceeded" in said
            assert program.returncode == 1
    assert in_work(daemons)


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The program of the process that reads, a copy that is this test's alone and holds on for a short time."""
    program = tmp_path / "readout.py"
    program.write_text(Path(readout.__file__).read_text().replace("HOLD = 30.0", "HOLD = 1.0"))
    monkeypatch.setattr(readout, "__file__", str(program))
    monkeypatch.setattr(readout, "_control", None)
    return program


def running(program: Path) -> int:
    """How many processes have *program* among their words."""
    found = 0
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found += str(program).encode() in entry.read_bytes().split(b"\0")
    return found


def test_one_process_reads_for_all_connections_and_ends_once_there_is_nothing_to_read(
    daemons: Daemons, reader: Path
) -> None:
    with daemons.stopped():
        for _ in range(3):
            hung(daemons.dom0("work"))
        assert running(reader) == 1
    assert in_work(daemons)
    assert wait_until(lambda: not running(reader))
    with daemons.stopped():
        hung(daemons.dom0("work"))
        assert running(reader) == 1
    assert in_work(daemons)


def test_a_connection_is_read_for_no_longer_than_it_is_worth(daemons: Daemons, reader: Path) -> None:
    with daemons.stopped():
        hung(daemons.dom0("work"))
        assert wait_until(lambda: not running(reader))


def test_where_no_process_can_be_had_this_one_waits_for_a_moment(
    daemons: Daemons, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readout, "_control", None)
    monkeypatch.setattr(sys, "executable", "/none")
    monkeypatch.setattr(readout, "HOLD_HERE", 0.1)
    with daemons.stopped():
        started = Stopwatch()
        hung(daemons.dom0("work"))
        started.check(2)


CHANGES: dict[str, Callable[[QubesDB], object]] = {
    "singly": lambda store: store.batch([Remove(f"/f/k{n}") for n in range(0, 400, 2)]),
    "all of a folder": lambda store: store.batch([Remove(f"/f/k{n}") for n in range(400)]),
    "a folder": lambda store: store.batch([Remove("/f/")]),
    "a key and its folder": lambda store: store.remove("/f"),
    "between writes": lambda store: store.batch(
        [change for n in range(400) for change in (Write("/g", b""), Remove(f"/f/k{n}"))]
    ),
}  # fmt: skip


@pytest.mark.parametrize("side", ["dom0", "guest"])
@pytest.mark.parametrize("how", CHANGES)
def test_many_removals_leave_the_other_sides_daemon_alive(daemons: Daemons, how: str, side: str) -> None:
    with getattr(daemons, side)("work") as store:
        store.batch([Write(f"/f/k{n}", b"x") for n in range(400)])
        CHANGES[how](store)
        left = 200 if how == "singly" else 0
        assert sum(path.startswith("/f/") for path in store.tree("/")) == left
    assert in_work(daemons)
    with daemons.dom0("work") as dom0, daemons.guest("work") as guest:
        assert dom0.tree("/") == guest.tree("/")


def test_a_vm_may_remove_what_dom0s_daemon_has_lost(tmp_path: Path) -> None:
    """A daemon of dom0 that was started afresh is empty, and ends over a removal of what it has not."""
    with Daemons(tmp_path / "q", "work") as daemons:
        with daemons.guest("work") as guest:
            guest.batch([Write(path, b"v") for path in ("/a", "/dev/sda", "/dev/sda/size", "/dev/sda/desc")])
            daemons.restart_dom0()
            with daemons.dom0("work") as dom0:
                assert dom0.tree("/") == {}
            guest.batch([Remove("/a"), Remove("/dev/sda")])
            assert guest.tree("/") == {}
        assert in_work(daemons)


def test_a_path_with_its_last_slash_is_what_is_below_it(daemons: Daemons) -> None:
    with daemons.dom0("work") as store:
        store.batch([Write(path, b"v") for path in ("/a", "/a/b", "/a/b/c", "/ab")])
        assert store.batch([Remove("/a/")]) == [None]
        assert set(store.tree("/")) == {"/a", "/ab"}
        with pytest.raises(VMInterfaceError, match="/a/: no such key"):
            store.remove("/a/")


def waits(process: subprocess.Popen[bytes]) -> bool:
    """Whether *process* waits for what comes through a socket of its own."""
    folder = Path(f"/proc/{process.pid}")
    sockets = []
    for one in folder.joinpath("fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            sockets += [one] if os.readlink(one).startswith("socket:") else []
    return bool(sockets) and "poll" in folder.joinpath("wchan").read_text()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_command_that_is_ended_while_it_waits_ends_no_daemon(daemons: Daemons, number: Signals, status: int) -> None:
    environment = {
        **os.environ, "PYTHONPATH": f"{PROJECT}/_utils", "VMINTERFACE_QUBESDB_DIR": str(daemons.folder),
        "XENSTORED_PATH": str(daemons.folder / "none"),
    }  # fmt: skip
    with daemons.stopped():
        process = WarmPython(["vminterface", "get", "work"], env=environment)
        assert wait_until(lambda: waits(process))
        process.send_signal(number)
        assert process.wait(10) == status
    assert in_work(daemons)
