"""A firewall and addresses on Qubes R4, through Salt: true in test mode, and nothing to do the second time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from salt.loader.lazy import LazyLoader
from saltfactories.utils.functional import Loaders

from tests.support.qubeshost import R4, r4

NEW = "10.137.0.77"
RULES = [{"action": "accept", "dsthost": "mirror.example.org", "proto": "tcp", "dstports": 443}]
KEPT = "action=accept dsthost=mirror.example.org proto=tcp dstports=443-443"


@pytest.fixture
def qubes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[R4]:
    """work runs, with sys-net as its provider; Salt finds both, and their qubesd."""
    with r4(tmp_path, "work") as qubes:
        monkeypatch.setenv("VMINTERFACE_QUBESDB_DIR", str(qubes.host.folder))
        monkeypatch.setenv("XENSTORED_PATH", str(tmp_path / "none"))
        qubes.qubesd.start_vm("work")
        yield qubes


def address(qubes: R4) -> str:
    found = qubes.host.read("work", "qubes-ip")
    assert found is not None
    return found


def test_a_firewall_is_kept_and_has_nothing_left_to_do(qubes: R4, loaders: Loaders, pillar: Callable[..., Any]) -> None:
    firewall = {"netvm": "sys-net", "ip": address(qubes), "policy": "drop", "rules": RULES}
    modules = pillar({"qubes": {"vms": {"work": {"firewall": firewall, "timeout": 1}}}}, reload=True)
    states = loaders.states
    before = qubes.host.dump()
    would = states.qubes_vm.configured("work", test=True)
    assert would.result is None
    assert set(would.changes) == {"persistent:firewall", "firewall"}
    assert set(modules.qubes_vm.drift()["work"]) == set(would.changes)
    assert (qubes.rules("work"), qubes.host.dump()) == ("action=accept", before)
    done = states.qubes_vm.all_configured("push")
    assert done.result is True, done.comment
    assert qubes.rules("work") == KEPT
    assert modules.qubes_vm.get("work", "firewall") == {"firewall": {"policy": "drop", "rules": RULES}}
    assert modules.qubes_vm.get("work", "admin.vm.firewall", keys=True) == {"admin.vm.firewall": f"{KEPT}; policy=drop"}
    assert modules.qubes_vm.settings("work")["firewall"] == {"policy": "drop", "rules": RULES}
    for test in (True, False):
        again = states.qubes_vm.configured("work", test=test)
        assert (again.result, again.changes, again.comment) == (True, {}, "work is already as configured")
    assert modules.qubes_vm.drift() == {}
    assert modules.qubes_vm.diff("work")["changes"] == {}


def test_without_persist_every_run_warns(qubes: R4, states: LazyLoader, pillar: Callable[..., Any]) -> None:
    firewall = {"netvm": "sys-net", "ip": address(qubes), "policy": "drop"}
    pillar({"qubes": {"vms": {"work": {"firewall": firewall, "timeout": 1}}}})
    for test in (True, False, False):
        done = states.qubes_vm.configured("work", persist=False, test=test)
        assert "qubesd puts the rules of its own store there when the VM starts" in done.comment
    assert (done.result, done.changes) == (True, {})


def test_an_address_waits_for_the_next_start_and_reattach_brings_it_at_once(qubes: R4, states: LazyLoader) -> None:
    old, gateway = address(qubes), qubes.qubesd.system.value("work", "visible_gateway")
    waits = f"network:ip takes effect at the VM's next start (until then: {old})"
    would = states.qubes_vm.network("work", ip=NEW, gateway=gateway, test=True)
    assert (would.result, set(would.changes)) == (None, {"persistent:network:ip"})
    done = states.qubes_vm.network("work", ip=NEW, gateway=gateway)
    assert (done.result, done.changes) == (True, would.changes)
    assert done.comment.endswith(waits)
    for test in (True, False):
        again = states.qubes_vm.network("work", ip=NEW, gateway=gateway, test=test)
        assert (again.result, again.changes, again.comment) == (True, {}, f"work is already as configured; {waits}")
    would = states.qubes_vm.network("work", ip=NEW, gateway=gateway, reattach=True, test=True)
    assert (would.result, address(qubes)) == (None, old)
    done = states.qubes_vm.network("work", ip=NEW, gateway=gateway, reattach=True)
    assert (done.result, done.changes) == (True, {"network:ip": {"old": old, "new": NEW}})
    assert address(qubes) == NEW
    clients = qubes.host.read("sys-net", "connected-ips")
    assert clients is not None
    assert NEW in clients.split()
    again = states.qubes_vm.network("work", ip=NEW, gateway=gateway, reattach=True)
    assert (again.changes, again.comment) == ({}, "work is already as configured")


def test_an_address_that_the_vm_does_not_see_is_refused(qubes: R4, states: LazyLoader) -> None:
    qubes.qubesd.qubes["work"].features["net.fake-ip"] = "192.168.1.9"
    for test in (True, False):
        refused = states.qubes_vm.network("work", ip=NEW, gateway="10.137.0.1", test=test)
        assert refused.result is False
        assert "192.168.1.9" in refused.comment
        assert "net.fake-ip" in refused.comment
    assert "ip" not in qubes.qubesd.qubes["work"].properties
