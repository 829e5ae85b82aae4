"""Where there is a qubesd, each VM that settings name is looked for in its list, and typos that are legal are noted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.qubesd import Qubesd
from lab.qubesd.stores import StoreWriter
from tests.support.qubesd import qubes_r4
from tests.support.qubesdb import QubesHost
from vminterface.dom0.push import Outcome, diff, push
from vminterface.dom0.settings import parse_pillar
from vminterface.errors import VMNotFound

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


def outcomes(host: QubesHost, run: object, vms: dict) -> list[Outcome]:
    with host.targets() as targets:
        return run(parse_pillar({"qubes": {"vms": vms}}), targets)


@pytest.mark.parametrize("run", [diff, push])
@pytest.mark.parametrize(
    ("vm", "raw", "said"),
    [
        ("wrok", {"type": "AppVM"}, "qubes:vms:wrok: qubesd knows no VM 'wrok' (did you mean 'work'?)"),
        ("wrok", {"debug": True, "persist": False}, "qubes:vms:wrok: qubesd knows no VM 'wrok' (did you mean 'work'?)"),
        ("qqq", {"type": "AppVM"}, "qubes:vms:qqq: qubesd knows no VM 'qqq'"),
        ("work", {"netvm": "sys-ent"}, "qubes:vms:work:netvm: qubesd knows no VM 'sys-ent' (did you mean 'sys-net'?)"),
        ("work", {"firewall": {"policy": "drop", "netvm": "sys-ent", "ip": "10.137.0.12"}},
         "qubes:vms:work:firewall:netvm: qubesd knows no VM 'sys-ent' (did you mean 'sys-net'?)"),
    ],
)  # fmt: skip
def test_a_name_that_qubesd_does_not_know_is_that_vms_error(host, qubesd, run, vm, raw, said):
    wrong, right = outcomes(host, run, {vm: raw, "personal": {"type": "AppVM"}})
    assert isinstance(wrong.error, VMNotFound)
    assert str(wrong.error) == said
    assert right.ok


def test_the_list_is_asked_for_once_for_all_vms(host, qubesd):
    assert all(o.ok for o in outcomes(host, diff, {"work": {"type": "AppVM"}, "personal": {"type": "AppVM"}}))
    assert qubesd.calls.count(("admin.vm.List", "", "dom0")) == 1


def test_without_a_qubesd_any_name_is_that_of_a_vm_that_does_not_run(host):
    (wrong,) = outcomes(host, diff, {"wrok": {"type": "AppVM"}})
    assert (wrong.ok, wrong.running) == (True, False)


@pytest.mark.parametrize("run", [diff, push])
def test_what_was_probably_not_meant_is_a_note_and_no_error(host, run):
    raw = {"services": {"cupps": True, "network_manager": False, "my-own": True}, "keyboard": "us+dvorakk"}
    (outcome,) = outcomes(host, run, {"work": {**raw, "confirm": False}})
    assert outcome.ok
    said = outcome.comment(test=run is diff)
    assert "services:cupps is no service that Qubes has (did you mean 'cups'?)" in said
    assert "services:network_manager is no service that Qubes has (did you mean 'network-manager'?)" in said
    assert "my-own" not in said.replace("services:my-own", "")
    assert "this system has no variant 'dvorakk' of the keyboard layout 'us' (did you mean 'dvorak'?)" in said
