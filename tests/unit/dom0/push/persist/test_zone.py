"""The zone of a VM where qubesd gives one to each: dom0's by default, and none to a VM that is to stay anonymous."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.support.adminapi import MemoryAPI, MemoryQubesd
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.push.persist.zone import keys_of, without_default
from vminterface.errors import StoreError
from vminterface.keys import read_value

UTC, WARSAW = read_value("timezone", "UTC"), read_value("timezone", "Europe/Warsaw")
LASTING = "lasting:timezone"


@pytest.fixture(autouse=True)
def zone_of_dom0(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What dom0's link names, the one item."""
    link = ["/usr/share/zoneinfo/Europe/Warsaw"]
    real = os.readlink

    def readlink(path: str) -> str:
        if path != "/etc/localtime":
            # The test runner's own.
            return real(path)
        if not link:
            raise OSError
        return link[0]

    monkeypatch.setattr(os, "readlink", readlink)
    return link


def settings(zone: Any = UTC, *, default: bool = True, persist: bool | None = None) -> VMSettings:
    names = frozenset({"timezone"} if default else ())
    return VMSettings("work", {"timezone": zone, "debug": True}, from_defaults=names, persist=persist)


class TestWithoutDefault:
    def test_a_vm_that_may_know_it_has_the_zone_of_the_defaults(self, api: MemoryAPI) -> None:
        one = settings()
        assert without_default(one, MemoryQubesd(api)) == (one, [])
        assert ("work", "anon-timezone") in api.asked

    def test_an_anonymous_vm_has_none_of_them(self, api: MemoryAPI) -> None:
        api.features["anon-timezone"] = "1"
        one, remarks = without_default(settings(), MemoryQubesd(api))
        assert one.desired == {"timezone": None, "debug": True}
        assert remarks == ["the timezone of the defaults is left out, because the VM has the feature anon-timezone"]

    @pytest.mark.parametrize("one", [settings(default=False), settings(None), VMSettings("work", {"debug": True})])
    def test_a_zone_of_its_own_stays_and_qubesd_is_not_asked(self, api: MemoryAPI, one: VMSettings) -> None:
        api.features["anon-timezone"] = "1"
        assert without_default(one, MemoryQubesd(api)) == (one, [])
        assert api.asked == []

    def test_what_nobody_knows_is_left_out_as_it_cannot_be_taken_back(self, api: MemoryAPI) -> None:
        api.unreadable["anon-timezone"] = StoreError("no")
        one, remarks = without_default(settings(), MemoryQubesd(api))
        assert one.desired == {"debug": True}
        assert remarks == [
            "the timezone of the defaults is left out, because it is unknown whether the VM has anon-timezone "
            "(work: timezone (feature anon-timezone): no)"
        ]

    def test_settings_that_qubesd_is_to_keep_do_not_do_without_it(self, api: MemoryAPI) -> None:
        api.unreadable["anon-timezone"] = StoreError("no")
        with pytest.raises(StoreError):
            without_default(settings(persist=True), MemoryQubesd(api))


class TestKeys:
    @pytest.mark.parametrize(
        ("one", "expected", "keys"),
        [
            (settings(UTC), True, {"timezone": UTC, LASTING: None}),
            (settings(UTC, persist=True), True, {"timezone": UTC, LASTING: UTC}),
            (settings(None), False, {"timezone": None, LASTING: None}),
            (settings(None), True, {"timezone": WARSAW, LASTING: None}),
            (VMSettings("work", {"debug": True}), True, {}),
        ],
    )
    def test_default_is_the_zone_that_qubesd_writes(
        self, api: MemoryAPI, one: VMSettings, expected: bool, keys: dict[str, Any]
    ) -> None:
        assert keys_of(one, MemoryQubesd(api, expected=expected)) == keys

    def test_an_anonymous_vm_is_given_none(self, api: MemoryAPI) -> None:
        api.of_template["anon-timezone"] = "1"
        assert keys_of(settings(None), MemoryQubesd(api)) == {"timezone": None, LASTING: None}
        assert keys_of(settings(UTC), MemoryQubesd(api))["timezone"] == UTC

    @pytest.mark.parametrize("link", ["/etc/some-file", "/usr/share/zoneinfo/../../x", None])
    def test_where_the_link_names_no_zone_it_is_unknown_what_qubesd_writes(
        self, api: MemoryAPI, zone_of_dom0: list[str], link: str | None
    ) -> None:
        zone_of_dom0[:] = [] if link is None else [link]
        assert keys_of(settings(None, persist=True), MemoryQubesd(api)) == {LASTING: None}
