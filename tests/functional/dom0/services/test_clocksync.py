"""The clocks of all VMs are brought to that of the one that asks the network; nobody waits for one that fails."""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.policydaemon import PolicyDaemon, denying
from tests.support.rpcstandin import StandIn
from tests.support.stopwatch import Stopwatch
from vminterface.channel.qrexec import daemon as qrexec_daemon
from vminterface.channel.qrexec import policy
from vminterface.channel.qrexec.client import Qrexec
from vminterface.dom0.results import clocks, returns
from vminterface.dom0.services import clock, clocksync
from vminterface.errors import InvalidValue, RemoteProtocolError, ServiceFailed, ServiceNotFound, VMNotRunning


def offset(root: Path) -> float:
    return int((root / "run/vminterface/clock-offset").read_text()) / 1e6


def test_the_network_is_up_then_the_time_is_asked_for_then_read(vms: StandIn, qrexec: Qrexec) -> None:
    root = vms.machine("net")
    vms.program("net", "nm-online", f"echo online >> {root}/order")
    (vms.folder / "vms/net/qubes.SyncNtpClock").unlink()
    vms.handler("net", "qubes.SyncNtpClock", f"echo synced >> {root}/order")
    (root / "run/vminterface/clock-offset").write_text("100000000\n")
    right = clocksync.right_time(qrexec, "net", network_vm="net")
    assert (root / "order").read_text().split() == ["online", "synced"]
    assert (right.now() - datetime.now(UTC)).total_seconds() == pytest.approx(100, abs=1)


def test_a_network_that_is_down_and_a_vm_that_keeps_time_by_itself_are_no_faults(vms: StandIn, qrexec: Qrexec) -> None:
    vms.machine("net")
    vms.program("net", "nm-online", "exit 1")
    (vms.folder / "vms/net/qubes.SyncNtpClock").unlink()
    right = clocksync.right_time(qrexec, "net", network_vm="net")
    assert abs((right.now() - datetime.now(UTC)).total_seconds()) < 1


def test_a_clock_that_could_not_be_synchronised_sets_no_other(vms: StandIn, qrexec: Qrexec) -> None:
    vms.handler("net", "qubes.SyncNtpClock", "echo 'no network' >&2; exit 1")
    with pytest.raises(ServiceFailed, match=r"qubes\.SyncNtpClock in net: exit status 1: no network"):
        clocksync.right_time(qrexec, "net")


@pytest.mark.parametrize(
    "reply",
    [
        "tomorrow",
        "1999-01-01T00:00:00+00:00",
        "2026-01-31T12:00:00+02:00",
        "9999-12-31T23:59:59,999999999+00:00",
        "",
    ],
)
def test_what_is_no_time_sets_no_clock(vms: StandIn, qrexec: Qrexec, reply: str) -> None:
    vms.handler("net", clock.GET, f"echo '{reply}'")
    with pytest.raises(RemoteProtocolError, match=r"qubes\.GetDate in net"):
        clocksync.read_time(qrexec, "net")


def test_a_clock_at_the_end_of_all_time_is_told_and_sets_no_clock(vms: StandIn, work: Path, qrexec: Qrexec) -> None:
    vms.handler("net", clock.GET, "echo 9999-12-31T23:59:59,999999999+00:00")
    with pytest.raises(RemoteProtocolError, match=r"GetDate in net: '9999-12-31T23:59:59' is too late"):
        clocks.clock_synced(qrexec, clock_vm="net", vms=["work"], test=False)
    vms.handler("bad", clock.GET, "echo 9999-12-31T23:59:59,999999999+00:00")
    bad, good = clocks.clock_synced(qrexec, vms=["bad", "work"], test=False)
    assert (type(bad.error), good.error) == (RemoteProtocolError, None)


def test_a_vm_without_the_service_is_asked_by_a_program(vms: StandIn, qrexec: Qrexec) -> None:
    vms.handler("net", "qubes.VMExec", "[ $1 = date+--u+--Iseconds ] && echo 2026-01-31T12:00:00+0000")
    now = clocksync.read_time(qrexec, "net").now()
    assert abs(now - datetime(2026, 1, 31, 12, tzinfo=UTC)) < timedelta(seconds=1)


def test_wrong_clocks_are_set_and_right_ones_left_alone(vms: StandIn, qrexec: Qrexec) -> None:
    wrong, right = vms.machine("wrong"), vms.machine("right")
    (wrong / "run/vminterface/clock-offset").write_text("-3600000000\n")
    (right / "run/vminterface/clock-offset").write_text("1500000\n")
    found = clocksync.set_all(qrexec, clocksync.host_time(), ["wrong", "right", "gone"])
    assert [(one.vm, one.set) for one in found] == [("wrong", True), ("right", False), ("gone", False)]
    assert [one.drift and round(one.drift) for one in found][::2] == [-3600, None]
    assert found[1].drift is not None
    assert 1 < found[1].drift < 2
    assert isinstance(found[2].error, VMNotRunning)
    assert abs(offset(wrong)) < 2
    assert offset(right) == 1.5


def test_a_look_sets_none(vms: StandIn, qrexec: Qrexec) -> None:
    root = vms.machine("work")
    (root / "run/vminterface/clock-offset").write_text("60000000\n")
    (found,) = clocksync.set_all(qrexec, clocksync.host_time(), ["work"], test=True)
    assert found.set
    assert found.drift is not None
    assert round(found.drift) == 60
    assert offset(root) == 60


@pytest.mark.parametrize("test", [True, False])
def test_a_vm_that_the_policy_keeps_from_the_time_is_left_out_and_not_even_asked(
    vms: StandIn, qrexec: Qrexec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, test: bool
) -> None:
    for vm in ("work", "sys-whonix"):
        (vms.machine(vm) / "run/vminterface/clock-offset").write_text("60000000\n")
    monkeypatch.setenv(policy.SOCKET_VARIABLE, str(tmp_path / "policy.sock"))
    with PolicyDaemon(tmp_path / "policy.sock", denying("sys-whonix")):
        work, whonix = clocks.clock_synced(qrexec, vms=["work", "sys-whonix"], test=test)
        assert list(work.changes) == ["clock"]
        assert (whonix.ok, whonix.changes) == (True, {})
        assert whonix.comment(test=test) == (
            "sys-whonix is left out: dom0's policy denies qubes.GetDate (qubes_rpc.clock_set sets the clock without it)"
        )
        assert offset(vms.folder / "vms/sys-whonix.root") == 60
        assert set(vms.ran()) <= {clock.GET, clock.SET}
        ran = len(vms.ran())
        clocks.clock_set(qrexec, "sys-whonix").run(test=test)
        assert len(vms.ran()) > ran
    summary = returns.state_of_all("clocks", [work, whonix], test=test)["comment"]
    assert summary.splitlines()[0] == f"2 VMs: 1 {'would be changed' if test else 'changed'}, 1 left out (sys-whonix)"


def test_a_policy_that_cannot_be_asked_sets_no_clock(
    vms: StandIn, work: Path, qrexec: Qrexec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (work / "run/vminterface/clock-offset").write_text("60000000\n")
    monkeypatch.setenv(policy.SOCKET_VARIABLE, str(tmp_path / "policy.sock"))
    with PolicyDaemon(tmp_path / "policy.sock", lambda asked: b""):
        (found,) = clocks.clock_synced(qrexec, vms=["work"], test=False)
    assert isinstance(found.error, RemoteProtocolError)
    assert offset(work) == 60


def test_a_vm_that_says_that_it_does_not_run_has_failed(
    vms: StandIn, qrexec: Qrexec, monkeypatch: pytest.MonkeyPatch
) -> None:
    vms.handler("work", clock.GET, "echo 'connect: Connection refused' >&2; exit 1")
    monkeypatch.setenv(qrexec_daemon.FOLDER_VARIABLE, str(vms.folder))
    with socket.socket(socket.AF_UNIX) as daemon:
        daemon.bind(f"{vms.folder}/qrexec.work")
        daemon.listen()
        liar, halted = clocks.clock_synced(qrexec, vms=["work", "halted"], test=False)
    assert (liar.running, type(liar.error)) == (True, ServiceFailed)
    assert (halted.running, halted.error) == (False, None)


def test_a_clock_that_stays_wrong_is_told(vms: StandIn, qrexec: Qrexec) -> None:
    vms.handler("work", clock.GET, "echo 2024-01-31T12:00:00+00:00")
    vms.handler("work", clock.SET, "cat >/dev/null")
    (found,) = clocksync.set_all(qrexec, clocksync.host_time(), ["work"])
    assert "wrong after" in str(found.error)


def test_a_vm_that_cannot_say_its_time_is_told_the_right_one(vms: StandIn, qrexec: Qrexec) -> None:
    vms.handler("old", clock.SET, f"cat > {vms.folder}/told")
    (found,) = clocksync.set_all(qrexec, clocksync.host_time(), ["old"])
    assert (found.set, found.drift, found.error) == (True, None, None)
    assert (vms.folder / "told").read_text().endswith("+00:00\n")
    with pytest.raises(ServiceNotFound):
        clock.get_clock(qrexec, "old")


def test_eight_vms_are_set_at_a_time(vms: StandIn, qrexec: Qrexec) -> None:
    for i in range(16):
        vms.handler(f"vm{i}", clock.GET, "sleep 0.5; exit 9")
    started = Stopwatch()
    clocksync.set_all(qrexec, clocksync.host_time(), [f"vm{i}" for i in range(16)])
    started.check(2.5, least=1.0)


def test_a_name_of_no_vm_is_refused_before_any_call(vms: StandIn, work: Path, qrexec: Qrexec) -> None:
    (work / "run/vminterface/clock-offset").write_text("60000000\n")
    with pytest.raises(InvalidValue):
        clocksync.set_all(qrexec, clocksync.host_time(), ["work", "no/name"])
    assert offset(work) == 60
