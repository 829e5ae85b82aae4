"""What a push has qubesd do for one VM: done, told with what became of the keys, and put back as one."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.adminapi import MemoryAPI
from tests.support.memorystore import MemoryStore
from tests.support.plans import CUPS, DEBUG, IP, NETVM_AGAIN, OTHER, STOPPED, TWO, kept, moving, plan_of, refused
from vminterface.dom0.push.outcome import Outcome
from vminterface.dom0.push.persist.plan import Plan
from vminterface.errors import (
    DeadlineExceeded,
    SettingRefused,
    StoreError,
    VerificationFailed,
)
from vminterface.values.change import Change

pytestmark = pytest.mark.usefixtures("no_zone_of_dom0")


class TestKeep:
    def test_each_change_is_one_call(self, api: MemoryAPI) -> None:
        assert kept(plan_of(api, TWO)) is None
        assert api.calls == [("debug", "True"), ("service.cups", "1")]

    def test_one_that_fails_is_taken_back_with_those_before(self, api: MemoryAPI) -> None:
        api.fails["service.cups"] = StoreError("no")
        taken = kept(plan_of(api, TWO))
        assert str(taken.error) == "work: services:cups (feature service.cups): no"
        assert taken.restored
        assert api.calls == [("debug", "True"), ("service.cups", "1"), ("debug", None)]

    def test_another_address_is_kept_and_the_vm_attached_with_it(self, api: MemoryAPI) -> None:
        assert kept(moving(api)) is None
        assert api.calls == [("ip", "10.137.0.77"), *NETVM_AGAIN]

    def test_where_another_netvm_attaches_it_already_it_is_not_attached_once_more(self, api: MemoryAPI) -> None:
        assert kept(moving(api, {"netvm": "sys-vpn"})) is None
        assert api.calls == [("ip", "10.137.0.77"), ("netvm", "sys-vpn")]

    def test_another_netvm_alone_is_not_waited_for(self, api: MemoryAPI) -> None:
        assert kept(moving(api, {"netvm": "sys-vpn"}, changed="network:gateway"), MemoryStore()) is None

    def test_an_address_that_does_not_change_is_not_attached_anew(self, api: MemoryAPI) -> None:
        assert kept(moving(api, changed="network:gateway")) is None
        assert api.calls == [("ip", "10.137.0.77")]

    def test_the_provider_is_waited_for_with_the_address_that_it_routes(self, api: MemoryAPI, clock: Any) -> None:
        api.features["net.fake-ip"] = "10.137.0.77"
        store = MemoryStore({"/connected-ips": b"10.137.0.77"}, clock=clock)
        taken = kept(moving(api), store)
        assert isinstance(taken.error, VerificationFailed)
        assert "did not receive qubes-firewall/10.137.0.12 within 2 s" in str(taken.error)

    def test_what_the_provider_does_not_get_is_taken_back_and_the_vm_attached_as_before(
        self, api: MemoryAPI, clock: Any
    ) -> None:
        taken = kept(moving(api), MemoryStore(clock=clock))
        assert isinstance(taken.error, VerificationFailed)
        assert "sys-net did not receive 10.137.0.77 in connected-ips within 2 s" in str(taken.error)
        assert taken.restored
        assert api.calls == [("ip", "10.137.0.77"), *NETVM_AGAIN, ("ip", None), *NETVM_AGAIN]

    def test_what_cannot_be_attached_as_before_is_said(self, api: MemoryAPI, clock: Any) -> None:
        plan = moving(api)
        store = MemoryStore(clock=clock)
        store.meanwhile.append(lambda: api.fails.update(netvm=StoreError("no")))
        taken = kept(plan, store)
        assert isinstance(taken.error, VerificationFailed)
        assert str(taken.error).endswith(
            "within 2 s; and the former network could not be attached again: "
            "work: network:reattach (property netvm): no"
        )
        assert taken.restored is False

    def test_a_netvm_that_fails_is_taken_back_and_the_vm_attached_as_before(self, api: MemoryAPI) -> None:
        api.fails["netvm"] = StoreError("no")
        api.stores.add("netvm")
        taken = kept(moving(api, {"netvm": "sys-vpn"}))
        assert (str(taken.error), taken.restored) == ("work: netvm (property netvm): no", True)
        assert api.calls == [
            ("ip", "10.137.0.77"),
            ("netvm", "sys-vpn"),
            ("netvm", None),
            ("ip", None),
            *NETVM_AGAIN,
        ]

    def test_a_change_that_fails_before_the_vm_is_attached_needs_no_attaching(self, api: MemoryAPI) -> None:
        api.fails["ip"] = StoreError("no")
        taken = kept(moving(api))
        assert str(taken.error) == "work: network:ip (property ip): no"
        assert api.calls == [("ip", "10.137.0.77")]


class TestConclusion:
    def concluded(self, plan: Plan, outcome: Outcome, *, keep: bool = True) -> Outcome:
        if plan.foreseen is None:
            plan.foresee(Outcome("work", {"services:cups": CUPS}))
        if keep:
            assert kept(plan) is None
        plan.qubesd.api.calls.clear()  # type: ignore[attr-defined]  # it is the memory's
        plan.conclude(outcome)
        return outcome

    def test_what_qubesd_keeps_and_has_written_is_told_as_it_was_foreseen(self, api: MemoryAPI) -> None:
        outcome = self.concluded(plan_of(api, TWO), Outcome("work", {"debug": DEBUG}))
        assert outcome.changes == {
            "persistent:services:cups": CUPS,
            "persistent:debug": DEBUG,
            "services:cups": CUPS,
            "debug": DEBUG,
        }
        assert api.calls == []

    def test_where_it_keeps_nothing_the_keys_alone_are_told(self, api: MemoryAPI) -> None:
        plan = plan_of(api, TWO, available=False)
        outcome = Outcome("work", {"debug": DEBUG})
        plan.conclude(outcome)
        assert (outcome.changes, outcome.remarks) == ({"debug": DEBUG}, (STOPPED,))

    def test_what_stayed_the_same_before_is_known_beside_what_does_now(self, api: MemoryAPI) -> None:
        plan = plan_of(api, TWO)
        plan.foresee(Outcome("work", {"services:cups": CUPS}, same={"network:ip": IP, "keymap": "a"}))
        outcome = self.concluded(plan, Outcome("work", same={"keymap": "b"}))
        assert outcome.same == {"network:ip": IP, "keymap": "b"}

    def test_a_vm_that_was_attached_anew_has_changed_as_it_was_foreseen(self, api: MemoryAPI) -> None:
        outcome = self.concluded(moving(api), Outcome("work", {"network:gateway": Change(None, None)}))
        assert outcome.changes == {
            "persistent:network:ip": Change(None, OTHER),
            "network:ip": Change(IP, OTHER),
        }

    def test_what_takes_effect_later_is_said(self, api: MemoryAPI) -> None:
        assert self.concluded(plan_of(api, {"memory": 800}), Outcome("work")).remarks == (
            "memory takes effect at the VM's next start",
        )

    def test_what_failed_is_put_back(self, api: MemoryAPI) -> None:
        outcome = self.concluded(plan_of(api, TWO), Outcome("work", error=SettingRefused("work refused services: no")))
        assert (str(outcome.error), outcome.restored) == ("work refused services: no", True)
        assert api.calls == [("service.cups", None), ("debug", None)]
        assert outcome.changes == {}

    def test_what_somebody_else_has_put_back_already_leaves_the_outcome_open(self, api: MemoryAPI) -> None:
        plan = plan_of(api, TWO)
        outcome = self.concluded(plan, Outcome("work", error=StoreError("no")), keep=False)
        assert (outcome.restored, api.calls) == (None, [])
        outcome = self.concluded(plan, Outcome("work", error=StoreError("no"), restored=True), keep=False)
        assert outcome.restored is True

    def test_keys_that_could_not_be_restored_stay_so(self, api: MemoryAPI) -> None:
        outcome = self.concluded(plan_of(api, TWO), Outcome("work", error=StoreError("no"), restored=False))
        assert outcome.restored is False

    def test_what_cannot_be_put_back_is_in_the_error(self, api: MemoryAPI) -> None:
        plan = plan_of(api, TWO)
        assert kept(plan) is None
        api.fails["debug"] = StoreError("busy")
        outcome = self.concluded(plan, Outcome("work", error=DeadlineExceeded("late"), restored=True), keep=False)
        assert isinstance(outcome.error, VerificationFailed)
        assert str(outcome.error).startswith("late; not restored in qubesd: debug (property debug) is 'on'")
        assert outcome.restored is False

    def test_what_failed_where_qubesd_had_nothing_to_do_is_left_as_it_is(self, api: MemoryAPI) -> None:
        api.features["service.cups"], api.properties["debug"] = "1", "True"
        outcome = self.concluded(plan_of(api, TWO), Outcome("work", error=StoreError("no")))
        assert (str(outcome.error), outcome.restored, api.calls) == ("no", None, [])

    def test_a_vm_that_was_attached_anew_is_attached_as_before(self, api: MemoryAPI) -> None:
        api.properties["ip"] = "10.137.0.77"
        outcome = self.concluded(moving(api), Outcome("work", error=StoreError("no")))
        assert api.calls == NETVM_AGAIN
        assert (str(outcome.error), outcome.restored) == ("no", None)

    def test_a_vm_with_another_netvm_is_shown_its_former_address_again(self, api: MemoryAPI) -> None:
        raw = {"netvm": "sys-vpn", "features": {"net.fake-ip": "10.137.0.77"}}
        plan = plan_of(api, raw)
        plan.foresee(Outcome("work", {"network:ip": Change(IP, OTHER)}))
        self.concluded(plan, Outcome("work", error=StoreError("no")))
        assert api.calls == [("netvm", None), ("net.fake-ip", None), *NETVM_AGAIN]

    def test_a_vm_with_another_netvm_alone_is_not_attached_once_more(self, api: MemoryAPI) -> None:
        plan = plan_of(api, {"netvm": "sys-vpn", "features": {"gui": False}})
        plan.foresee(Outcome("work"))
        self.concluded(plan, Outcome("work", error=StoreError("no")))
        assert api.calls == [("netvm", None), ("gui", None)]

    def test_a_vm_that_does_not_run_is_attached_to_nothing(self, api: MemoryAPI) -> None:
        raw = {"netvm": "sys-vpn", "features": {"net.fake-ip": "10.137.0.77"}}
        plan = plan_of(api, raw)
        plan.foresee(Outcome("work", running=False))
        self.concluded(plan, Outcome("work", running=False, error=StoreError("no")))
        assert api.calls == [("netvm", None), ("net.fake-ip", None)]

    def test_those_who_put_back_have_turns(self, api: MemoryAPI) -> None:
        plan = plan_of(api, TWO)
        held: list[bool] = []
        take, lock = api.set_property, plan.qubesd.turn

        def seen(vm: str, name: str, value: str | None) -> None:
            held.append(lock.locked())  # type: ignore[attr-defined]
            take(vm, name, value)

        api.set_property = seen  # type: ignore[method-assign]
        self.concluded(plan, Outcome("work", error=StoreError("no")))
        assert held == [False, True]


class TestWhatTheOwnerRefusesLate:
    """Its agent has announced after the push that the VM's owner does not accept a setting."""

    def concluded(self, api: MemoryAPI, outcome: Outcome) -> Outcome:
        plan = plan_of(api, TWO)
        plan.foresee(Outcome("work", {"services:cups": CUPS}))
        assert kept(plan) is None
        plan.conclude(outcome)
        assert plan.changes == {"debug": DEBUG}
        return outcome

    def late(self, word: str = "refuse") -> Outcome:
        return Outcome("work", {"debug": DEBUG}, unaccepted={"services": refused("services", word=word)})

    def test_qubesd_keeps_the_rest(self, api: MemoryAPI) -> None:
        outcome = self.concluded(api, self.late())
        assert outcome.changes == {"persistent:debug": DEBUG, "debug": DEBUG}
        assert (outcome.error, outcome.restored) == (None, None)
        assert (api.features, api.properties) == ({}, {"debug": "True"})

    def test_what_it_does_not_let_go_of_is_an_error(self, api: MemoryAPI) -> None:
        plan = plan_of(api, TWO)
        plan.foresee(Outcome("work", {"services:cups": CUPS}))
        assert kept(plan) is None
        api.fails["service.cups"] = StoreError("busy")
        outcome = self.late()
        plan.conclude(outcome)
        assert outcome.restored is False
        assert isinstance(outcome.error, VerificationFailed)
        assert str(outcome.error).startswith(
            "work does not accept services: decided by its owner; work: debug set; "
            "not restored in qubesd: services:cups"
        )
