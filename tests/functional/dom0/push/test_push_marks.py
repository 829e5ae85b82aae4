"""The marks of a push: an agent that is to acknowledge it sees when all of it has been written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lab.qubesdb.side import Side
from tests.support.dom0 import Dom0
from tests.support.faultyqubesdb import FaultyDaemon
from tests.support.qubesdb import QubesHost
from vminterface import keys
from vminterface.channel.xenstore.store import XenStore
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.inventory.targets import Targets
from vminterface.dom0.push.outcome import Outcome
from vminterface.dom0.push.push import push
from vminterface.values.pushmark import PushMark
from vminterface.wire.qubesdb import Command

MARK, ACKNOWLEDGEMENT = f"/{keys.PUSH}", f"/{keys.acknowledgement('network')}"
#: A VM whose agent has acknowledged its network.
HELD = {"/name": "work", "/qubes-ip": "10.137.0.12", "/qubes-gateway": "10.137.0.5", ACKNOWLEDGEMENT: f"ok {'0' * 16}"}
NEW = {"ip": "10.137.0.12", "gateway": "10.137.0.6"}


def pushed(host: Dom0 | QubesHost, **raw: Any) -> Outcome:
    with host.targets() as targets:
        return push([VMSettings.parse("work", raw)], targets)[0]


def test_each_push_to_an_agent_ends_with_a_mark_of_its_own(host: Dom0 | QubesHost) -> None:
    host.agent("work")
    assert pushed(host, timezone="UTC").ok
    marks = set()
    for zone in ("Europe/Berlin", "Europe/Paris"):
        assert pushed(host, timezone=zone).comment() == "work: timezone set"
        marks.add(PushMark.parse(host.read("work", keys.PUSH) or ""))
    assert [one.written for one in marks] == [True, True]


def test_a_vm_without_an_agent_gets_no_mark(host: Dom0 | QubesHost) -> None:
    assert pushed(host, timezone="UTC", confirm=False).ok
    assert host.read("work", keys.PUSH) is None


def test_in_a_qubesdb_the_marks_are_the_first_and_the_last_that_is_written(tmp_path: Path) -> None:
    daemon, outcome = cut_short(tmp_path, 1000)
    assert outcome.ok
    written = [(one.path, one.value) for one in daemon.asked if one.command is Command.WRITE]
    first, second, *_, last = written
    assert (first[0], second, last[0]) == (MARK, (ACKNOWLEDGEMENT, b"pending"), MARK)
    begin, end = (PushMark.parse(value.decode()) for _, value in (first, last))
    assert (begin.written, end) == (False, PushMark(begin.number, True))


def test_a_push_that_is_cut_short_and_taken_back_is_marked_as_written_too(tmp_path: Path) -> None:
    for after in range(2, 8):
        folder = tmp_path / str(after)
        folder.mkdir()
        daemon, outcome = cut_short(folder, after)
        assert not outcome.ok
        values = daemon.side.database.values
        assert {path: values[path].decode() for path in HELD if path.startswith("/qubes")} == {
            path: text for path, text in HELD.items() if path.startswith("/qubes")
        }
        if MARK in values:
            assert PushMark.parse(values[MARK].decode()).written, f"cut after {after} requests"


def cut_short(folder: Path, after: int) -> tuple[FaultyDaemon, Outcome]:
    """Push a network to a daemon that hangs up after so many requests, and serves the next connection."""
    daemon = FaultyDaemon(str(folder / "qubesdb.work.sock"), lambda stream, reply: None, after=after)
    side: Side = daemon.side
    side.database.values.update({path: text.encode() for path, text in HELD.items()})
    desired = VMSettings.parse("work", {"network": NEW, "confirm": False})
    with Targets(lambda: XenStore.open(str(folder / "none")), qubesdb_folder=str(folder)) as targets:
        (outcome,) = push([desired], targets)
    daemon.stop()
    return daemon, outcome
