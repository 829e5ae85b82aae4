"""What a push has qubesd do for one VM: decided, and foreseen, before anything is done."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.adminapi import MemoryAPI, MemoryQubesd
from tests.support.plans import CUPS, DEBUG, IP, NETWORK, ON, OTHER, STOPPED, TWO, ZONE, plan_of, refused
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.push.outcome import Outcome
from vminterface.dom0.push.persist.plan import Plan
from vminterface.errors import (
    InvalidValue,
    StoreError,
    VMNotFound,
)
from vminterface.values.change import Change
from vminterface.values.memorysize import MemorySize

pytestmark = pytest.mark.usefixtures("no_zone_of_dom0")


class TestDecision:
    """Whether qubesd is to keep it: as the pillar says, and where it leaves that open, if there is a qubesd."""

    @pytest.mark.parametrize("more", [{}, {"persist": True}])
    def test_what_qubesd_has_otherwise_is_what_it_has_to_change(self, api: MemoryAPI, more: dict[str, Any]) -> None:
        api.properties["debug"] = "True"
        plan = plan_of(api, {**TWO, "memory": 800, "timezone": "Europe/Warsaw", **more})
        assert plan.error is None
        assert plan.changes == {
            "services:cups": CUPS,
            "timezone": Change(None, ZONE),
            "memory": Change(None, MemorySize.parse(800)),
        }
        assert plan.live.persist is True
        assert plan.involves_qubesd
        assert plan.remarks == ()

    def test_where_it_has_all_of_it_there_is_nothing_to_do(self, api: MemoryAPI) -> None:
        api.features["service.cups"], api.properties["debug"] = "1", "True"
        plan = plan_of(api, TWO)
        assert plan.changes == {}
        assert not plan.involves_qubesd

    def test_a_pillar_that_does_not_want_it_asks_qubesd_for_nothing(self, api: MemoryAPI) -> None:
        plan = plan_of(api, {**TWO, "persist": False})
        assert (plan.changes, plan.error, plan.remarks, api.asked) == ({}, None, (), [])
        assert dict(plan.live.desired) == {"debug": True, "services:cups": ON}

    def test_what_qubesd_alone_has_is_no_part_of_a_push_that_it_does_not_keep(self, api: MemoryAPI) -> None:
        settings = VMSettings.parse("work", {"netvm": "sys-vpn", "memory": 800, "debug": "on"})
        plan = Plan.of(settings.with_options(persist=False), MemoryQubesd(api))
        assert plan.error is None
        assert (plan.live.netvm, dict(plan.live.persistent)) == (None, {})

    def test_a_qubesd_that_is_stopped_keeps_nothing_and_that_is_said(self, api: MemoryAPI) -> None:
        plan = plan_of(api, TWO, available=False)
        assert (plan.changes, plan.remarks, plan.live.persist) == ({}, (STOPPED,), False)

    def test_a_host_without_one_is_nothing_to_speak_of(self, api: MemoryAPI) -> None:
        plan = plan_of(api, TWO, available=False, expected=False)
        assert (plan.changes, plan.remarks, plan.involves_qubesd) == ({}, (), False)

    def test_a_pillar_that_does_not_want_it_is_not_told_that_it_is_stopped(self, api: MemoryAPI) -> None:
        assert plan_of(api, {**TWO, "persist": False}, available=False).remarks == ()

    def test_hints_come_first_then_that_it_is_stopped_then_what_will_not_last(self, api: MemoryAPI) -> None:
        plan = plan_of(
            api,
            {
                "services": {"network-manger": "on", "meminfo-writer": "on"},
                "network": NETWORK,
                "firewall": {"policy": "drop", "netvm": "sys-net"},
            },
            available=False,
        )
        assert [one.partition(" ")[0] for one in plan.remarks] == [
            "services:network-manger",
            "nothing",
            "services:meminfo-writer",
            "qubesd",
        ]

    @pytest.mark.parametrize(
        ("raw", "expected", "names"),
        [
            ({"netvm": "sys-vpn"}, True, "netvm is"),
            ({"memory": 800}, True, "memory is"),
            ({"netvm": "none", "memory": 800, "debug": "on"}, False, "netvm, memory are"),
        ],
    )
    def test_what_it_alone_has_is_an_error_without_it(
        self, api: MemoryAPI, raw: dict[str, Any], expected: bool, names: str
    ) -> None:
        plan = plan_of(api, raw, available=False, expected=expected)
        where = "does not run" if expected else "this host does not have (no qubesadmin)"
        assert isinstance(plan.error, InvalidValue)
        assert str(plan.error) == f"work: {names} only stored by qubesd, which {where}"


class TestWhatIsKept:
    def test_properties_come_before_keys_and_features_last(self, api: MemoryAPI) -> None:
        plan = plan_of(api, {"features": {"gui": False}, "debug": "on", "memory": 800, "netvm": "sys-vpn"})
        assert list(plan.changes) == ["memory", "debug", "features:gui", "netvm"]
        assert plan.changes["memory"] == Change(None, MemorySize.parse(800))
        assert plan.changes["netvm"] == Change(None, "sys-vpn")

    @pytest.mark.parametrize(("netvm", "new"), [("default", None), ("none", "")])
    def test_a_netvm_may_be_the_default_or_none(self, api: MemoryAPI, netvm: str, new: str | None) -> None:
        api.properties["netvm"] = "sys-vpn"
        assert plan_of(api, {"netvm": netvm}).changes == {"netvm": Change("sys-vpn", new)}

    @pytest.mark.parametrize(
        "raw", [{"features": {"check-updates": "default"}}, {"services": {"qubes-update-check": "default"}}]
    )
    def test_a_feature_that_contradicts_the_switch_for_updates_is_forgotten(
        self, api: MemoryAPI, raw: dict[str, Any]
    ) -> None:
        api.features |= {"check-updates": "1", "service.qubes-update-check": "1"}
        (name, change), (other, forgotten) = plan_of(api, raw).changes.items()
        assert {name, other} == {
            "features:service.qubes-update-check",
            "features:check-updates" if "features" in raw else "services:qubes-update-check",
        }
        assert change.new is None
        assert forgotten.new is None

    def test_the_switch_for_updates_is_set_once_though_it_has_two_names(self, api: MemoryAPI) -> None:
        both = {"features": {"check-updates": True}, "services": {"qubes-update-check": "on"}}
        assert plan_of(api, both).changes == {"services:qubes-update-check": Change(None, ON)}

    def test_other_features_of_services_stay(self, api: MemoryAPI) -> None:
        api.features["service.qubes-update-check"] = "1"
        assert list(plan_of(api, TWO).changes) == ["debug", "services:cups"]

    def test_a_netvm_has_no_address_of_a_client_in_qubesd(self, api: MemoryAPI) -> None:
        api.properties["ip6"] = "fd09::12"
        raw = {"type": "NetVM", "provides_network": {"gateway": "10.137.0.5"}, "debug": "on"}
        assert list(plan_of(api, raw).changes) == ["provides_network", "debug", "features:servicevm"]
        assert "network:ip6" in plan_of(api, {"network": "none"}).changes

    def test_a_netvm_whose_network_is_no_part_of_the_push_has_its_type_alone(self, api: MemoryAPI) -> None:
        whole = VMSettings.parse("work", {"type": "NetVM", "provides_network": {"gateway": "10.137.0.5"}})
        plan = Plan.of(whole.only(["type"]), MemoryQubesd(api))
        assert (plan.error, plan.changes) == (None, {})

    def test_what_the_vm_is_only_shown_stays_as_it_was_attached(self, api: MemoryAPI) -> None:
        api.features["net.fake-ip"] = "10.137.0.77"
        plan = plan_of(api, {"network": NETWORK, "debug": "on"})
        assert plan.routed.hidden_ip == "10.137.0.12"
        assert list(plan.changes) == ["debug"]

    def test_what_only_follows_is_done_and_not_told(self, api: MemoryAPI) -> None:
        plan = plan_of(api, {"provides_network": "on"})
        assert list(plan.changes) == ["provides_network", "features:servicevm"]
        assert plan.untold == {"features:servicevm"}
        api.features["servicevm"] = "1"
        plan = plan_of(api, {"provides_network": "on", "features": {"servicevm": True}})
        assert plan.changes["features:servicevm"] == Change(True, True)
        assert plan.untold == {"features:servicevm"}

    @pytest.mark.parametrize(("raw", "attached"), [({}, False), ({"reattach": True}, True)])
    def test_the_network_is_attached_anew_where_the_pillar_says_so(
        self, api: MemoryAPI, raw: dict[str, Any], attached: bool
    ) -> None:
        api.properties["ip"] = "10.137.0.77"
        plan = plan_of(api, {"network": {**NETWORK, **raw}})
        assert plan.changes == {}
        assert plan.routed.attached_anew is attached
        assert plan.involves_qubesd is attached
        assert plan.routed.pins["network:ip"].value == OTHER


class TestErrors:
    def test_what_qubesd_cannot_say_is_the_vms_error(self, api: MemoryAPI) -> None:
        api.unreadable["default_user"] = StoreError("no")
        plan = plan_of(api, {"default_user": "default"})
        assert str(plan.error) == "work: default_user (property default_user): no"
        # Nothing follows for it, but it has an outcome as every other.
        assert (plan.live.vm, plan.remarks, plan.changes) == ("work", (), {})

    def test_what_qubesd_would_stumble_over_is_named_at_its_place_in_the_pillar(self, api: MemoryAPI) -> None:
        settings = VMSettings("work", {"vm_config:mode": "caf\u00e9"}, where="qubes:vms:work")
        error = Plan.of(settings, MemoryQubesd(api)).error
        assert str(error).startswith("qubes:vms:work:vm_config:mode: 'caf\\xe9' is not a valid text")

    def test_a_vm_that_is_not_in_its_list_is_named_with_the_nearest(self, api: MemoryAPI) -> None:
        api.unreadable["debug"] = VMNotFound("no such VM")
        qubesd = MemoryQubesd(api)
        qubesd.__dict__["names"] = frozenset({"wrok"})
        settings = VMSettings.parse("work", TWO, where="qubes:vms:work")
        assert str(Plan.of(settings, qubesd).error) == (
            "qubes:vms:work: qubesd does not know a VM 'work' (did you mean 'wrok'?)"
        )
        error = Plan.of(VMSettings("work", {"debug": True}), qubesd).error
        assert str(error) == "work: qubesd does not know a VM 'work' (did you mean 'wrok'?)"
        qubesd.__dict__["names"] = None
        assert str(Plan.of(settings, qubesd).error) == "work: debug (property debug): no such VM"

    def test_another_vm_that_it_does_not_know_is_one_too(self, api: MemoryAPI) -> None:
        qubesd = MemoryQubesd(api)
        qubesd.__dict__["names"] = frozenset({"work", "sys-net"})
        error = Plan.of(VMSettings.parse("work", {"netvm": "sys-nett"}, where="qubes:vms:work"), qubesd).error
        assert isinstance(error, VMNotFound)
        assert str(error).startswith("qubes:vms:work:netvm: qubesd does not know a VM 'sys-nett'")


class TestTurn:
    @pytest.mark.parametrize(
        ("held", "desired", "turn"),
        [("False", "on", -1), ("True", "off", 1), ("True", "default", 1), ("True", "on", 0), ("False", None, 0)],
    )
    def test_providers_to_be_come_first_and_former_ones_last(
        self, api: MemoryAPI, held: str, desired: str | None, turn: int
    ) -> None:
        api.properties["provides_network"] = held
        assert plan_of(api, {**TWO, "provides_network": desired}).turn == turn


class TestForeseen:
    def test_what_qubesd_would_change_is_told_with_the_keys(self, api: MemoryAPI) -> None:
        plan = plan_of(api, {**TWO, "provides_network": "on"})
        outcome = Outcome("work", {"services:cups": CUPS})
        plan.note(outcome)
        assert plan.foreseen is outcome
        assert outcome.changes == {
            "persistent:provides_network": Change(None, True),
            "persistent:services:cups": CUPS,
            "persistent:debug": DEBUG,
            "services:cups": CUPS,
        }
        assert outcome.error is None
        assert plan.written == {"services"}

    def test_the_settings_that_qubesd_writes_are_known_once_they_are_foreseen(self, api: MemoryAPI) -> None:
        plan = plan_of(api, TWO)
        assert plan.written == frozenset()
        plan.foresee(Outcome("work", {"services:cups": CUPS, "persistent:debug": DEBUG}))
        assert plan.written == {"services"}

    def test_the_zone_that_it_keeps_is_told_once(self, api: MemoryAPI) -> None:
        plan = plan_of(api, {"timezone": "Europe/Warsaw"})
        outcome = Outcome("work", {"timezone": Change(None, ZONE), "lasting:timezone": Change(None, ZONE)})
        plan.note(outcome)
        assert list(outcome.changes) == ["persistent:timezone", "timezone"]
        api.features["vm-config.vminterface-timezone"] = "Europe/Warsaw"
        again = Outcome("work", {"lasting:timezone": Change(None, ZONE)})
        plan_of(api, {"timezone": "Europe/Warsaw"}).note(again)
        assert list(again.changes) == ["lasting:timezone"]

    def test_where_anything_is_wrong_nothing_would_change_and_the_plans_own_error_comes_first(
        self, api: MemoryAPI
    ) -> None:
        outcome = Outcome("work", {"services:cups": CUPS}, error=StoreError("second"))
        plan_of(api, TWO).note(outcome)
        assert (outcome.changes, str(outcome.error)) == ({}, "second")
        api.unreadable["debug"] = StoreError("first")
        plan_of(api, TWO).note(outcome)
        assert str(outcome.error) == "work: debug (property debug): first"

    def test_what_its_owner_does_not_accept_qubesd_keeps_not_either(self, api: MemoryAPI) -> None:
        plan = plan_of(api, TWO)
        outcome = Outcome("work", {"debug": DEBUG}, unaccepted={"services": refused("services")})
        plan.note(outcome)
        assert plan.changes == {"debug": DEBUG}
        assert list(outcome.changes) == ["persistent:debug", "debug"]

    @pytest.mark.parametrize(
        ("raw", "running", "words"),
        [
            ({"memory": 800}, True, ["memory takes effect at the VM's next start"]),
            ({"memory": 800, "vcpus": 3}, True, ["memory, vcpus take effect at the VM's next start"]),
            ({"memory": 800}, False, []),
            ({"debug": "on"}, True, []),
        ],
    )
    def test_what_takes_effect_later_is_said_of_a_running_vm(
        self, api: MemoryAPI, raw: dict[str, Any], running: bool, words: list[str]
    ) -> None:
        api.defaults["vcpus"] = "2"
        outcome = Outcome("work", running=running)
        plan_of(api, raw).note(outcome)
        assert list(outcome.remarks) == words
        failed = Outcome("work", running=running, error=StoreError("no"))
        plan_of(api, raw).note(failed)
        assert failed.remarks == ()

    def test_what_the_vm_is_shown_takes_effect_at_once_where_it_is_attached_anew(self, api: MemoryAPI) -> None:
        shown = {"features": {"net.fake-ip": "10.137.0.77"}}
        later, at_once = Outcome("work"), Outcome("work")
        plan_of(api, shown).note(later)
        plan_of(api, {**shown, "netvm": "sys-vpn"}).note(at_once)
        assert later.remarks == ("features:net.fake-ip takes effect at the VM's next start",)
        assert at_once.remarks == ()

    def test_notes_of_the_plan_come_before_that(self, api: MemoryAPI) -> None:
        outcome = Outcome("work")
        plan_of(api, {"memory": 800, "services": {"network-manger": "on"}}).note(outcome)
        first, second = outcome.remarks
        assert first.startswith("services:network-manger")
        assert second.startswith("memory takes")
        stopped = Outcome("work")
        plan_of(api, {"debug": "on"}, available=False).note(stopped)
        assert stopped.remarks == (STOPPED,)

    @pytest.mark.parametrize(
        ("changed", "running", "netvm", "moves", "rewritten"),
        [
            ("network:ip", True, None, True, True),
            ("network:gateway", True, None, False, False),
            ("network:ip", False, None, False, False),
            ("network:gateway", True, "sys-vpn", False, True),
            ("network:gateway", False, "sys-vpn", False, False),
        ],
    )
    def test_a_running_vm_is_attached_anew_for_another_address_or_netvm(
        self, api: MemoryAPI, changed: str, running: bool, netvm: str | None, moves: bool, rewritten: bool
    ) -> None:
        plan = plan_of(api, {"network": {**NETWORK, "reattach": True}, "netvm": netvm})
        assert not plan.moves
        assert not plan.rewritten
        plan.foresee(Outcome("work", {changed: Change(IP, OTHER)}, running=running))
        assert (plan.moves, plan.rewritten) == (moves, rewritten)

    def test_without_attaching_another_address_moves_nothing(self, api: MemoryAPI) -> None:
        plan = plan_of(api, {"network": NETWORK})
        plan.foresee(Outcome("work", {"network:ip": Change(IP, OTHER)}))
        assert (plan.moves, plan.rewritten) == (False, False)
