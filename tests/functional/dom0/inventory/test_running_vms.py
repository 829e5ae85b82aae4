"""Where no VMs are named, all that run are meant: before and after the machine's sleep, and for their clocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lab.xenstored.process import OwnXenstored
from tests.support.rpcstandin import StandIn
from vminterface.channel.qrexec.client import Qrexec
from vminterface.channel.xenstore.store import XenStore
from vminterface.dom0.results import clocks
from vminterface.dom0.services import clock, suspend

#: The stub domain of a VM with a name of 31 characters, and one that no toolstack of Qubes names so.
NAMES = ("work", "net", "net-dm", f"{'v' * 31}-dm", "no name")


@pytest.fixture
def running(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A XenStore in which domains of these names run."""
    with OwnXenstored(tmp_path_factory.mktemp("xen")) as daemon:
        for domid, name in enumerate(NAMES, 1):
            daemon.create(domid)
            with XenStore.open(daemon.socket_path) as store:
                store.write(f"/local/domain/{domid}/name", name.encode())
        monkeypatch.setenv("XENSTORED_PATH", daemon.socket_path)
        yield


@pytest.fixture
def told(vms: StandIn) -> Callable[..., Any]:
    """What the two VMs have heard; one of them fails after the sleep."""
    for vm in ("work", "net"):
        for service in (suspend.PRE_ALL, suspend.PRE, suspend.POST, suspend.POST_ALL):
            vms.handler(vm, service, f"echo {vm} {service} >> {vms.folder}/told")
    vms.handler("net", suspend.POST, f"echo net {suspend.POST} >> {vms.folder}/told; exit 3")

    def heard() -> Any:
        return sorted((vms.folder / "told").read_text().splitlines())

    return heard


def test_all_vms_that_run_hear_of_the_machines_sleep(running: None, told: Callable[..., Any], qrexec: Qrexec) -> None:
    assert suspend.before(qrexec, None, []) == []
    assert told() == [f"net {suspend.PRE_ALL}", f"work {suspend.PRE_ALL}"]


def test_those_with_devices_are_named_and_one_that_fails_is_told(
    running: None, told: Callable[..., Any], qrexec: Qrexec
) -> None:
    failed = [f"{suspend.POST} in net: exit status 3", f"{suspend.POST} in gone: the VM is not running"]
    found = [str(one.error) for one in suspend.after(qrexec, None, ["net", "gone"])]
    assert [line.partition(": 2026")[0] for line in found] == failed
    assert told() == sorted([f"net {suspend.POST}", f"net {suspend.POST_ALL}", f"work {suspend.POST_ALL}"])


def test_one_that_is_named_and_does_not_run_is_told(told: Callable[..., Any], qrexec: Qrexec) -> None:
    (failed,) = suspend.before(qrexec, ["gone", "work"], [])
    assert "gone: the VM is not running" in str(failed.error)


def test_the_clocks_of_all_that_can_be_called_are_looked_at(running: None, vms: StandIn, qrexec: Qrexec) -> None:
    vms.handler("work", clock.GET, "date -u -Iseconds")
    vms.handler("net", clock.GET, "exit 9")
    outcomes = clocks.clock_synced(qrexec, test=True)
    assert [(one.vm, one.running, one.error is None) for one in outcomes] == [
        ("net", True, False),
        ("net-dm", False, True),
        ("work", True, True),
    ]
