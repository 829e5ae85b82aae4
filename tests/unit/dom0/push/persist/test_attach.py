"""Attaching a VM's network anew: how qubesd is asked for it, and until when its provider is waited for."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.support.adminapi import MemoryAPI, MemoryQubesd
from tests.support.memorystore import MemoryStore
from tests.support.virtualtime import Clock
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.inventory.targets import Target
from vminterface.dom0.push.persist import attach
from vminterface.errors import Interrupted, StoreError, VerificationFailed, VMNotRunning
from vminterface.keys import read_value
from vminterface.values.change import Change

BOTH = {name: read_value(name, text) for name, text in (("network:ip", "10.137.0.12"), ("network:ip6", "fd09::12"))}
#: What a provider has of a client with both addresses.
KEYS = {
    "/connected-ips": b"10.137.0.5 10.137.0.12",
    "/connected-ips6": b"fd09::12",
    "/qubes-firewall/10.137.0.12": b"",
    "/qubes-firewall/10.137.0.12/policy": b"drop",
    "/qubes-firewall/fd09::12": b"",
    "/qubes-firewall/fd09::12/policy": b"drop",
    "/mapped-ip/10.137.0.12/visible-ip": b"10.137.0.12",
}


class Providers:
    """What finds the VMs of *stores*; it notes for whom it was asked, and how long each may take."""

    def __init__(self, **stores: MemoryStore) -> None:
        self._targets = {name.replace("_", "-"): store.target(name) for name, store in stores.items()}
        self.asked: list[tuple[list[str], float]] = []

    def find(self, vms: list[str], *, timeout: float) -> dict[str, Target]:
        self.asked.append((vms, timeout))
        return {vm: self._targets[vm] for vm in vms if vm in self._targets}


def checked(
    store: MemoryStore | None,
    desired: dict[str, Any],
    *,
    routed_ip: str | None = None,
    stop: threading.Event | None = None,
) -> Providers:
    providers = Providers() if store is None else Providers(sys_net=store)
    settings = VMSettings("work", desired, timeout=5.0)
    targets: Any = providers
    attach.check(MemoryQubesd(MemoryAPI()), targets, settings, routed_ip, stop or threading.Event())
    return providers


class TestPlanned:
    @pytest.mark.parametrize(
        ("reattach", "netvm", "expected"),
        [(True, "sys-net", True), (True, "", False), (False, "sys-net", False), (False, "", False)],
    )
    def test_with_the_netvm_as_it_is_the_pillar_decides(self, reattach: bool, netvm: str, expected: bool) -> None:
        api = MemoryAPI(netvm=netvm)
        settings = VMSettings("work", reattach=reattach)
        assert attach.planned(MemoryQubesd(api), settings, {}) is expected
        assert set(api.asked) <= {("work", "netvm")}

    @pytest.mark.parametrize(
        ("new", "default", "expected"),
        [("sys-vpn", "", True), ("", "sys-net", False), (None, "sys-net", True), (None, "", False)],
    )
    def test_another_netvm_attaches_the_vm_where_it_is_one(self, new: str | None, default: str, expected: bool) -> None:
        api = MemoryAPI()
        api.defaults["netvm"] = default
        change = {"netvm": Change("sys-net", new)}
        assert attach.planned(MemoryQubesd(api), VMSettings("work"), change) is expected
        assert api.asked == ([("work", "netvm")] if new is None else [])

    def test_a_default_that_cannot_be_read_is_named(self) -> None:
        api = MemoryAPI()
        api.unreadable["netvm"] = StoreError("no")
        with pytest.raises(StoreError, match=r"^work: netvm \(property netvm\): no$"):
            attach.planned(MemoryQubesd(api), VMSettings("work"), {"netvm": Change("sys-vpn", None)})

    def test_an_error_names_the_field_and_the_property(self) -> None:
        api = MemoryAPI()
        api.unreadable["netvm"] = StoreError("no")
        with pytest.raises(StoreError, match=r"^work: network:reattach \(property netvm\): no$"):
            attach.planned(MemoryQubesd(api), VMSettings("work", reattach=True), {})


class TestAnew:
    def test_a_netvm_that_is_set_is_set_again(self) -> None:
        api = MemoryAPI(netvm="sys-vpn")
        attach.anew(MemoryQubesd(api), "work")
        assert api.calls == [("netvm", "sys-vpn")]
        assert api.asked == [("work", "netvm")]

    def test_one_that_is_the_default_is_the_default_afterwards(self) -> None:
        api = MemoryAPI()
        attach.anew(MemoryQubesd(api), "work")
        assert api.calls == [("netvm", "sys-net"), ("netvm", None)]

    def test_a_vm_without_one_is_left_alone(self) -> None:
        api = MemoryAPI(netvm="")
        attach.anew(MemoryQubesd(api), "work")
        assert api.calls == []

    def test_an_error_names_the_field_and_the_property(self) -> None:
        api = MemoryAPI(netvm="sys-vpn")
        api.fails["netvm"] = StoreError("no")
        with pytest.raises(StoreError, match=r"^work: network:reattach \(property netvm\): no$"):
            attach.anew(MemoryQubesd(api), "work")


class TestCheck:
    def test_a_provider_that_has_all_keys_is_not_waited_for(self, clock: Clock) -> None:
        store = MemoryStore(KEYS, clock=clock)
        assert checked(store, BOTH).asked == [(["sys-net"], 5.0)]
        assert store.waits == []
        assert store.watched == ["/connected-ips", "/connected-ips6", "/mapped-ip", "/qubes-firewall"]

    @pytest.mark.parametrize(
        ("key", "missing"),
        [
            ("/connected-ips", "10.137.0.12 in connected-ips"),
            ("/connected-ips6", "fd09::12 in connected-ips6"),
            ("/qubes-firewall/10.137.0.12", "qubes-firewall/10.137.0.12"),
            ("/qubes-firewall/10.137.0.12/policy", "qubes-firewall/10.137.0.12/policy"),
            ("/qubes-firewall/fd09::12", "qubes-firewall/fd09::12"),
            ("/qubes-firewall/fd09::12/policy", "qubes-firewall/fd09::12/policy"),
            ("/mapped-ip/10.137.0.12/visible-ip", "mapped-ip/10.137.0.12/visible-ip"),
        ],
    )
    def test_one_that_does_not_get_a_key_is_waited_for_as_long_as_the_vm_has(
        self, clock: Clock, key: str, missing: str
    ) -> None:
        store = MemoryStore({path: value for path, value in KEYS.items() if path != key}, clock=clock)
        with pytest.raises(VerificationFailed) as raised:
            checked(store, BOTH)
        assert str(raised.value) == (
            f"work: its network was attached again, but sys-net did not receive {missing} within 5 s"
        )
        assert clock.now == pytest.approx(5.0)
        assert set(store.waits[:-1]) == {0.2}

    def test_keys_that_come_meanwhile_end_the_wait(self, clock: Clock) -> None:
        store = MemoryStore(KEYS, clock=clock)
        store.keys["/connected-ips"] = b"10.137.0.5"
        store.meanwhile = [lambda: None, lambda: store.keys.update(KEYS)]
        checked(store, BOTH)
        assert len(store.waits) == 2

    def test_of_an_address_that_the_pillar_does_not_give_nothing_is_expected(self, clock: Clock) -> None:
        four = {path: value for path, value in KEYS.items() if "6" not in path and ":" not in path}
        checked(MemoryStore(four, clock=clock), {**BOTH, "network:ip6": None})
        six = {path: value for path, value in KEYS.items() if "fd09" in path or path == "/connected-ips6"}
        checked(MemoryStore(six, clock=clock), {"network:ip6": BOTH["network:ip6"]})

    def test_a_vm_that_is_shown_another_address_is_routed_with_its_own(self, clock: Clock) -> None:
        routed = {path.replace("0.12", "0.99") if "connected" not in path else path: v for path, v in KEYS.items()}
        checked(MemoryStore(routed, clock=clock), BOTH, routed_ip="10.137.0.99")
        with pytest.raises(VerificationFailed, match=r"did not receive qubes-firewall/10\.137\.0\.99 within"):
            checked(MemoryStore(KEYS, clock=clock), BOTH, routed_ip="10.137.0.99")

    def test_a_provider_that_does_not_run_is_an_error(self, clock: Clock) -> None:
        with pytest.raises(VMNotRunning, match=r"^work: sys-net, which provides its network, is not running$"):
            checked(None, BOTH)

    def test_the_wait_ends_when_this_program_is_to_end(self, clock: Clock) -> None:
        stop = threading.Event()
        store = MemoryStore({}, clock=clock)
        store.meanwhile = [stop.set]
        with pytest.raises(
            Interrupted, match=r"^work: interrupted before sys-net received 10\.137\.0\.12 in connected-ips$"
        ):
            checked(store, BOTH, stop=stop)
        assert len(store.waits) == 1
