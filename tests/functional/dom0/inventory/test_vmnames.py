"""Where there is a qubesd, each VM that settings name is looked for in its list, and typos that are legal are noted."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.qubesd import Qubesd
from lab.qubesd.stores import StoreWriter
from tests.support.qubesd import qubes_r4
from tests.support.qubesdb import QubesHost
from tests.support.rpcstandin import StandIn
from vminterface.channel.qrexec.client import Qrexec
from vminterface.channel.qrexec.program import PROGRAM_VARIABLE
from vminterface.channel.qubesdb.places import FOLDER_VARIABLE
from vminterface.dom0.desired.settings import parse_pillar
from vminterface.dom0.ensure import files
from vminterface.dom0.push.outcome import Outcome
from vminterface.dom0.push.push import diff, push
from vminterface.dom0.results import clocks, servicelist
from vminterface.dom0.results.states import keys, vm
from vminterface.dom0.results.states.ensured import ensured
from vminterface.dom0.services import suspend
from vminterface.errors import VMNotFound, VMNotRunning

NETWORK = {"ip": "10.137.0.12", "gateway": "10.137.0.5"}


@pytest.fixture
def host(tmp_path: Path) -> Iterator[QubesHost]:
    with QubesHost(tmp_path / "qdb") as host:
        host.start_vm("work")
        yield host


@pytest.fixture
def qubesd(host: QubesHost, tmp_path: Path) -> Iterator[Qubesd]:
    with qubes_r4(tmp_path, "work", "personal", live=StoreWriter(host.store)) as daemon:
        yield daemon


def outcomes(host: QubesHost, run: Callable[..., list[Outcome]], vms: dict[str, Any]) -> list[Outcome]:
    with host.targets() as targets:
        return run(parse_pillar({"qubes": {"vms": vms}}), targets)


@pytest.mark.parametrize("run", [diff, push])
@pytest.mark.parametrize(
    ("vm", "raw", "said"),
    [
        ("wrok", {"type": "AppVM"}, "qubes:vms:wrok: qubesd does not know a VM 'wrok' (did you mean 'work'?)"),
        ("wrok", {"debug": True, "persist": False}, "qubes:vms:wrok: qubesd does not know a VM 'wrok' (did you mean"
                                                    " 'work'?)"),
        ("wrok", {"debug": True}, "qubes:vms:wrok: qubesd does not know a VM 'wrok' (did you mean 'work'?)"),
        ("wrok", {"network": NETWORK}, "qubes:vms:wrok: qubesd does not know a VM 'wrok' (did you mean 'work'?)"),
        ("wrok", {"firewall": {"policy": "drop", "netvm": "sys-net", "ip": "10.137.0.12"}},
         "qubes:vms:wrok: qubesd does not know a VM 'wrok' (did you mean 'work'?)"),
        ("WORK", {"type": "AppVM"}, "qubes:vms:WORK: qubesd does not know a VM 'WORK' (did you mean 'work'?)"),
        ("qqq", {"type": "AppVM"}, "qubes:vms:qqq: qubesd does not know a VM 'qqq'"),
        ("work", {"base_template": "persnal"},
         "qubes:vms:work:base_template: qubesd does not know a VM 'persnal' (did you mean 'personal'?)"),
        ("work", {"netvm": "sys-ent"}, "qubes:vms:work:netvm: qubesd does not know a VM 'sys-ent' (did you mean"
                                       " 'sys-net'?)"),
        ("work", {"firewall": {"policy": "drop", "netvm": "sys-ent", "ip": "10.137.0.12"}},
         "qubes:vms:work:firewall:netvm: qubesd does not know a VM 'sys-ent' (did you mean 'sys-net'?)"),
    ],
)  # fmt: skip
def test_a_name_that_qubesd_does_not_know_is_that_vms_error(
    host: QubesHost, qubesd: Qubesd, run: Callable[..., Any], vm: str, raw: dict[str, Any], said: str
) -> None:
    wrong, right = outcomes(host, run, {vm: raw, "personal": {"type": "AppVM"}})
    assert isinstance(wrong.error, VMNotFound)
    assert str(wrong.error) == said
    assert right.ok


def test_the_list_is_asked_for_once_for_all_vms(host: QubesHost, qubesd: Qubesd) -> None:
    assert all(o.ok for o in outcomes(host, diff, {"work": {"type": "AppVM"}, "personal": {"type": "AppVM"}}))
    assert qubesd.calls.count(("admin.vm.List", "", "dom0")) == 1


#: What is said of one VM's name.
UNKNOWN = "qubesd does not know a VM 'wrok' (did you mean 'work'?)"


def monitors_of(qrexec: Any, test: Any) -> Any:
    one = {"monitors": [{"width": 800, "height": 600, "x": 0, "y": 0}]}
    desired = parse_pillar({"qubes": {"vms": {"wrok": one, "personal": one}}})
    wrong, halted = vm.pushed(desired, test)
    assert (halted.ok, halted.running) == (True, False)
    return f"{wrong.error}"


def clocks_of(qrexec: Any, test: Any) -> Any:
    wrong, halted = clocks.clock_synced(qrexec, vms=["wrok", "personal"], test=test)
    assert (halted.ok, halted.running) == (True, False)
    return f"{wrong.error}"


def reporting(qrexec: Any, test: Any) -> Any:
    return vm.all_reporting("reports", ["wrok", "personal"], test=test)["comment"]


def state_of(function: Any, *args: Any, **more: Any) -> Any:
    def run(qrexec: Any, test: Any) -> Any:
        result = function(*args, **more, test=test)
        assert result["result"] is False
        return result["comment"]

    return run


#: What takes the name of a VM: each leaves a halted one alone or says that it is halted, and does not know *wrok*.
TAKES_NAMES = {
    "monitors": (monitors_of, f"qubes:vms:wrok: {UNKNOWN}"),
    "clock_synced": (clocks_of, f"wrok: {UNKNOWN}"),
    "all_reporting": (reporting, f"vms: {UNKNOWN}"),
    "qubesdb.present": (
        state_of(keys.present, "qubesdb", "/a", "x", "wrok", require_running=False),
        f"wrok: {UNKNOWN}",
    ),
    "clock_set": (
        state_of(ensured, "wrok", "wrok", lambda qrexec: clocks.clock_set(qrexec, "wrok")),
        f"wrok: {UNKNOWN}",
    ),
    "file_sent": (
        state_of(ensured, "/etc/hostname", "wrok", lambda qrexec: files.file_sent(qrexec, "wrok", "/etc/hostname")),
        f"wrok: {UNKNOWN}",
    ),
    "qrexec.call": (
        lambda qrexec, _: raised(lambda: servicelist.call(qrexec, "wrok", "qubes.GetDate")),
        f"wrok: {UNKNOWN}",
    ),
    "suspend_pre": (
        lambda qrexec, _: str(suspend.before(qrexec, ["wrok"], [])[0].error),
        f"qubes.SuspendPreAll: {UNKNOWN}",
    ),
}


def raised(run: Callable[..., Any]) -> str:
    with pytest.raises(VMNotFound) as caught:
        run()
    return str(caught.value)


@pytest.mark.parametrize("name", TAKES_NAMES)
def test_whatever_takes_a_vms_name_says_that_qubesd_does_not_know_it(
    vms: StandIn, host: QubesHost, qubesd: Qubesd, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(host.folder))
    monkeypatch.setenv(PROGRAM_VARIABLE, vms.client)
    run, said = TAKES_NAMES[name]
    assert [run(Qrexec(), test) for test in (True, False)] == [said, said]


def test_what_no_running_vm_is_called_is_looked_for_in_the_list_too(host: QubesHost, qubesd: Qubesd) -> None:
    with host.targets() as targets:
        with pytest.raises(VMNotFound, match=re.escape(f"wrok: {UNKNOWN}")):
            targets.one("wrok", "qubesdb")
        with pytest.raises(VMNotRunning, match="personal: there is no running VM with this name"):
            targets.one("personal", "qubesdb")


def test_without_a_qubesd_any_name_is_that_of_a_vm_that_does_not_run(host: QubesHost) -> None:
    (wrong,) = outcomes(host, diff, {"wrok": {"type": "AppVM"}})
    assert (wrong.ok, wrong.running) == (True, False)


@pytest.mark.parametrize("run", [diff, push])
def test_what_was_probably_not_meant_is_a_note_and_no_error(host: QubesHost, run: Callable[..., Any]) -> None:
    raw = {"services": {"cupps": True, "network_manager": False, "my-own": True}, "keyboard": "us+dvorakk"}
    (outcome,) = outcomes(host, run, {"work": {**raw, "confirm": False}})
    assert outcome.ok
    said = outcome.comment(test=run is diff)
    assert "services:cupps is not a service of Qubes (did you mean 'cups'?)" in said
    assert "services:network_manager is not a service of Qubes (did you mean 'network-manager'?)" in said
    assert "my-own" not in said.replace("services:my-own", "")
    assert (
        "this system does not have the variant 'dvorakk' of the keyboard layout 'us' (did you mean 'dvorak'?)" in said
    )
