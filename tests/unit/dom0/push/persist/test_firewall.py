"""The firewall that qubesd keeps: compared by what it means, set and read back, put back, and why it was refused."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.support.adminapi import MemoryAPI, MemoryQubesd
from vminterface.dom0.desired.firewall import ClientFirewall
from vminterface.dom0.push.persist import firewall as persisted
from vminterface.dom0.push.persist.firewall import LIMIT, StoredFirewall, held
from vminterface.errors import DeadlineExceeded, InvalidValue, PermissionDenied, StoreError, VerificationFailed

DNS = "action=accept specialtarget=dns"
RULES = f"{DNS}\naction=drop\n"
#: A rule that has ended at 1000 s, the moment of these tests, and one that ends later.
ENDED, ENDS = "action=drop proto=tcp expire=1000", "action=drop proto=udp expire=1001"


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1000.0)


def asked_for(*rules: str, policy: str = "drop") -> ClientFirewall:
    parsed = ClientFirewall.parse({"netvm": "sys-net", "policy": policy, "rules": list(rules)})
    assert parsed is not None
    return parsed


def read(api: MemoryAPI, *rules: str, **more: str) -> StoredFirewall:
    return StoredFirewall.read(MemoryQubesd(api), "work", asked_for(*(rules or (DNS,)), **more))


class TestRead:
    def test_it_holds_what_qubesd_has(self, api: MemoryAPI) -> None:
        stored = read(api)
        assert (stored.vm, stored.held, stored.right) == ("work", "action=accept\n", False)
        assert stored.desired == asked_for(DNS).firewall
        assert api.asked == [("work", "firewall")]

    @pytest.mark.parametrize(
        ("text", "right"),
        [
            (f"{DNS}\n", True),
            (f"{DNS} comment=for names\n", True),
            (RULES, True),
            (f"{ENDED}\n{DNS}\n", True),
            (f"{ENDS}\n{DNS}\n", False),
            ("", False),
            (f"{DNS}\naction=accept dsthost=-bad-\n", False),
        ],
    )
    def test_it_is_right_where_it_means_the_same_now(self, api: MemoryAPI, text: str, right: bool) -> None:
        api.rules = text.encode()
        assert read(api).right is right

    def test_more_rules_than_a_call_carries_are_refused_before_the_call(
        self, api: MemoryAPI, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert LIMIT == 65280
        size = len(DNS) + 1
        monkeypatch.setattr(persisted, "LIMIT", size)
        assert read(api).held
        monkeypatch.setattr(persisted, "LIMIT", size - 1)
        api.asked.clear()
        with pytest.raises(InvalidValue) as raised:
            read(api)
        assert str(raised.value) == (
            f"work: firewall: the rules have {size} characters (expected at most {size - 1}: a limit of qubesd)"
        )
        assert api.asked == []

    def test_an_error_names_the_call(self, api: MemoryAPI) -> None:
        api.unreadable["firewall"] = StoreError("no")
        with pytest.raises(StoreError, match=r"^work: firewall \(admin\.vm\.firewall\.Get\): no$"):
            read(api)

    def test_bytes_of_other_programs_survive(self, api: MemoryAPI) -> None:
        api.rules = b"action=drop comment=\xff\n"
        stored = read(api)
        api.rules = b""
        stored.put_back()
        assert api.rules == b"action=drop comment=\xff\n"


class TestChange:
    def test_rules_are_in_the_pillars_words_and_in_one_line(self, api: MemoryAPI) -> None:
        change = read(api).change
        assert change.old is not None
        assert change.new is not None
        assert (change.old.words, change.new.words) == (
            {"policy": "accept", "rules": []},
            {"policy": "drop", "rules": [DNS]},
        )
        assert (change.old.keys, change.new.keys) == (
            {"admin.vm.firewall": "action=accept; policy=drop"},
            {"admin.vm.firewall": f"{DNS}; policy=drop"},
        )

    def test_what_has_ended_or_has_no_effect_is_not_shown(self, api: MemoryAPI) -> None:
        api.rules = f"{ENDED}\n{DNS} comment=for names\n".encode()
        old = read(api).change.old
        assert old is not None
        assert old.words == {"policy": "drop", "rules": [DNS]}
        assert old.keys == {"admin.vm.firewall": f"{DNS}; policy=drop"}

    def test_what_no_pillar_can_have_is_the_text(self, api: MemoryAPI) -> None:
        api.rules = b"action=accept dsthost=-bad-\n"
        old = read(api).change.old
        assert old is not None
        assert old.words == "action=accept dsthost=-bad-; policy=drop"
        assert old.keys == {"admin.vm.firewall": "action=accept dsthost=-bad-; policy=drop"}

    def test_a_long_text_is_cut(self, api: MemoryAPI) -> None:
        api.rules = f"action=accept dsthost=-{'b' * 2000}\n".encode()
        old = read(api).change.old
        assert old is not None
        assert len(old.words) == 1000

    def test_where_qubesd_is_there_what_it_holds_can_be_asked_for_alone(self, api: MemoryAPI) -> None:
        found = held(MemoryQubesd(api), "work")
        assert found is not None
        assert found.words == {"policy": "accept", "rules": []}
        assert held(MemoryQubesd(api, available=False), "work") is None


class TestSet:
    def test_the_rules_are_sent_once(self, api: MemoryAPI) -> None:
        stored = read(api)
        stored.set()
        assert api.calls == [("firewall", f"{DNS}\n")]
        stored.set()
        assert len(api.calls) == 1

    def test_what_was_set_meanwhile_is_what_is_put_back(self, api: MemoryAPI) -> None:
        stored = read(api)
        api.rules = b"action=drop proto=icmp\n"
        stored.set()
        stored.put_back()
        assert api.rules == b"action=drop proto=icmp\n"

    def test_rules_that_end_are_sent_with_their_end_and_those_that_have_ended_are_not(self, api: MemoryAPI) -> None:
        read(api, ENDED, ENDS).set()
        assert api.calls == [("firewall", "action=drop expire=1001 proto=udp\n")]

    def test_rules_that_are_not_there_afterwards_are_an_error(self, api: MemoryAPI) -> None:
        api.takes = lambda rules: b""
        with pytest.raises(VerificationFailed) as raised:
            read(api).set()
        assert str(raised.value) == (
            f"work: firewall: qubesd does not hold the rules that were set; sent: {DNS}; policy=drop"
        )

    def test_an_error_has_what_was_sent(self, api: MemoryAPI) -> None:
        api.fails["firewall"] = DeadlineExceeded("late")
        with pytest.raises(DeadlineExceeded) as raised:
            read(api).set()
        assert str(raised.value) == f"work: firewall (admin.vm.firewall.Set): late; sent: {DNS}; policy=drop"

    @pytest.mark.parametrize("feature", [None, ""])
    def test_rules_that_were_saved_and_not_passed_on_say_what_the_provider_lacks(
        self, api: MemoryAPI, feature: str | None
    ) -> None:
        if feature is not None:
            api.features["qubes-firewall"] = feature
        api.fails["firewall"] = PermissionDenied("no reply")
        api.stores.add("firewall")
        with pytest.raises(PermissionDenied) as raised:
            read(api).set()
        assert str(raised.value) == (
            "work: firewall: qubesd saved the rules but could not send them to sys-net, which does not have the "
            "feature qubes-firewall (expected a provider that has it, or fewer rules); "
            f"sent: {DNS}; policy=drop"
        )
        assert ("sys-net", "qubes-firewall") in api.asked

    def test_a_provider_that_has_it_is_not_the_reason(self, api: MemoryAPI) -> None:
        api.features["qubes-firewall"] = "1"
        api.fails["firewall"] = PermissionDenied("no reply")
        api.stores.add("firewall")
        with pytest.raises(PermissionDenied, match=r"\(admin\.vm\.firewall\.Set\): no reply; sent: "):
            read(api).set()

    def test_rules_that_were_refused_are_not_what_a_provider_lacks(self, api: MemoryAPI) -> None:
        api.fails["firewall"] = PermissionDenied("no reply")
        with pytest.raises(PermissionDenied, match=r"\(admin\.vm\.firewall\.Set\): no reply; sent: "):
            read(api).set()

    def test_what_the_provider_has_may_be_unknown(self, api: MemoryAPI) -> None:
        api.unreadable["qubes-firewall"] = StoreError("no")
        api.fails["firewall"] = PermissionDenied("no reply")
        api.stores.add("firewall")
        with pytest.raises(PermissionDenied, match=r"\(admin\.vm\.firewall\.Set\): no reply; sent: "):
            read(api).set()


class TestPutBack:
    def done(self, api: MemoryAPI) -> StoredFirewall:
        stored = read(api)
        stored.set()
        api.calls.clear()
        return stored

    def test_the_former_rules_are_there_again(self, api: MemoryAPI) -> None:
        self.done(api).put_back()
        assert (api.rules, api.calls) == (b"action=accept\n", [("firewall", "action=accept\n")])

    def test_where_they_are_there_nothing_is_sent(self, api: MemoryAPI) -> None:
        read(api).put_back()
        api.rules = f"{ENDED}\naction=accept\n".encode()
        read(api).put_back()
        assert api.calls == []

    def test_what_has_ended_by_now_is_not_missed(self, api: MemoryAPI) -> None:
        api.rules = f"{ENDED}\naction=accept\n".encode()
        stored = self.done(api)
        api.takes = lambda rules: b"action=accept\n"
        stored.put_back()
        assert len(api.calls) == 1

    def test_a_refusal_after_which_they_are_there_is_none(self, api: MemoryAPI) -> None:
        stored = self.done(api)
        api.fails["firewall"] = PermissionDenied("no reply")
        api.stores.add("firewall")
        stored.put_back()

    def test_a_refusal_after_which_they_are_not_is_raised(self, api: MemoryAPI) -> None:
        stored = self.done(api)
        api.fails["firewall"] = PermissionDenied("no reply")
        with pytest.raises(PermissionDenied, match="no reply"):
            stored.put_back()

    def test_others_afterwards_are_an_error(self, api: MemoryAPI) -> None:
        stored = self.done(api)
        api.takes = lambda rules: b""
        with pytest.raises(VerificationFailed, match=r"^work: firewall: qubesd does not hold the former rules$"):
            stored.put_back()

    def test_a_qubesd_that_was_lost_is_asked_once_more(self, api: MemoryAPI) -> None:
        stored = read(api)
        api.fails["firewall"] = DeadlineExceeded("late")
        api.stores.add("firewall")
        with pytest.raises(DeadlineExceeded):
            stored.set()
        stored.put_back()
        assert (api.rules, api.timeout) == (b"action=accept\n", 30.0)


def test_a_policy_is_the_last_rule(api: MemoryAPI) -> None:
    found: Any = read(api, DNS, policy="accept")
    found.set()
    assert api.calls == [("firewall", f"{DNS}\naction=accept\n")]
