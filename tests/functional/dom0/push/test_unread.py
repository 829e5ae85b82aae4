"""A push that does not wait for an acknowledgement notices at the next one that nobody in the VM reads any more."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.lab_store import wait_until
from tests.support.qubesdb import QubesHost
from vminterface.channel.store import Write
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.push.outcome import Outcome
from vminterface.dom0.push.push import push
from vminterface.errors import DeadlineExceeded, VMInterfaceError
from vminterface.wire.qubesdb import HEADER, Command


@pytest.fixture
def qubes(tmp_path: Path) -> Iterator[QubesHost]:
    with QubesHost(tmp_path / "q") as host:
        host.start_vm("work")
        yield host


def pushed(host: QubesHost, zone: str, **more: object) -> Outcome:
    settings = VMSettings.parse("work", {"timezone": zone, "confirm": False, "timeout": 1.0, **more})
    with host.targets() as targets:
        return push([settings], targets)[0]


def end_the_vms_daemon(host: QubesHost) -> None:
    """Send more removals at once than it can reply to, as other programs do."""
    with host.store("work") as store:
        store.batch([Write(f"/f/{n}", b"") for n in range(100)])
    with socket.socket(socket.AF_UNIX) as stream:
        stream.connect(str(host.folder / "qubesdb.work.sock"))
        stream.sendall(b"".join(HEADER.pack(Command.RM, b"/f/%d" % n, 0) for n in range(100)))
        assert len(stream.recv(100 * HEADER.size, socket.MSG_WAITALL)) == 100 * HEADER.size

    def is_dead() -> bool:
        try:
            host.guest_store("work").close()
        except VMInterfaceError:
            return True
        return False

    assert wait_until(is_dead)


def test_the_second_push_to_a_vm_whose_daemon_is_dead_is_an_error(qubes: QubesHost) -> None:
    qubes.agent("work")
    assert pushed(qubes, "Asia/Tokyo").ok
    assert wait_until(lambda: (qubes.read("work", "vminterface/ack/timezone") or "").startswith("ok "))
    end_the_vms_daemon(qubes)
    assert pushed(qubes, "UTC").comment() == "work: timezone set; the agent's acknowledgement was not waited for"
    outcome = pushed(qubes, "Europe/Warsaw")
    assert isinstance(outcome.error, DeadlineExceeded)
    assert outcome.comment() == (
        "work: the agent acknowledged neither this push nor the one before within 1 s "
        "(its agent or its QubesDB may be dead); former values restored"
    )
    assert qubes.read("work", "qubes-timezone") == "UTC"


def test_pushes_in_a_row_to_an_agent_that_is_at_work_are_no_errors(qubes: QubesHost) -> None:
    qubes.agent("work")
    for zone in ("Asia/Tokyo", "UTC") * 3:
        assert pushed(qubes, zone, timeout=20).ok
        assert qubes.read("work", "qubes-timezone") == zone


def test_a_vm_without_an_agent_is_not_waited_for(qubes: QubesHost) -> None:
    for zone in ("Asia/Tokyo", "UTC"):
        assert pushed(qubes, zone).comment() == "work: timezone set; the agent's acknowledgement was not waited for"
