"""A running VM's addresses on Qubes R4: qubesd keeps them, and no key cuts the VM off from its provider."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from lab.qubesd import Qube
from tests.support.qubeshost import R4
from tests.support.stopwatch import Stopwatch
from vminterface.channel import adminapi
from vminterface.dom0.desired.settings import VMSettings, parse_pillar
from vminterface.dom0.inventory.qubesd import Qubesd
from vminterface.dom0.push.persist import attach
from vminterface.dom0.results.returns import changes_of
from vminterface.errors import Interrupted, InvalidValue, InvalidValues, PermissionDenied, VerificationFailed

NEW = "10.137.0.77"
PROPERTY = ("property.Set", "property.Reset")
WAITS = "network:ip takes effect at the VM's next start (until then: {})"


def settings(
    qubes: R4,
    ip: str = NEW,
    vm: str = "work",
    timeout: float = 5,
    network: dict[str, Any] | None = None,
    **more: bool | dict[str, str] | str,
) -> VMSettings:
    gateway = qubes.qubesd.system.value(vm, "visible_gateway")
    whole = {"ip": ip, "gateway": gateway, **(network or {})}
    return VMSettings.parse(vm, {"network": whole, "timeout": timeout, **more})


def held(qubes: R4, name: str = "ip", vm: str = "work") -> str | None:
    """What somebody has set as a property."""
    return qubes.qubesd.qubes[vm].properties.get(name)


def address(qubes: R4) -> str:
    """The address that work has now."""
    found = qubes.host.read("work", "qubes-ip")
    assert found is not None
    return found


def clients(qubes: R4, vm: str = "sys-net") -> list[str]:
    """The addresses that the provider *vm* has been told of."""
    found = qubes.host.read(vm, "connected-ips")
    assert found is not None
    return found.split()


def test_the_address_of_a_vm_without_a_netvm_stays_though_it_has_no_keys_of_a_client(qubes: R4) -> None:
    qubes.qubesd.qubes["sys-net"].properties |= {"ip": "10.137.0.5", "ip6": "fd09::5", "mac": "00:16:3e:5e:6c:05"}
    provides = {"gateway": "10.137.0.5", "netmask": "255.255.255.255", "network": "10.137.0.0"}
    (outcome,) = qubes.push(VMSettings.parse("sys-net", {"type": "NetVM", "provides_network": provides}))
    assert outcome.ok, outcome.comment()
    assert [name for name in outcome.changes if name.startswith("persistent:network")] == []
    assert [held(qubes, name, "sys-net") for name in ("ip", "ip6", "mac")] == [
        "10.137.0.5", "fd09::5", "00:16:3e:5e:6c:05",
    ]  # fmt: skip


def test_an_address_is_kept_for_the_next_start_and_the_running_vm_is_not_cut_off(qubes: R4) -> None:
    old = qubes.host.read("work", "qubes-ip")
    (would,) = qubes.diff(settings(qubes))
    (outcome,) = qubes.push(settings(qubes))
    assert outcome.ok, outcome.comment()
    assert outcome.changes == would.changes
    assert changes_of(outcome) == {"persistent:network:ip": {"old": "default", "new": NEW}}
    assert outcome.comment() == f"work: persistent:network:ip set; {WAITS.format(old)}"
    assert qubes.host.read("work", "qubes-ip") == old
    assert held(qubes) == NEW
    qubes.asked()
    (again,) = qubes.push(settings(qubes))
    assert (again.changes, qubes.asked(*PROPERTY)) == ({}, [])
    assert again.comment() == f"work is already as configured; {WAITS.format(old)}"
    assert qubes.diff(settings(qubes))[0].changes == {}
    qubes.qubesd.stop_vm("work")
    qubes.qubesd.start_vm("work")
    assert qubes.host.read("work", "qubes-ip") == NEW
    assert qubes.push(settings(qubes))[0].comment() == "work is already as configured"


@pytest.mark.parametrize("default", [True, False], ids=["default netvm", "netvm set"])
def test_reattach_lets_qubesd_attach_the_network_at_once(qubes: R4, default: bool) -> None:
    if not default:
        qubes.qubesd.qubes["work"].properties["netvm"] = "sys-net"
    old = qubes.host.read("work", "qubes-ip")
    desired = settings(qubes, network={"reattach": True})
    (would,) = qubes.diff(desired)
    (outcome,) = qubes.push(desired)
    assert outcome.ok, outcome.comment()
    assert outcome.changes == would.changes
    assert changes_of(outcome) == {
        "persistent:network:ip": {"old": "default", "new": NEW},
        "network:ip": {"old": old, "new": NEW},
    }
    assert qubes.host.read("work", "qubes-ip") == NEW
    assert NEW in clients(qubes)
    assert old not in clients(qubes)
    assert qubes.host.read("sys-net", f"mapped-ip/{NEW}/visible-ip") == NEW
    assert qubes.keys("sys-net", f"/qubes-firewall/{NEW}")
    # The provider is the same, and as much or as little set as before.
    assert held(qubes, "netvm") == (None if default else "sys-net")
    qubes.asked()
    (again,) = qubes.push(desired)
    assert (again.comment(), qubes.asked(*PROPERTY)) == ("work is already as configured", [])


def test_an_interruption_ends_the_wait_for_the_provider(qubes: Any) -> None:
    stop = threading.Event()
    threading.Timer(0.05, stop.set).start()
    began = Stopwatch()
    desired = settings(qubes, ip="10.137.0.99", timeout=60)
    with (
        qubes.host.targets() as targets,
        pytest.raises(Interrupted, match="work: interrupted before sys-net received"),
    ):
        attach.check(Qubesd(), targets, desired, None, stop)
    began.check(5)


def test_a_provider_that_is_not_given_the_address_is_said_in_time(qubes: Any) -> None:
    desired = settings(qubes, ip="10.137.0.99", timeout=0.3)
    with (
        qubes.host.targets() as targets,
        pytest.raises(
            VerificationFailed, match=r"sys-net did not receive 10\.137\.0\.99 in connected-ips within 0\.3 s"
        ),
    ):
        attach.check(Qubesd(), targets, desired, None, threading.Event())


def test_reattach_brings_about_what_an_earlier_push_has_put_off(qubes: R4) -> None:
    qubes.push(settings(qubes))
    (outcome,) = qubes.push(settings(qubes, network={"reattach": True}))
    assert set(outcome.changes) == {"network:ip"}
    assert qubes.host.read("work", "qubes-ip") == NEW
    assert NEW in clients(qubes)


def test_what_qubesd_writes_over_when_it_attaches_the_network_is_right_afterwards_and_no_change(qubes: R4) -> None:
    zone: dict[str, Any] = {"vm_config": {"mode": "quiet"}, "debug": True}
    assert qubes.push(settings(qubes, ip=address(qubes), **zone))[0].ok
    (outcome,) = qubes.push(settings(qubes, network={"reattach": True}, **zone))
    assert set(outcome.changes) == {"persistent:network:ip", "network:ip"}
    assert qubes.host.read("work", "vm-config/mode") == "quiet"
    assert qubes.host.read("work", "qubes-debug-mode") == "1"


def test_a_netvm_that_changes_too_attaches_the_network_with_the_new_address(qubes: R4) -> None:
    qubes.qubesd.qubes["other-net"] = Qube(
        features={"qubes-firewall": "1"}, properties={"provides_network": "True", "netvm": ""}
    )
    qubes.qubesd.start_vm("other-net")
    (outcome,) = qubes.push(
        settings(qubes, netvm="other-net", network={"gateway": qubes.qubesd.system.value("other-net", "gateway")})
    )
    assert outcome.ok, outcome.comment()
    assert {"persistent:network:ip", "persistent:netvm", "network:ip"} <= set(outcome.changes)
    assert qubes.host.read("work", "qubes-ip") == NEW
    assert NEW in clients(qubes, "other-net")


def test_a_network_that_cannot_be_attached_is_put_back_as_it_was(qubes: R4) -> None:
    old = qubes.host.read("work", "qubes-ip")
    qubes.qubesd.faults.attach_fails.add("work")
    (outcome,) = qubes.push(settings(qubes, network={"reattach": True}))
    assert isinstance(outcome.error, PermissionDenied)
    assert str(outcome.error).startswith("work: network:reattach (property netvm): ")
    assert outcome.changes == {}
    assert held(qubes) is None
    assert qubes.host.read("work", "qubes-ip") == old
    assert old in clients(qubes)


def test_a_vm_that_refuses_its_new_address_is_attached_with_the_old_one(qubes: R4) -> None:
    old = qubes.host.read("work", "qubes-ip")
    qubes.host.agent("work", lambda setting, inputs: "no" if NEW in inputs.values() else "")
    (outcome,) = qubes.push(settings(qubes, timeout=30, network={"reattach": True}))
    assert not outcome.ok
    assert "refused network" in outcome.comment()
    assert held(qubes) is None
    assert held(qubes, "netvm") is None
    assert qubes.host.read("work", "qubes-ip") == old
    assert old in clients(qubes)
    assert NEW not in clients(qubes)


def test_a_provider_that_is_not_given_the_address_in_time_is_an_error_and_all_is_put_back(
    qubes: R4, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lab.qubesd.network.write_connected_ips", lambda system, netvm: None)
    monkeypatch.setattr("lab.qubesd.provider.write_connected_ips", lambda system, netvm: None)
    old = qubes.host.read("work", "qubes-ip")
    (outcome,) = qubes.push(settings(qubes, timeout=0.5, network={"reattach": True}))
    assert isinstance(outcome.error, VerificationFailed)
    assert str(outcome.error) == (
        f"work: its network was attached again, but sys-net did not receive {NEW} in connected-ips within 0.5 s"
    )
    assert held(qubes) is None
    assert qubes.host.read("work", "qubes-ip") == old


def test_a_halted_vm_has_its_address_at_its_start(qubes: R4) -> None:
    (outcome,) = qubes.push(settings(qubes, vm="personal", network={"reattach": True}))
    assert outcome.ok, outcome.comment()
    assert set(outcome.changes) == {"persistent:network:ip"}
    assert ("admin.vm.property.Set", "netvm", "personal") not in qubes.asked("property.Set")
    qubes.qubesd.start_vm("personal")
    assert qubes.host.read("personal", "qubes-ip") == NEW


@pytest.mark.parametrize(
    ("network", "name", "kept"),
    [
        ({"ip6": "FD09:24EF:4179:0::A89:77"}, "ip6", "fd09:24ef:4179::a89:77"),
        ({"mac": "00:16:3E:5E:6C:77"}, "mac", "00:16:3e:5e:6c:77"),
    ],
)
def test_other_addresses_are_kept_in_the_same_way_in_the_form_that_qubesd_has(
    qubes: R4, network: dict[str, str], name: str, kept: str
) -> None:
    ip = address(qubes)
    qubes.qubesd.qubes["sys-net"].features["ipv6"] = "1"
    qubes.qubesd.stop_vm("work")
    qubes.qubesd.start_vm("work")
    old = qubes.host.read("work", f"qubes-{name}")
    (outcome,) = qubes.push(settings(qubes, ip=ip, network=network))
    assert outcome.ok, outcome.comment()
    assert set(outcome.changes) == {f"persistent:network:{name}"}
    assert held(qubes, name) == kept
    assert qubes.host.read("work", f"qubes-{name}") == old
    assert f"network:{name} takes effect at the VM's next start (until then: {old})" in outcome.comment()
    assert qubes.push(settings(qubes, ip=ip, network=network))[0].changes == {}
    # In another spelling it is the same.
    qubes.qubesd.qubes["work"].properties[name] = kept.upper()
    assert qubes.push(settings(qubes, ip=ip, network=network))[0].changes == {}


def test_the_default_user_is_kept_and_there_at_once(qubes: R4) -> None:
    desired = VMSettings.parse("work", {"default_user": "alice"})
    (outcome,) = qubes.push(desired)
    assert set(outcome.changes) == {"persistent:default_user", "default_user"}
    assert held(qubes, "default_user") == "alice"
    assert qubes.host.read("work", "default-user") == "alice"
    qubes.qubesd.stop_vm("work")
    qubes.qubesd.start_vm("work")
    assert qubes.push(desired)[0].comment() == "work is already as configured"


def test_the_default_of_the_default_user_is_the_one_that_qubesd_gives(qubes: R4) -> None:
    qubes.push(VMSettings.parse("work", {"default_user": "alice"}))
    (outcome,) = qubes.push(VMSettings.parse("work", {"default_user": "default"}))
    assert outcome.ok, outcome.comment()
    assert held(qubes, "default_user") is None
    assert qubes.host.read("work", "default-user") == "user"
    qubes.qubesd.stop_vm("work")
    qubes.qubesd.start_vm("work")
    assert qubes.push(VMSettings.parse("work", {"default_user": "default"}))[0].changes == {}


NETWORK_AGAIN = "network: none holds until the VM's next start, when qubesd sets one (netvm: none is persistent)"


@pytest.mark.parametrize("persist", [None, False])
@pytest.mark.parametrize("vm", ["work", "personal"])
def test_a_network_that_is_removed_alone_is_there_again_after_the_start_and_each_run_says_so(
    qubes: R4, vm: str, persist: bool | None
) -> None:
    desired = VMSettings.parse(vm, {"network": "none"}).with_options(persist=persist)
    for run in (qubes.diff, qubes.push, qubes.push):
        (outcome,) = run(desired)
        assert outcome.ok
        assert outcome.comment().endswith(f"; {NETWORK_AGAIN}")
        assert "for which qubesd stores it" not in outcome.comment()
    if vm == "work":
        assert qubes.host.read(vm, "qubes-ip") is None
    qubes.qubesd.start_vm(vm)
    assert qubes.host.read(vm, "qubes-ip") is not None


@pytest.mark.parametrize("by", ["pillar", "property"])
def test_without_a_netvm_no_network_comes_back(qubes: R4, by: str) -> None:
    if by == "property":
        qubes.qubesd.qubes["work"].properties["netvm"] = ""
    desired = VMSettings.parse("work", {"network": "none", **({"netvm": "none"} if by == "pillar" else {})})
    (outcome,) = qubes.push(desired)
    assert outcome.comment().endswith("set; no agent is running in the VM")
    qubes.qubesd.start_vm("work")
    (again,) = qubes.push(desired)
    assert again.comment() == "work is already as configured"


def test_a_stopped_qubesd_keeps_nobody_from_removing_a_network(
    qubes: R4, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "qubes.xml").touch()
    monkeypatch.setattr(adminapi, "QUBES_XML", str(tmp_path / "qubes.xml"))
    qubes.qubesd.stop_listening()
    (outcome,) = qubes.push(VMSettings.parse("work", {"network": "none"}))
    assert outcome.ok, outcome.comment()
    assert outcome.comment().endswith(NETWORK_AGAIN)
    assert qubes.host.read("work", "qubes-ip") is None


def test_without_persist_an_address_with_which_the_vm_is_not_attached_is_refused(qubes: R4) -> None:
    old = address(qubes)
    before = qubes.host.dump()
    for outcome in (*qubes.diff(settings(qubes, persist=False)), *qubes.push(settings(qubes, persist=False))):
        assert isinstance(outcome.error, InvalidValue)
        assert str(outcome.error) == (
            f"work: network:ip: qubesd has attached the VM with {old} (property ip), so the provider would block {NEW} "
            f"as spoofed (expected {old}, or persist: true)"
        )
    assert qubes.host.dump() == before
    assert held(qubes) is None
    assert qubes.push(settings(qubes, ip=old, persist=False))[0].comment() == "work is already as configured"


def test_without_persist_an_address_that_somebody_has_set_in_qubesd_waits_for_the_next_start(qubes: R4) -> None:
    old = qubes.host.read("work", "qubes-ip")
    qubes.qubesd.qubes["work"].properties["ip"] = NEW
    (outcome,) = qubes.push(settings(qubes, persist=False))
    assert outcome.comment() == f"work is already as configured; {WAITS.format(old)}"
    assert qubes.host.read("work", "qubes-ip") == old


@pytest.fixture
def hidden(qubes: R4) -> R4:
    """work does not see its own address, as the template says."""
    work = qubes.qubesd.qubes["work"]
    work.features.update(
        {"net.fake-ip": "192.168.1.9", "net.fake-gateway": "192.168.1.1", "net.fake-netmask": "255.255.255.0"}
    )
    qubes.qubesd.stop_vm("work")
    qubes.qubesd.start_vm("work")
    qubes.asked()
    return qubes


@pytest.mark.parametrize("persist", [True, False])
def test_a_vm_that_is_shown_another_address_has_what_it_is_shown(hidden: R4, persist: bool) -> None:
    assert hidden.host.read("work", "qubes-ip") == "192.168.1.9"
    before = hidden.host.dump()
    (outcome,) = hidden.push(settings(hidden, ip="192.168.1.9", persist=persist))
    assert outcome.comment() == "work is already as configured"
    assert hidden.host.dump() == before
    assert hidden.asked(*PROPERTY) == []


@pytest.mark.parametrize("running", [True, False])
@pytest.mark.parametrize("persist", [True, False])
@pytest.mark.parametrize(
    ("network", "field", "feature", "shown"),
    [
        ({"ip": NEW}, "ip", "net.fake-ip", "192.168.1.9"),
        ({"gateway": "10.137.0.5"}, "gateway", "net.fake-gateway", "192.168.1.1"),
        ({"netmask": "255.255.0.0"}, "netmask", "net.fake-netmask", "255.255.255.0"),
    ],
)
def test_something_else_than_what_it_is_shown_is_refused_with_the_feature(
    hidden: R4, running: bool, persist: bool, network: dict[str, str], field: str, feature: str, shown: str
) -> None:
    if not running:
        hidden.qubesd.stop_vm("work")
    before = hidden.host.dump()
    desired = settings(hidden, ip="192.168.1.9", network=network, persist=persist)
    for outcome in (*hidden.diff(desired), *hidden.push(desired)):
        assert str(outcome.error) == (
            f"work: network:{field}: the VM sees {shown}, because of its feature {feature} "
            f"(expected {shown}, or another feature)"
        )
    assert hidden.host.dump() == before
    assert hidden.asked(*PROPERTY) == []


def test_a_feature_that_says_nothing_sensible_is_named(hidden: R4) -> None:
    hidden.qubesd.qubes["work"].features["net.fake-ip"] = "nope"
    (outcome,) = hidden.push(settings(hidden, ip=NEW))
    assert "the VM sees nope, because of its feature net.fake-ip" in str(outcome.error)


def test_the_firewall_is_that_of_the_address_which_is_routed(hidden: R4) -> None:
    routed = hidden.qubesd.system.value("work", "ip")
    desired = settings(hidden, ip="192.168.1.9", firewall={"netvm": "sys-net", "policy": "drop"}, timeout=1)
    (outcome,) = hidden.push(desired)
    assert outcome.ok, outcome.comment()
    assert set(outcome.changes) == {"persistent:firewall", "firewall"}
    assert hidden.keys("sys-net", "/qubes-firewall/192.168.1.9") == {}
    assert hidden.keys("sys-net", f"/qubes-firewall/{routed}/policy") == {f"/qubes-firewall/{routed}/policy": "drop"}


def test_the_firewall_alone_goes_by_the_routed_address_too(hidden: R4) -> None:
    routed = hidden.qubesd.system.value("work", "ip")
    whole = settings(hidden, ip="192.168.1.9", firewall={"netvm": "sys-net", "policy": "drop"}, timeout=1)
    (outcome,) = hidden.push(whole.only(["firewall"]))
    assert set(outcome.changes) == {"persistent:firewall", "firewall"}
    firewall = outcome.changes["firewall"].new
    assert firewall is not None
    assert set(firewall.keys) == {f"qubes-firewall/{routed}"}


def test_the_firewall_of_a_running_vm_is_that_of_the_address_that_it_still_has(qubes: R4) -> None:
    old = qubes.host.read("work", "qubes-ip")
    desired = settings(qubes, firewall={"netvm": "sys-net", "policy": "drop"}, timeout=1)
    (outcome,) = qubes.push(desired)
    assert outcome.ok, outcome.comment()
    firewall = outcome.changes["firewall"].new
    assert firewall is not None
    assert set(firewall.keys) == {f"qubes-firewall/{old}"}
    assert qubes.keys("sys-net", f"/qubes-firewall/{old}") == {
        f"/qubes-firewall/{old}": "", f"/qubes-firewall/{old}/policy": "drop"
    }  # fmt: skip
    assert qubes.push(desired)[0].changes == {}
    assert qubes.push(desired.only(["firewall"]))[0].comment() == "work is already as configured"


def test_the_default_of_a_mac_is_the_one_that_qubesd_gives(qubes: R4) -> None:
    ip, mac = address(qubes), qubes.host.read("work", "qubes-mac")
    qubes.push(settings(qubes, ip=ip, network={"mac": "00:16:3e:5e:6c:77"}))
    (outcome,) = qubes.push(settings(qubes, ip=ip, network={"mac": "default"}))
    assert set(outcome.changes) == {"persistent:network:mac"}
    assert held(qubes, "mac") is None
    assert qubes.host.read("work", "qubes-mac") == mac


def test_a_qubesd_that_is_stopped_leaves_the_running_vm_its_address(
    qubes: R4, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "qubes.xml").touch()
    monkeypatch.setattr(adminapi, "QUBES_XML", str(tmp_path / "qubes.xml"))
    old, desired = qubes.host.read("work", "qubes-ip"), settings(qubes)
    qubes.qubesd.stop_listening()
    (outcome,) = qubes.push(desired)
    assert str(outcome.error) == (
        "work: network:ip: the VM may be attached with another ip (expected qubesd, which knows it, to run)"
    )
    assert qubes.host.read("work", "qubes-ip") == old
    qubes.qubesd.start_listening()
    assert qubes.push(desired)[0].ok


def test_a_netvm_that_cannot_be_attached_leaves_the_old_one_with_the_old_address(qubes: R4) -> None:
    old = qubes.host.read("work", "qubes-ip")
    qubes.qubesd.qubes["other-net"] = Qube(
        features={"qubes-firewall": "1"}, properties={"provides_network": "True", "netvm": ""}
    )
    gateway = qubes.qubesd.system.value("other-net", "gateway")
    (outcome,) = qubes.push(settings(qubes, netvm="other-net", network={"gateway": gateway}))
    assert "Cannot dynamically attach to stopped qube" in outcome.comment()
    assert (held(qubes), held(qubes, "netvm")) == (None, None)
    assert qubes.host.read("work", "qubes-ip") == old
    assert old in clients(qubes)


def test_reattach_is_read_and_its_faults_have_their_paths() -> None:
    network = {"ip": NEW, "gateway": "10.137.0.5"}

    def parsed(one: dict[str, Any], defaults: dict[str, Any] | None = None) -> VMSettings:
        return parse_pillar({"qubes": {"defaults": defaults or {}, "vms": {"work": one}}})[0]

    assert parsed({"network": {**network, "reattach": True}}).reattach
    assert not parsed({"network": {**network, "reattach": False}}).reattach
    # A VM's own network goes before that of the defaults whole.
    assert not parsed({"network": network}, {"network": {**network, "reattach": True}}).reattach
    for one, where in (
        ({"network": {**network, "reattach": "perhaps"}}, "network:reattach"),
        ({"network": {**network, "reattach": True}, "persist": False}, "network:reattach"),
        ({"provides_network": {"gateway": "10.137.0.5", "reattach": True}}, "provides_network:reattach"),
    ):
        with pytest.raises(InvalidValues) as caught:
            parsed(one)
        assert [fault.where for fault in caught.value.errors] == [f"qubes:vms:work:{where}"]
