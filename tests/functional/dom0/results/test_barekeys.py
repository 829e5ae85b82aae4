"""Waiting for a bare key ends in its own time, whichever of the daemons that it needs has stopped."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.stopwatch import Stopwatch
from vminterface.channel.qubesdb import places
from vminterface.dom0.results import barekeys
from vminterface.dom0.results.states import vm
from vminterface.errors import DeadlineExceeded, InvalidValue

#: Seconds that a wait is given, and those that its end may take beside.
TIME, END = 0.4, 0.5


class Stopped:
    """A daemon that has stopped: the kernel still takes its connections."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(path))
        self.socket.listen(8)


@pytest.fixture
def stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """A folder of QubesDB sockets and the path of a XenStore; what is made there has stopped."""
    folder = tmp_path / "qubes"
    folder.mkdir()
    monkeypatch.setenv("XENSTORED_PATH", str(tmp_path / "xenstored"))
    monkeypatch.setenv(places.FOLDER_VARIABLE, str(folder))
    made = [Stopped(tmp_path / "xenstored")]

    def qubesdb(name: Any) -> None:
        made.append(Stopped(folder / name))

    yield qubesdb
    for daemon in made:
        daemon.socket.close()


def ends_in_time(channel: str, vm: str | None) -> None:
    began = Stopwatch()
    with pytest.raises(DeadlineExceeded), barekeys.opened(channel, vm, ValueError, DeadlineExceeded, TIME) as keys:
        keys.wait("state")
    began.check(TIME + END, least=TIME - 0.1)


def test_a_wait_for_a_vms_key_ends_in_its_own_time_where_the_xenstore_has_stopped(stopped: Callable[..., Any]) -> None:
    ends_in_time("xenstore", "work")


def test_so_does_one_without_a_vm(stopped: Callable[..., Any]) -> None:
    ends_in_time("xenstore", None)


def test_so_does_one_where_the_vms_qubesdb_has_stopped(stopped: Callable[..., Any]) -> None:
    stopped("qubesdb.work.sock")
    ends_in_time("qubesdb", "work")


def test_so_does_one_where_the_machines_own_qubesdb_has_stopped(stopped: Callable[..., Any]) -> None:
    stopped("qubesdb.sock")
    ends_in_time("qubesdb", None)


def test_so_does_one_for_a_vm_without_a_qubesdb_where_the_xenstore_has_stopped(stopped: Callable[..., Any]) -> None:
    stopped("qubesdb.other.sock")
    ends_in_time("qubesdb", "work")


@pytest.mark.parametrize("test", [True, False])
def test_a_setting_ends_in_the_vms_own_time_where_the_xenstore_has_stopped(
    stopped: Any, tmp_path: Any, monkeypatch: Any, test: Any
) -> None:
    monkeypatch.setenv("VMINTERFACE_LOCK_DIR", str(tmp_path))
    began = Stopwatch()
    state = vm.fields("work", {"debug": True}, require_running=None, timeout=TIME, test=test)
    assert (state["result"], "no reply within" in state["comment"]) == (False, True)
    began.check(TIME + END)


def test_a_wait_for_a_daemon_that_hangs_is_told_by_the_seconds_that_were_given(stopped: Any) -> None:
    with pytest.raises(DeadlineExceeded, match=r"no reply within 0\.3 s"), barekeys.BareKeys("xenstore", "work", 0.3):
        pass


@pytest.mark.parametrize("timeout", [0, -1, 3601, True, "soon"])
def test_a_wait_without_a_number_of_seconds_is_refused_before_a_store_is_asked(
    stopped: Callable[..., Any], timeout: bool | int | str
) -> None:
    with pytest.raises(InvalidValue, match=r"expected seconds, more than 0 and at most 3600"):
        barekeys.BareKeys("xenstore", "work", timeout)


def test_so_is_one_without_any() -> None:
    with pytest.raises(InvalidValue, match="expected seconds"):
        barekeys.BareKeys("xenstore").wait("state")
