"""With which addresses qubesd has attached a running VM, what it is shown in their place, and what waits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.support.adminapi import MemoryAPI, MemoryQubesd
from vminterface.dom0.desired.firewall import ClientFirewall
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.push.persist import routed as module
from vminterface.dom0.push.persist.routed import OVERWRITTEN, Pin, Routed, read
from vminterface.errors import InvalidValue, StoreError
from vminterface.keys import read_value
from vminterface.values.change import Change

IP, OTHER, FAKE = (read_value("network:ip", f"10.137.0.{last}") for last in (12, 77, 99))
IP6 = read_value("network:ip6", "fd09::12")
GATEWAY = read_value("network:gateway", "10.137.0.5")
HOST, WIDE = (read_value("network:netmask", f"255.255.255.{last}") for last in (255, 0))


def firewall(*, of_network: bool = True, ip: Any = IP, ip6: Any = None, netvm: str = "sys-net") -> ClientFirewall:
    parsed: Any = ClientFirewall.parse({"netvm": netvm, "policy": "drop"})
    made: ClientFirewall = replace(parsed, ip=ip, ip6=ip6, of_network=of_network)
    return made


def settings(*, persist: bool = False, rules: ClientFirewall | None = None, **more: Any) -> VMSettings:
    values = {name: more.pop(name) for name in ("ip", "ip6", "gateway", "netmask", "mac") if name in more}
    desired = {f"network:{name}": value for name, value in values.items()}
    return VMSettings("work", desired, persist=persist, firewall=rules, **more)


class TestPins:
    def test_a_push_that_qubesd_keeps_pins_what_it_asks_for(self, api: MemoryAPI) -> None:
        one, routed, remarks = read(MemoryQubesd(api), settings(persist=True, ip=OTHER, ip6=None, gateway=GATEWAY))
        assert routed.pins == {"network:ip": Pin(OTHER)}
        assert (one.desired["network:ip"], remarks, routed.stored, routed.hidden_ip) == (OTHER, (), None, None)

    def test_another_push_pins_what_qubesd_has_attached_it_with(self, api: MemoryAPI) -> None:
        _, routed, _ = read(MemoryQubesd(api), settings(ip=OTHER))
        assert routed.pins == {
            "network:ip": Pin(
                IP,
                "qubesd has attached the VM with 10.137.0.12 (property ip), so the provider would block 10.137.0.77 as "
                "spoofed (expected 10.137.0.12, or persist: true)",
            )
        }

    def test_an_address_that_it_has_not_is_none(self, api: MemoryAPI) -> None:
        _, routed, _ = read(MemoryQubesd(api), settings(ip6=IP6))
        assert routed.pins["network:ip6"].why.startswith("qubesd has attached the VM with none (property ip6), so the")
        assert not routed.pins["network:ip6"].is_for(IP6)

    def test_the_same_goes_for_its_mac_address(self, api: MemoryAPI) -> None:
        _, routed, _ = read(MemoryQubesd(api), settings(mac=read_value("network:mac", "00:16:3e:5e:6c:01")))
        pin = routed.pins["network:mac"]
        assert pin.value == read_value("network:mac", "00:16:3e:5e:6c:00")
        assert pin.why.startswith("qubesd has attached the VM with 00:16:3e:5e:6c:00 (property mac), so the provider")

    def test_a_vm_whose_class_has_no_such_property_may_have_any(self, api: MemoryAPI) -> None:
        del api.defaults["ip6"]
        _, routed, _ = read(MemoryQubesd(api), settings(ip6=IP6))
        assert routed.pins == {}

    def test_a_qubesd_that_is_stopped_is_not_asked(self, api: MemoryAPI) -> None:
        _, routed, _ = read(MemoryQubesd(api, available=False), settings(ip=OTHER))
        assert routed.pins == {
            "network:ip": Pin(None, "the VM may be attached with another ip (expected qubesd, which knows it, to run)")
        }
        assert api.asked == []

    def test_fields_that_are_to_be_gone_are_not_pinned(self, api: MemoryAPI) -> None:
        _, routed, _ = read(MemoryQubesd(api), settings(ip=None, mac=None))
        assert routed.pins == {}

    def test_an_error_names_the_field(self, api: MemoryAPI) -> None:
        api.unreadable["ip"] = StoreError("no")
        with pytest.raises(StoreError, match=r"^work: network:ip \(property ip\): no$"):
            read(MemoryQubesd(api), settings(ip=OTHER))


class TestFakes:
    WHY = "the VM sees {0}, because of its feature net.fake-{1} (expected {0}, or another feature)"

    @pytest.mark.parametrize("persist", [True, False])
    def test_a_vm_that_is_shown_another_address_has_that_of_the_feature(self, api: MemoryAPI, persist: bool) -> None:
        api.features["net.fake-ip"] = str(FAKE)
        _, routed, _ = read(MemoryQubesd(api), settings(persist=persist, ip=OTHER))
        assert routed.pins == {"network:ip": Pin(FAKE, self.WHY.format(FAKE, "ip"), fake=True)}
        assert routed.hidden_ip == "10.137.0.12"
        assert routed.is_fake("network:ip")
        assert not routed.is_fake("network:gateway")

    def test_the_names_of_these_features_begin_alike(self) -> None:
        assert module.FAKE == "net.fake-"
        assert {name.removeprefix(module.FAKE) for name in module.FAKES.values()} == {"ip", "gateway", "netmask"}

    def test_gateway_and_netmask_too(self, api: MemoryAPI) -> None:
        api.features |= {"net.fake-gateway": "10.0.0.1", "net.fake-netmask": "255.255.255.0"}
        one, routed, _ = read(MemoryQubesd(api), settings(gateway=GATEWAY, netmask=WIDE))
        assert routed.pins == {
            "network:gateway": Pin(
                read_value("network:gateway", "10.0.0.1"), self.WHY.format("10.0.0.1", "gateway"), fake=True
            ),
            "network:netmask": Pin(WIDE, self.WHY.format("255.255.255.0", "netmask"), fake=True),
        }
        assert routed.hidden_ip is None
        assert one.desired["network:netmask"] == WIDE

    def test_a_netmask_that_only_follows_from_the_address_is_left_out(self, api: MemoryAPI) -> None:
        api.features["net.fake-netmask"] = "255.255.255.0"
        one, routed, _ = read(MemoryQubesd(api), settings(gateway=GATEWAY, netmask=HOST))
        assert routed.pins == {}
        assert one.desired == {"network:gateway": GATEWAY}

    def test_a_gateway_of_all_ones_is_no_netmask(self, api: MemoryAPI) -> None:
        api.features["net.fake-gateway"] = "10.0.0.1"
        one, routed, _ = read(MemoryQubesd(api), settings(gateway=HOST))
        assert list(routed.pins) == ["network:gateway"]
        assert one.desired == {"network:gateway": HOST}

    def test_features_of_fields_that_nobody_asks_for_are_not_read(self, api: MemoryAPI) -> None:
        api.features["net.fake-ip"] = str(FAKE)
        _, routed, _ = read(MemoryQubesd(api), settings(gateway=GATEWAY, netmask=None))
        assert routed.pins == {}
        assert {name for _, name in api.asked} == {"net.fake-gateway"}

    def test_a_long_text_is_shown_in_part(self, api: MemoryAPI) -> None:
        api.features["net.fake-ip"] = "x" * 100
        _, routed, _ = read(MemoryQubesd(api), settings(ip=OTHER))
        assert routed.pins["network:ip"].why.startswith(f"the VM sees {'x' * 57}..., because")

    def test_the_firewall_is_that_of_the_address_that_is_routed(self, api: MemoryAPI) -> None:
        api.features["net.fake-ip"] = str(FAKE)
        api.properties["ip"] = str(OTHER)
        one, _, _ = read(MemoryQubesd(api), settings(ip=FAKE, rules=firewall(ip=FAKE)))
        assert one.firewall is not None
        assert one.firewall.ip == OTHER
        own, _, _ = read(MemoryQubesd(api), settings(ip=FAKE, rules=firewall(ip=FAKE, of_network=False)))
        assert own.firewall is not None
        assert own.firewall.ip == FAKE

    def test_the_firewall_of_a_vm_whose_class_has_no_address_stays_as_it_is(self, api: MemoryAPI) -> None:
        api.features["net.fake-ip"] = str(FAKE)
        del api.defaults["ip"]
        one, routed, _ = read(MemoryQubesd(api), settings(ip=FAKE, rules=firewall(ip=FAKE)))
        assert routed.hidden_ip is None
        assert one.firewall is not None
        assert one.firewall.ip == FAKE

    def test_an_error_names_the_field(self, api: MemoryAPI) -> None:
        api.unreadable["net.fake-ip"] = StoreError("no")
        with pytest.raises(StoreError, match=r"^work: network:ip \(feature net\.fake-ip\): no$"):
            read(MemoryQubesd(api), settings(ip=FAKE))
        api.unreadable = {"ip": StoreError("no")}
        api.features["net.fake-ip"] = str(FAKE)
        with pytest.raises(StoreError, match=r"^work: network:ip \(property ip\): no$"):
            read(MemoryQubesd(api), settings(ip=FAKE))


class TestFirewall:
    def test_the_addresses_of_a_firewall_count_where_the_network_is_no_part_of_the_push(self, api: MemoryAPI) -> None:
        _, routed, _ = read(MemoryQubesd(api), settings(rules=firewall(ip=OTHER, ip6=IP6)))
        assert set(routed.pins) == {"network:ip", "network:ip6"}
        _, routed, _ = read(MemoryQubesd(api), settings(rules=firewall(ip=OTHER)))
        assert set(routed.pins) == {"network:ip"}
        _, routed, _ = read(MemoryQubesd(api), settings(rules=firewall(of_network=False)))
        assert routed.pins == {}

    def test_those_of_the_network_count_first(self, api: MemoryAPI) -> None:
        _, routed, _ = read(MemoryQubesd(api), settings(persist=True, ip=OTHER, rules=firewall(ip=IP)))
        assert routed.pins["network:ip"] == Pin(OTHER)

    def test_qubesd_keeps_it_or_will_write_over_it(self, api: MemoryAPI) -> None:
        _, routed, remarks = read(MemoryQubesd(api), settings(rules=firewall()))
        assert (routed.stored, remarks) == (None, (OVERWRITTEN,))
        assert OVERWRITTEN == (
            "qubesd puts the rules of its own store there when the VM starts, its netvm is set or its firewall is "
            "reloaded (persist: true stores these in qubesd)"
        )
        _, routed, remarks = read(MemoryQubesd(api), settings(persist=True, rules=firewall()))
        assert remarks == ()
        assert routed.stored is not None
        assert (routed.stored.vm, routed.stored.held) == ("work", "action=accept\n")

    def test_what_it_keeps_already_is_no_difference(self, api: MemoryAPI) -> None:
        api.rules = b""
        _, routed, _ = read(MemoryQubesd(api), settings(persist=True, rules=firewall()))
        assert routed.stored is None

    @pytest.mark.parametrize(
        ("netvm", "shown"),
        [(None, None), ("sys-net", None), ("default", None), ("sys-vpn", "sys-vpn"), ("", "none")],
    )
    def test_rules_where_no_packet_of_the_vm_comes_by_have_no_effect(
        self, api: MemoryAPI, netvm: str | None, shown: str | None
    ) -> None:
        _, _, remarks = read(MemoryQubesd(api), settings(persist=True, netvm=netvm, rules=firewall()))
        expected = f"the rules in sys-net have no effect, as qubesd has {shown} as the VM's netvm"
        assert remarks == (() if shown is None else (expected,))

    def test_the_netvm_that_qubesd_has_counts_where_the_pillar_says_nothing(self, api: MemoryAPI) -> None:
        api.properties["netvm"] = "sys-vpn"
        _, _, remarks = read(MemoryQubesd(api), settings(rules=firewall()))
        assert remarks == (
            "the rules in sys-net have no effect, as qubesd has sys-vpn as the VM's netvm",
            OVERWRITTEN,
        )
        api.defaults["netvm"] = "sys-tor"
        _, _, remarks = read(MemoryQubesd(api), settings(netvm="default", rules=firewall()))
        assert "has sys-tor as" in remarks[0]
        _, _, remarks = read(MemoryQubesd(api, available=False), settings(rules=firewall()))
        assert remarks == (OVERWRITTEN,)

    @pytest.mark.parametrize("netvm", [None, "default"])
    def test_only_what_qubesd_is_to_keep_fails_with_it(self, api: MemoryAPI, netvm: str | None) -> None:
        api.unreadable["netvm"] = StoreError("no")
        _, _, remarks = read(MemoryQubesd(api), settings(netvm=netvm, rules=firewall(of_network=False)))
        assert remarks[-1] == OVERWRITTEN
        with pytest.raises(StoreError, match=r"^work: firewall \(property netvm\): no$"):
            read(MemoryQubesd(api), settings(persist=True, netvm=netvm, rules=firewall()))


class TestPutOff:
    def pinned(self, value: Any = OTHER, **more: Any) -> Routed:
        return Routed({"network:ip": Pin(value, "because", **more)})

    def test_what_the_vm_will_have_when_it_is_attached_anew_waits(self) -> None:
        changes = {"network:ip": Change(IP, OTHER), "timezone": Change(None, "UTC")}
        one = settings(ip=OTHER)
        assert self.pinned().put_off(one, {"network:ip": IP, "timezone": None}, changes) == (one, {"network:ip": IP})
        assert list(changes) == ["timezone"]

    def test_a_vm_that_is_attached_anew_by_the_push_waits_for_nothing(self) -> None:
        changes = {"network:ip": Change(IP, OTHER)}
        routed = self.pinned()
        routed.attached_anew = True
        one = settings(ip=OTHER)
        assert routed.put_off(one, {"network:ip": IP}, changes) == (one, {})
        assert list(changes) == ["network:ip"]

    @pytest.mark.parametrize(
        ("value", "new"),
        [
            pytest.param(IP, OTHER, id="refused, as it will not have it"),
            pytest.param(FAKE, OTHER, id="refused, as it will have a third"),
            pytest.param(OTHER, None, id="none"),
        ],
    )
    def test_other_changes_do_not_wait(self, value: Any, new: Any) -> None:
        changes = {"network:ip": Change(IP, new)}
        _, waiting = self.pinned(value).put_off(settings(), {"network:ip": IP}, changes)
        assert (waiting, list(changes)) == ({}, ["network:ip"])

    def test_what_the_vm_has_already_need_not_wait(self) -> None:
        changes = {"network:ip": Change(IP, OTHER)}
        assert self.pinned().put_off(settings(ip=OTHER), {"network:ip": OTHER}, changes)[1] == {}
        assert list(changes) == ["network:ip"]

    def test_what_the_vm_has_not_yet_is_no_former_value(self) -> None:
        changes = {"network:ip": Change(None, OTHER)}
        assert self.pinned().put_off(settings(), {}, changes)[1] == {}
        assert list(changes) == ["network:ip"]

    def test_the_firewall_stays_with_the_address_that_the_vm_has_until_then(self) -> None:
        routed = Routed({"network:ip": Pin(OTHER), "network:ip6": Pin(IP6)})
        before = {"network:ip": IP, "network:ip6": read_value("network:ip6", "fd09::1")}
        one, _ = routed.put_off(settings(rules=firewall(ip=OTHER, ip6=IP6)), before, {})
        assert one.firewall is not None
        assert (one.firewall.ip, one.firewall.ip6) == (IP, before["network:ip6"])
        own = settings(rules=firewall(ip=OTHER, of_network=False))
        assert routed.put_off(own, before, {})[0] is own

    def test_what_the_vm_is_only_shown_is_not_where_its_firewall_is(self) -> None:
        one, _ = self.pinned(fake=True).put_off(settings(rules=firewall(ip=OTHER)), {"network:ip": IP}, {})
        assert one.firewall is not None
        assert one.firewall.ip == OTHER


class TestCheck:
    PINNED = Routed({"network:ip": Pin(IP, "because of this"), "network:gateway": Pin(None, "or that")})

    def test_what_the_vm_cannot_have_is_refused(self) -> None:
        with pytest.raises(InvalidValue, match=r"^work: network:ip: because of this$"):
            self.PINNED.check(settings(), {"network:ip": Change(None, OTHER)})
        with pytest.raises(InvalidValue, match=r"^work: network:gateway: or that$"):
            self.PINNED.check(settings(), {"network:gateway": Change(None, GATEWAY)})

    @pytest.mark.parametrize(
        "changes",
        [{}, {"network:ip": Change(None, IP)}, {"network:ip": Change(IP, None)}, {"timezone": Change(None, "UTC")}],
    )
    def test_all_else_is_not(self, changes: dict[str, Change[Any]]) -> None:
        self.PINNED.check(settings(), changes)

    def test_at_a_start_it_has_what_is_known_to_be_attached(self) -> None:
        with pytest.raises(InvalidValue, match=r"^work: network:ip: because of this$"):
            self.PINNED.check_halted(settings(ip=OTHER))
        self.PINNED.check_halted(settings(ip=IP, gateway=GATEWAY))
        self.PINNED.check_halted(settings())

    def test_a_change_of_a_pinned_field_moves_the_vm(self) -> None:
        assert self.PINNED.changed({"network:gateway": Change(None, GATEWAY)})
        assert not self.PINNED.changed({"timezone": Change(None, "UTC")})


def test_nothing_is_known_of_a_vm_at_first() -> None:
    fresh = Routed()
    assert (fresh.pins, fresh.attached_anew, fresh.hidden_ip, fresh.stored) == ({}, False, None, None)
    assert Pin(IP) == Pin(IP, "", fake=False)
