"""One client's rules in its provider's store: compared by what they mean, written whole, and put back as they were."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from tests.support.memorystore import MemoryStore
from vminterface.channel.store import Remove, Write
from vminterface.dom0.desired.firewall import ClientFirewall
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.desired.shownfirewall import ShownFirewall
from vminterface.dom0.push.firewall.client import Client
from vminterface.errors import InvalidValue, PermissionDenied, StoreError, VerificationFailed
from vminterface.values.address import parse_ipv4, parse_ipv6
from vminterface.values.change import Change

IP, IP6 = "10.137.0.12", "fd09::12"
TOP, TOP6 = f"/qubes-firewall/{IP}", f"/qubes-firewall/{IP6}"
DNS = "action=accept specialtarget=dns"
RAW = {"netvm": "sys-net", "policy": "drop", "rules": [DNS]}
#: What the store holds of it.
RIGHT = {TOP: b"", f"{TOP}/policy": b"drop", f"{TOP}/0000": DNS.encode()}
OPEN = {TOP: b"", f"{TOP}/policy": b"accept"}


def firewall(*, ip6: bool = False, **raw: Any) -> ClientFirewall:
    parsed = ClientFirewall.parse({**RAW, **raw})
    assert parsed is not None
    return replace(parsed, ip=parse_ipv4(IP), ip6=parse_ipv6(IP6) if ip6 else None)


def client(store: MemoryStore | None, *, ip6: bool = False, stored: Any = None, **raw: Any) -> Client:
    settings = VMSettings("work", firewall=firewall(ip6=ip6, **raw))
    return Client(settings, None if store is None else store.target("sys-net"), stored)


@dataclass
class Stored:
    """What qubesd holds, in place of the connection to it; it writes the keys of *held* where it is put back."""

    store: MemoryStore
    held: dict[str, bytes]
    change: Change[Any] = Change("old", "new")  # noqa: RUF009  # it is frozen
    times: int = 0

    def put_back(self) -> None:
        self.times += 1
        self.store.keys.update(self.held)


class TestCompare:
    def test_rules_that_the_provider_was_notified_of_are_right(self) -> None:
        one = client(MemoryStore(RIGHT))
        assert not one.compare()
        assert one.rules == []
        assert list(one.changes()) == []
        assert [rules.address for rules in one.found] == [IP]

    @pytest.mark.parametrize(
        "keys",
        [
            pytest.param({}, id="none"),
            pytest.param({path: value for path, value in RIGHT.items() if path != TOP}, id="not notified"),
            pytest.param(OPEN, id="others"),
            pytest.param({**RIGHT, f"{TOP}/0000": b"nonsense"}, id="no rules"),
        ],
    )
    def test_all_else_differs(self, keys: dict[str, bytes]) -> None:
        one = client(MemoryStore(keys))
        assert one.compare()
        assert [rules.address for rules in one.rules] == [IP]

    def test_each_address_is_compared_by_itself(self) -> None:
        one = client(MemoryStore(RIGHT), ip6=True)
        assert one.compare()
        assert [rules.address for rules in one.rules] == [IP6]
        assert [rules.address for rules in one.found] == [IP, IP6]

    def test_what_qubesd_holds_differs_too(self) -> None:
        store = MemoryStore(RIGHT)
        assert client(store, stored=Stored(store, {})).compare()
        assert client(None, stored=Stored(store, {})).compare()
        assert not client(None).compare()

    def test_a_provider_without_a_qubesdb_has_no_firewall(self) -> None:
        with pytest.raises(InvalidValue) as raised:
            client(MemoryStore(per_vm=False)).compare()
        assert str(raised.value) == (
            "work: firewall rules are keys of QubesDB, which sys-net does not have (expected a provider on Qubes R4)"
        )

    def test_a_second_comparison_forgets_the_first(self) -> None:
        store = MemoryStore()
        one = client(store)
        assert one.compare()
        store.keys.update(RIGHT)
        assert not one.compare()
        assert (len(one.found), one.rules) == (1, [])


class TestChanges:
    def change(self, store: MemoryStore, **more: Any) -> Change[ShownFirewall]:
        one = client(store, **more)
        assert one.compare()
        changes = dict(one.changes())
        assert list(changes) == ["firewall"]
        return changes["firewall"]

    def test_where_there_were_none_the_old_is_none(self) -> None:
        change = self.change(MemoryStore())
        assert change.old is not None
        assert change.new is not None
        assert (change.old.words, change.old.keys) == ("none", {f"qubes-firewall/{IP}": None})
        assert change.new.words == {"policy": "drop", "rules": [DNS]}
        assert change.new.keys == {f"qubes-firewall/{IP}": f"{DNS}; policy=drop"}

    def test_other_rules_are_in_the_pillars_words(self) -> None:
        change = self.change(MemoryStore(OPEN))
        assert change.old is not None
        assert change.old.words == {"policy": "accept", "rules": []}
        assert change.old.keys == {f"qubes-firewall/{IP}": "policy=accept"}

    def test_what_makes_no_firewall_is_shown_as_its_keys(self) -> None:
        change = self.change(MemoryStore({**OPEN, f"{TOP}/0000": b"nonsense"}))
        assert change.old is not None
        assert change.old.words == "0000: nonsense; policy: accept"
        assert change.old.keys == {f"qubes-firewall/{IP}": "0000: nonsense; policy: accept"}

    def test_one_firewall_for_both_families_is_shown_once(self) -> None:
        both = {**OPEN, TOP6: b"", f"{TOP6}/policy": b"accept"}
        change = self.change(MemoryStore(both), ip6=True)
        assert change.old is not None
        assert change.old.words["policy"] == "accept"
        assert set(change.old.keys) == {f"qubes-firewall/{IP}", f"qubes-firewall/{IP6}"}

    def test_different_ones_are_shown_by_address(self) -> None:
        change = self.change(MemoryStore({**OPEN, TOP6: b"", f"{TOP6}/policy": b"drop"}), ip6=True)
        assert change.old is not None
        assert {address: words["policy"] for address, words in change.old.words.items()} == {IP: "accept", IP6: "drop"}

    def test_an_address_that_had_none_beside_one_that_had_some(self) -> None:
        change = self.change(MemoryStore(OPEN), ip6=True)
        assert change.old is not None
        assert change.old.words[IP6] == "none"
        assert change.old.words[IP]["policy"] == "accept"

    def test_what_qubesd_holds_comes_first(self) -> None:
        store = MemoryStore()
        stored = Stored(store, {})
        one = client(store, stored=stored)
        one.compare()
        changes = list(one.changes())
        assert [name for name, _ in changes] == ["persistent:firewall", "firewall"]
        assert changes[0][1] is stored.change


class TestWrite:
    def test_rules_are_written_in_place_of_the_former_and_not_yet_notified(self) -> None:
        store = MemoryStore(OPEN)
        one = client(store)
        one.compare()
        one.write()
        assert {path: value for path, value in store.keys.items() if path != TOP} == {
            path: value for path, value in RIGHT.items() if path != TOP
        }
        assert store.done[0] == Remove(f"{TOP}/")
        assert Write(TOP, b"") not in store.done

    def test_where_nothing_was_nothing_is_removed(self) -> None:
        store = MemoryStore()
        one = client(store)
        one.compare()
        one.write()
        assert not any(isinstance(done, Remove) for done in store.done)
        assert sorted(done.path for done in store.done) == [f"{TOP}/0000", f"{TOP}/policy"]

    def test_rules_that_qubesd_has_written_by_now_are_not_written_again(self) -> None:
        store = MemoryStore(OPEN)
        one = client(store, stored=Stored(store, {}))
        one.compare()
        store.keys.update(RIGHT)
        one.write()
        assert store.done == []

    def test_a_competitor_is_written_over_three_times_at_most(self) -> None:
        store = MemoryStore(OPEN)
        one = client(store)
        one.compare()
        times: list[int] = []

        def compete() -> None:
            times.append(1)
            store.keys[f"{TOP}/0001"] = b"action=accept"

        store.then = compete
        with pytest.raises(VerificationFailed) as raised:
            one.write()
        assert str(raised.value) == ("work: its firewall in sys-net does not hold the written rules after 3 attempts")
        assert len(times) == 3

    def test_a_competitor_that_gives_up_is_written_over(self) -> None:
        store = MemoryStore(OPEN)
        one = client(store)
        one.compare()
        left = [1, 2]

        def compete() -> None:
            if left:
                left.pop()
                store.keys[f"{TOP}/0001"] = b"action=accept"

        store.then = compete
        one.write()
        assert f"{TOP}/0001" not in store.keys

    def test_a_refusal_is_raised(self) -> None:
        store = MemoryStore(OPEN)
        one = client(store)
        one.compare()
        store.fails[f"{TOP}/policy"] = PermissionDenied("no")
        with pytest.raises(PermissionDenied):
            one.write()

    def test_keys_that_have_vanished_meanwhile_need_no_removal(self) -> None:
        store = MemoryStore(OPEN)
        one = client(store)
        one.compare()
        store.keys.clear()
        one.write()
        assert f"{TOP}/policy" in store.keys


class TestNotify:
    def test_the_provider_is_notified_of_the_addresses_that_are_named(self) -> None:
        store = MemoryStore()
        one = client(store, ip6=True)
        one.compare()
        one.notify(IP6)
        assert store.done == [Write(TOP6, b"")]
        one.notify(IP, IP6)
        assert store.done[1:] == [Write(TOP, b""), Write(TOP6, b"")]

    def test_a_refusal_is_raised(self) -> None:
        store = MemoryStore()
        one = client(store)
        one.compare()
        store.fails[TOP] = StoreError("no")
        with pytest.raises(StoreError):
            one.notify(IP)

    def test_so_is_one_of_removing_what_is_there(self) -> None:
        store = MemoryStore(OPEN)
        one = client(store)
        one.compare()
        store.fails[f"{TOP}/"] = PermissionDenied("no")
        with pytest.raises(PermissionDenied):
            one.write()


class TestPutBack:
    def written(self, store: MemoryStore, **more: Any) -> Client:
        one = client(store, **more)
        one.compare()
        one.write()
        store.done.clear()
        return one

    def test_the_former_rules_are_there_again_and_nobody_hears_of_what_nobody_had_heard(self) -> None:
        store = MemoryStore(OPEN)
        assert self.written(store).put_back(notified=False)
        assert store.keys == OPEN
        assert all(done.path != TOP for done in store.done)

    def test_a_provider_that_was_notified_is_notified_again(self) -> None:
        store = MemoryStore(OPEN)
        one = self.written(store)
        one.notify(IP)
        assert one.put_back(notified=True)
        assert store.keys == OPEN
        assert store.done[-1] == Write(TOP, b"")

    def test_without_a_provider_there_is_what_qubesd_holds_alone(self) -> None:
        stored = Stored(MemoryStore(), {})
        one = client(None, stored=stored)
        assert one.compare()
        assert one.put_back(notified=False)
        assert stored.times == 1

    def test_where_nothing_was_nothing_is_left(self) -> None:
        store = MemoryStore()
        one = self.written(store)
        one.notify(IP)
        assert one.put_back(notified=True)
        assert store.keys == {}
        assert store.done[-1] == Remove(TOP)

    def test_the_rules_of_another_program_stay(self) -> None:
        store = MemoryStore(OPEN)
        one = self.written(store)
        store.keys[f"{TOP}/0001"] = b"action=accept"
        before = dict(store.keys)
        assert not one.put_back(notified=True)
        assert store.keys == before

    def test_qubesd_is_first_and_what_it_writes_then_is_written_over(self) -> None:
        store = MemoryStore({**OPEN, f"{TOP}/0000": b"action=drop"})
        before = dict(store.keys)
        stored = Stored(store, {f"{TOP}/0009": b"action=drop"})
        one = self.written(store, stored=stored)
        assert one.put_back(notified=False)
        assert stored.times == 1
        assert store.keys == before
        # qubesd has notified the provider of its own.
        assert store.done[-1] == Write(TOP, b"")

    def test_qubesd_has_its_rules_back_although_the_store_is_gone(self) -> None:
        store = MemoryStore(OPEN)
        stored = Stored(store, {})
        one = self.written(store, stored=stored)
        store.fails[TOP] = StoreError("gone")
        with pytest.raises(StoreError):
            one.put_back(notified=True)
        assert stored.times == 1


def test_a_client_is_about_its_provider() -> None:
    one = client(MemoryStore())
    assert one.netvm == "sys-net"
    assert one.path("qubes-firewall") == "/qubes-firewall"
