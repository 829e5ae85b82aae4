"""Setting the clock by the network, with stand-ins for the time services; no clock is touched."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.support.agentcall import call
from tests.support.handlers import VM, Reply
from vminterface.deadline import Deadline
from vminterface.errors import DeadlineExceeded
from vminterface.vm.handlers import syncntpclock
from vminterface.vm.machine.machine import Machine

SERVICE = "qubes.SyncNtpClock"
CHRONY = [
    "chronyc -n tracking",
    "chronyc burst 4/4",
    "chronyc waitsync 30 0 0 1",
    "chronyc makestep",
    "chronyc waitsync 10 0.1 0 1",
]


class Clock:
    """A VM whose only commands are those that a test puts there; each writes what it was asked to a log."""

    def __init__(self, top: Path) -> None:
        self.vm = VM(top / "vm")
        self.bin = top / "bin"
        self.bin.mkdir()
        self.log = top / "log"
        self._install("env", '#!/bin/sh\nexec /usr/bin/env "$@"\n')

    def install(self, name: str, script: str = "exit 0") -> None:
        self._install(name, f"#!/bin/sh\necho {name} \"$@\" >>'{self.log}'\n{script}\n")

    def _install(self, name: str, text: str) -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def call(self, *arguments: str, **environment: str) -> Reply:
        return call(self.vm, SERVICE, b"", *arguments, source="dom0", timeout=30.0, PATH=str(self.bin), **environment)

    def done(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path)


def timesyncd(clock: Clock, *, sets_the_clock: bool = True) -> None:
    mark = clock.vm.write("/run/systemd/timesync/synchronized")
    later = f"(/bin/sleep 0.5; : >'{mark}') >/dev/null 2>&1 &" if sets_the_clock else ""
    clock.install("systemctl", f"[ \"$1\" = restart ] || exit 0\n[ ! -e '{mark}' ] || exit 9\n{later}")


def test_chrony_in_work_is_asked_and_the_clock_stepped(clock: Clock) -> None:
    clock.install("chronyc")
    clock.install("ntpdate")
    timesyncd(clock)
    reply = clock.call()
    assert (reply.status, reply.stdout, reply.stderr) == (0, b"the clock was set by chrony\n", "")
    assert clock.done() == CHRONY


def test_chrony_whose_servers_do_not_answer_is_a_fault(clock: Clock) -> None:
    clock.install("chronyc", '[ "$1" != waitsync ] || { echo no server; exit 1; }')
    assert "chronyc ended with status 1: no server" in clock.call().refused(SERVICE)
    assert clock.done() == CHRONY[:3]


def test_timesyncd_is_restarted_and_waited_for(clock: Clock) -> None:
    clock.install("chronyc", "echo 506 Cannot talk to daemon; exit 1")
    timesyncd(clock)
    reply = clock.call()
    assert (reply.status, reply.stdout, reply.stderr) == (0, b"the clock was set by systemd-timesyncd\n", "")
    assert clock.done() == [
        "chronyc -n tracking",
        "systemctl is-active --quiet systemd-timesyncd.service",
        "systemctl restart systemd-timesyncd.service",
    ]


def test_timesyncd_that_sets_no_clock_costs_its_deadline(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    timesyncd(clock, sets_the_clock=False)
    monkeypatch.setenv("PATH", str(clock.bin))
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded, match="systemd-timesyncd"):
        syncntpclock._timesyncd(Machine(str(clock.vm.root)), Deadline.after(1))
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(("name", "asked"), [("ntpdate", "ntpdate -u pool.ntp.org"), ("ntpd", "ntpd -gq")])
def test_the_older_programs_are_taken_where_nothing_else_is_in_work(clock: Clock, name: str, asked: str) -> None:
    clock.install("systemctl", "exit 3")
    clock.install("ntpd")
    clock.install(name)
    reply = clock.call()
    assert (reply.status, reply.stdout) == (0, f"the clock was set by {name}\n".encode())
    assert clock.done()[-1] == asked


def test_a_program_that_fails_is_told(clock: Clock) -> None:
    clock.install("ntpdate", "echo no server suitable >&2; exit 1")
    assert "ntpdate ended with status 1: no server suitable" in clock.call().refused(SERVICE)


def test_where_nothing_can_set_the_clock_that_is_said_with_status_1(clock: Clock) -> None:
    reply = clock.call()
    assert reply.status == 1
    assert "no time service is running" in reply.refused(SERVICE)


def test_an_argument_is_refused(clock: Clock) -> None:
    clock.install("chronyc")
    clock.call("x", QREXEC_SERVICE_ARGUMENT="x").refused(SERVICE)
    assert clock.done() == []
