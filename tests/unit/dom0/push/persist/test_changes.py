"""What qubesd is to keep: compared, made as one, and taken back as one, also where qubesd fails after it has stored."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.adminapi import MemoryAPI, MemoryQubesd
from vminterface.dom0.push.persist.changes import NotPersisted, Taken, compare, make, take_back
from vminterface.errors import (
    ConnectionLost,
    DeadlineExceeded,
    InvalidValues,
    PermissionDenied,
    StoreError,
    VerificationFailed,
)
from vminterface.keys import read_value
from vminterface.values.change import Change
from vminterface.values.memorysize import MemorySize
from vminterface.values.service import ServiceState

ON, OFF = ServiceState.ON, ServiceState.OFF
PL, US = read_value("keyboard", "pl++"), read_value("keyboard", "us++")
ZONE = read_value("timezone", "UTC")
#: Two changes in the order in which they are made.
TWO = {"services:cups": Change(None, ON), "debug": Change(None, True)}
FIRST = StoreError("work: the store hangs")


class Always(dict[str, Any]):
    """What fails each time."""

    def pop(self, name: str, default: Any = None) -> Any:
        return self.get(name, default)


def path(field: str) -> str:
    return f"qubes:vms:work:{field}"


def compared(api: MemoryAPI, **values: Any) -> dict[str, Change[Any]]:
    return compare(MemoryQubesd(api), "work", {name.replace("__", ":"): one for name, one in values.items()}, path)


def failed(api: MemoryAPI, changes: dict[str, Change[Any]]) -> Taken:
    with pytest.raises(NotPersisted) as raised:
        make(MemoryQubesd(api), "work", changes)
    assert str(raised.value) == str(raised.value.taken.error)
    return raised.value.taken


def taken_back(api: MemoryAPI, changes: dict[str, Change[Any]], **more: str) -> Taken:
    return take_back(MemoryQubesd(api), "work", changes, FIRST, **more)


class TestCompare:
    def test_what_qubesd_has_as_desired_is_no_change(self, api: MemoryAPI) -> None:
        api.features["service.cups"], api.properties["debug"] = "1", "True"
        assert compared(api, services__cups=ON, debug=True, timezone=None) == {}

    def test_what_it_has_otherwise_changes_from_what_is_set(self, api: MemoryAPI) -> None:
        api.features["service.cups"] = "1"
        assert compared(api, services__cups=OFF, debug=True, timezone=ZONE) == {
            "services:cups": Change(ON, OFF),
            "debug": Change(None, True),
            "timezone": Change(None, ZONE),
        }

    def test_what_is_in_effect_by_default_need_not_be_set(self, api: MemoryAPI) -> None:
        assert compared(api, keyboard=US, memory=MemorySize.parse(400)) == {}

    def test_what_is_set_is_forgotten_though_the_default_is_the_same(self, api: MemoryAPI) -> None:
        api.properties["keyboard_layout"] = "us++"
        assert compared(api, keyboard=None) == {"keyboard": Change(US, None)}

    @pytest.mark.parametrize(
        ("field", "same", "name", "other"),
        [("maxmem", MemorySize.parse(4000), "memory", MemorySize.parse(800)), ("keyboard", US, "guivm", "sys-gui")],
    )
    def test_a_default_that_hangs_on_another_change_is_set_all_the_same(
        self, api: MemoryAPI, field: str, same: Any, name: str, other: Any
    ) -> None:
        assert compared(api, **{field: same, name: other})[field] == Change(None, same)
        assert field not in compared(api, **{field: same})

    def test_what_follows_from_a_property_comes_after_it_also_where_it_stays_the_same(self, api: MemoryAPI) -> None:
        changes = compared(api, features__servicevm=True, provides_network=True)
        assert list(changes.items()) == [
            ("provides_network", Change(None, True)),
            ("features:servicevm", Change(None, True)),
        ]
        api.features["servicevm"] = "1"
        assert compared(api, provides_network=True)["features:servicevm"] == Change(True, True)
        assert compared(api, provides_network=True, features__servicevm=False)["features:servicevm"] == Change(
            True, False
        )

    def test_fields_that_qubesd_does_not_keep_are_left_to_the_keys(self, api: MemoryAPI) -> None:
        assert compared(api, network__gateway=read_value("network:gateway", "10.137.0.5")) == {}
        assert api.asked == []

    def test_all_wrong_values_are_named_before_anything_is_asked(self, api: MemoryAPI) -> None:
        with pytest.raises(InvalidValues) as raised:
            compared(
                api, vm_config__one="ż", debug=True, keyboard=read_value("keyboard", "pl,us++"), vm_config__no=None
            )
        one, other = str(raised.value).splitlines()[-2:]
        assert r"qubes:vms:work:vm_config:one: '\u017c' is not a valid text of the feature vm-config.one" in one
        assert "qubes:vms:work:keyboard: " in other
        assert api.asked == []

    def test_an_error_names_the_field_and_what_qubesd_calls_it(self, api: MemoryAPI) -> None:
        api.unreadable["keyboard_layout"] = StoreError("no")
        with pytest.raises(StoreError, match=r"^work: keyboard \(property keyboard_layout\): no$"):
            compared(api, keyboard=US)
        api.unreadable = {"servicevm": StoreError("no")}
        with pytest.raises(StoreError, match=r"^work: features:servicevm \(feature servicevm\): no$"):
            compared(api, provides_network=True)


class TestMake:
    def test_all_changes_are_made_in_their_order(self, api: MemoryAPI) -> None:
        make(MemoryQubesd(api), "work", TWO)
        assert api.calls == [("service.cups", "1"), ("debug", "True")]

    def test_what_follows_by_itself_is_not_set_again(self, api: MemoryAPI) -> None:
        api.features["servicevm"] = "1"  # as qubesd does with the property
        changes = {"provides_network": Change(None, True), "features:servicevm": Change(None, True)}
        make(MemoryQubesd(api), "work", {**changes, "debug": Change(None, True)})
        assert api.calls == [("provides_network", "True"), ("debug", "True")]
        api.calls.clear()
        make(MemoryQubesd(api), "work", {**changes, "features:servicevm": Change(True, False), **TWO})
        assert api.calls == [
            ("provides_network", "True"),
            ("servicevm", ""),
            ("service.cups", "1"),
            ("debug", "True"),
        ]

    def test_a_qubesd_that_was_lost_is_asked_nothing(self, api: MemoryAPI) -> None:
        qubesd = MemoryQubesd(api)
        api.unreadable["x"] = DeadlineExceeded("late")
        with pytest.raises(DeadlineExceeded):
            qubesd.call("other", "field", "x", lambda one: one.feature("other", "x"))
        with pytest.raises(NotPersisted) as raised:
            make(qubesd, "work", TWO)
        assert raised.value.taken.restored is None
        assert str(raised.value).startswith("work: an earlier call of qubesd failed")
        assert api.calls == []

    def test_the_first_refusal_takes_back_what_was_made_and_no_more(self, api: MemoryAPI) -> None:
        api.features["service.cups"] = ""
        api.fails["debug"] = PermissionDenied("no")
        taken = failed(
            api, {"services:cups": Change(OFF, ON), "debug": Change(None, True), "keyboard": Change(None, PL)}
        )
        assert str(taken.error) == "work: debug (property debug): no"
        assert type(taken.error) is PermissionDenied
        assert taken.restored is True
        assert api.calls == [("service.cups", "1"), ("debug", "True"), ("service.cups", "")]

    def test_where_the_first_change_is_refused_nothing_is_put_back(self, api: MemoryAPI) -> None:
        api.fails["service.cups"] = PermissionDenied("no")
        assert failed(api, TWO).restored is None
        assert api.calls == [("service.cups", "1")]

    def test_what_was_stored_by_a_call_that_failed_is_taken_back_too(self, api: MemoryAPI) -> None:
        api.fails["debug"] = StoreError("stored, and then no")
        api.stores.add("debug")
        taken = failed(api, TWO)
        assert (taken.restored, api.features, api.properties) == (True, {}, {})

    def test_what_it_failed_at_twice_never_came_to_the_vm(self, api: MemoryAPI) -> None:
        api.fails = Always(debug=StoreError("no"))
        api.stores.add("debug")
        assert failed(api, TWO).restored is True

    def test_the_follower_of_a_property_that_failed_is_put_back_after_it(self, api: MemoryAPI) -> None:
        api.features["servicevm"] = "1"
        api.fails["provides_network"] = StoreError("no")
        api.stores.add("provides_network")
        changes = {"provides_network": Change(None, True), "features:servicevm": Change(None, True)}
        taken = failed(api, {**changes, "debug": Change(None, True)})
        assert taken.restored is True
        assert api.calls == [("provides_network", "True"), ("provides_network", None), ("servicevm", None)]


class TestTakeBack:
    def test_the_last_change_is_put_back_first_and_followers_at_the_end(self, api: MemoryAPI) -> None:
        changes = {"provides_network": Change(None, True), "features:servicevm": Change(None, True), **TWO}
        make(MemoryQubesd(api), "work", changes)
        api.calls.clear()
        assert taken_back(api, changes) == Taken(FIRST, True)
        assert [name for name, _ in api.calls] == ["debug", "service.cups", "provides_network", "servicevm"]
        assert (api.features, api.properties) == ({}, {})

    def test_what_is_as_before_already_is_left(self, api: MemoryAPI) -> None:
        assert taken_back(api, TWO) == taken_back(api, {}) == Taken(FIRST, None)
        assert api.calls == []

    def test_one_of_two_that_had_to_be_put_back_counts(self, api: MemoryAPI) -> None:
        api.properties["debug"] = "True"
        assert taken_back(api, {"debug": Change(None, True), "services:cups": Change(None, ON)}) == Taken(FIRST, True)
        api.features["service.cups"] = "1"
        assert taken_back(api, {"debug": Change(None, True), "services:cups": Change(None, ON)}) == Taken(FIRST, True)

    def test_what_another_program_has_set_stays_and_is_named(self, api: MemoryAPI) -> None:
        api.properties["keyboard_layout"] = "de++"
        taken = taken_back(api, {"keyboard": Change(None, PL)})
        assert str(taken.error) == (
            f"{FIRST}; not restored in qubesd: "
            "keyboard (property keyboard_layout) was set to 'de' by another program meanwhile, and stays"
        )
        assert (type(taken.error), taken.restored, api.calls) == (VerificationFailed, False, [])

    def test_a_follower_is_put_back_whatever_it_is_by_now(self, api: MemoryAPI) -> None:
        api.features["servicevm"] = ""
        assert taken_back(api, {"features:servicevm": Change(None, True)}).restored is True
        assert api.features == {}

    def test_what_cannot_be_put_back_is_named_with_what_it_was(self, api: MemoryAPI) -> None:
        api.features["service.cups"] = "1"
        api.fails["service.cups"] = PermissionDenied("no")
        taken = taken_back(api, {"services:cups": Change(OFF, ON)})
        assert str(taken.error) == (
            f"{FIRST}; not restored in qubesd: services:cups (feature service.cups) is 'on', and was 'off' "
            "(work: services:cups (feature service.cups): no)"
        )
        assert taken.restored is False

    def test_a_call_that_fails_after_it_has_stored_the_former_value_leaves_a_doubt(self, api: MemoryAPI) -> None:
        api.features["service.cups"] = "1"
        api.fails["service.cups"] = StoreError("no")
        api.stores.add("service.cups")
        taken = taken_back(api, {"services:cups": Change(OFF, ON)})
        assert str(taken.error) == (
            f"{FIRST}; qubesd failed after it stored the former value "
            "(work: services:cups (feature service.cups): no): if work runs, it may still have 'on'"
        )
        assert (type(taken.error), taken.restored) == (VerificationFailed, False)

    def test_a_doubt_stays_where_all_else_is_put_back(self, api: MemoryAPI) -> None:
        make(MemoryQubesd(api), "work", TWO)
        api.fails["debug"] = StoreError("no")
        api.stores.add("debug")
        taken = taken_back(api, TWO)
        assert str(taken.error).endswith("if work runs, it may still have 'on'")
        assert taken.restored is False

    def test_what_qubesd_failed_at_from_the_first_never_came_to_the_vm(self, api: MemoryAPI) -> None:
        api.features["service.cups"] = "1"
        api.fails["service.cups"] = StoreError("no")
        api.stores.add("service.cups")
        assert taken_back(api, {"services:cups": Change(OFF, ON)}, failed="services:cups") == Taken(FIRST, True)

    def test_what_cannot_be_read_may_be_either_and_the_first_reason_is_given(self, api: MemoryAPI) -> None:
        api.unreadable = {"service.cups": StoreError("first"), "debug": StoreError("second")}
        taken = taken_back(api, {"debug": Change(None, True), "services:cups": Change(OFF, ON)})
        assert str(taken.error) == (
            f"{FIRST}; not restored in qubesd: "
            "services:cups (feature service.cups) may be 'on', and was 'off'; "
            "debug (property debug) may be 'on', and was 'default' "
            "(work: services:cups (feature service.cups): first)"
        )
        assert taken.restored is False

    def test_what_is_left_and_what_is_in_doubt_are_both_said(self, api: MemoryAPI) -> None:
        api.properties["debug"] = "True"
        api.unreadable = {"service.cups": StoreError("first")}
        api.fails["debug"] = StoreError("no")
        api.stores.add("debug")
        taken = taken_back(api, TWO)
        assert "services:cups (feature service.cups) may be 'on', and was 'default' (" in str(taken.error)
        assert str(taken.error).endswith("if work runs, it may still have 'on'")

    def test_a_long_value_is_shown_in_part(self, api: MemoryAPI) -> None:
        api.features["vm-config.note"] = "x" * 100
        taken = taken_back(api, {"vm_config:note": Change(None, "y")})
        assert f"was set to '{'x' * 57}...' by" in str(taken.error)

    def test_a_qubesd_that_was_lost_is_asked_once_more_and_given_more_time(self, api: MemoryAPI) -> None:
        qubesd = MemoryQubesd(api)
        api.fails["debug"] = ConnectionLost("gone")
        api.stores.add("debug")
        with pytest.raises(NotPersisted) as raised:
            make(qubesd, "work", TWO)
        assert raised.value.taken.restored is True
        assert api.timeout == 30.0
        assert (api.features, api.properties) == ({}, {})


def test_a_field_is_named_as_the_pillar_and_qubesd_have_it(api: MemoryAPI) -> None:
    api.unreadable["vm-config.vminterface-dns"] = StoreError("no")
    taken = taken_back(api, {"network:all_dns": Change(None, None)})
    assert "network:dns (feature vm-config.vminterface-dns) may be 'default', and was 'default'" in str(taken.error)
