"""A VM that shall be anonymous does not learn the time zone that all VMs have by default."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.qubesd import Qube, Refused
from tests.support.qubesr4 import QubesR4, whole_r4
from vminterface.channel import adminapi
from vminterface.dom0.push.persist import zone
from vminterface.errors import DeadlineExceeded

DEFAULTS = {"timezone": "Europe/Warsaw"}
CHECK = "admin.vm.feature.CheckWithTemplate"
#: By which names are checked.
LIST = ("admin.vm.List", "", "dom0")
FEATURE = "vm-config.vminterface-timezone"


@pytest.fixture
def r4(tmp_path: Path) -> Iterator[QubesR4]:
    with whole_r4(tmp_path) as r4:
        yield r4


@pytest.fixture(params=["own", "of its template"])
def anonymous(request: pytest.FixtureRequest, r4: QubesR4) -> QubesR4:
    """The running VM called work has the feature."""
    if request.param == "own":
        r4.qubesd.qubes["work"].features["anon-timezone"] = "1"
    else:
        r4.qubesd.qubes["whonix"] = Qube("TemplateVM", features={"anon-timezone": "1"})
        r4.qubesd.qubes["work"].properties["template"] = "whonix"
    r4.start("work")
    return r4


@pytest.mark.parametrize("persist", [True, False, None])
def test_the_zone_of_the_defaults_is_left_out_with_a_remark(anonymous: QubesR4, persist: bool | None) -> None:
    r4 = anonymous
    desired = r4.settings(defaults={**DEFAULTS, "persist": persist})
    for run in (r4.diff, r4.push, r4.diff):
        (outcome,) = run(desired)
        assert (outcome.error, outcome.changes) == (None, {})
        for test in (True, False):
            assert outcome.comment(test=test) == (
                "work is already as configured; the timezone of the defaults is left out, because the VM has the"
                " feature"
                " anon-timezone"
            )
    assert r4.changed() == []
    for key in ("qubes-timezone", "vm-config/vminterface-timezone"):
        assert r4.host.read("work", key) is None


def test_the_zone_that_the_pillar_gives_this_vm_is_pushed(anonymous: QubesR4) -> None:
    r4 = anonymous
    (outcome,) = r4.push(r4.settings(defaults=DEFAULTS, timezone="Etc/UTC"))
    assert outcome.ok
    assert r4.host.read("work", "qubes-timezone") == "Etc/UTC"
    assert r4.qubesd.qubes["work"].features[FEATURE] == "Etc/UTC"
    assert "left out" not in outcome.comment()


def test_a_zone_that_an_earlier_push_has_given_the_vm_is_removed(r4: QubesR4) -> None:
    r4.start("work")
    desired = r4.settings(defaults=DEFAULTS)
    r4.push(desired)
    r4.qubesd.qubes["work"].features["anon-timezone"] = "1"
    (outcome,) = r4.push(desired)
    assert set(outcome.changes) == {"persistent:timezone", "timezone"}
    assert FEATURE not in r4.qubesd.qubes["work"].features
    for key in ("qubes-timezone", "vm-config/vminterface-timezone"):
        assert r4.host.read("work", key) is None
    assert r4.diff(desired)[0].changes == {}


def test_other_fields_of_such_a_vm_are_pushed(anonymous: QubesR4) -> None:
    r4 = anonymous
    (outcome,) = r4.push(r4.settings(defaults={**DEFAULTS, "services": {"cups": False}}))
    assert set(outcome.changes) == {"persistent:services:cups", "services:cups"}
    assert outcome.comment().endswith("because the VM has the feature anon-timezone")


def test_a_vm_without_the_feature_has_the_zone_at_the_cost_of_one_call(r4: QubesR4) -> None:
    r4.qubesd.qubes["work"].features["anon-timezone"] = ""
    r4.start("work")
    r4.qubesd.calls.clear()
    (outcome,) = r4.push(r4.settings(defaults={**DEFAULTS, "persist": False}))
    assert r4.qubesd.calls == [(CHECK, "anon-timezone", "work"), LIST]
    assert outcome.ok
    assert r4.host.read("work", "qubes-timezone") == "Europe/Warsaw"


def test_qubesd_is_not_asked_where_no_zone_comes_from_the_defaults(r4: QubesR4) -> None:
    r4.start("work")
    r4.qubesd.calls.clear()
    r4.push(r4.settings(defaults={"persist": False, "debug": True}, timezone="Europe/Warsaw"))
    assert r4.qubesd.calls == [LIST]


def test_a_qubesd_that_cannot_be_asked_costs_the_zone_alone(r4: QubesR4, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vars(adminapi.AdminAPI)["open"].__func__, "__defaults__", (0.3,))
    r4.start("work")
    r4.start("personal")
    defaults = {**DEFAULTS, "persist": False, "services": {"cups": True}}
    r4.qubesd.hung.set()
    outcomes = r4.push(r4.settings(defaults=defaults), r4.settings("personal", defaults))
    for outcome in outcomes:
        assert outcome.ok
        assert set(outcome.changes) == {"services:cups"}
        assert r4.host.read(outcome.vm, "qubes-timezone") == "Etc/UTC"
        assert (
            "the timezone of the defaults is left out, because it is unknown whether the VM has anon-timezone"
            in outcome.comment()
        )
    assert "no reply from qubesd within 0.3 s" in outcomes[0].comment()
    assert "work:" not in outcomes[1].comment()
    (asked,) = r4.push(r4.settings(defaults={**DEFAULTS, "persist": True}))
    assert isinstance(asked.error, DeadlineExceeded)


def test_what_qubesd_does_not_tell_of_one_vm_is_no_reason_to_give_it_the_zone(r4: QubesR4) -> None:
    r4.start("work")
    r4.qubesd.refuse[CHECK, "anon-timezone"] = Refused("QubesException", "not now")
    (outcome,) = r4.push(r4.settings(defaults={**DEFAULTS, "persist": False}))
    assert (outcome.error, outcome.changes) == (None, {})
    assert "not now" in outcome.comment()
    (failed,) = r4.push(r4.settings(defaults=DEFAULTS))
    assert failed.comment() == "work: timezone (feature anon-timezone): not now"
    assert r4.host.read("work", "qubes-timezone") == "Etc/UTC"


def test_a_qubesd_that_is_stopped_is_one_that_cannot_be_asked(
    r4: QubesR4, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "qubes.xml").touch()
    monkeypatch.setattr(adminapi, "QUBES_XML", str(tmp_path / "qubes.xml"))
    r4.start("work")
    r4.qubesd.stop_listening()
    (outcome,) = r4.push(r4.settings(defaults={**DEFAULTS, "services": {"cups": True}}))
    assert outcome.ok
    assert set(outcome.changes) == {"services:cups"}
    assert "nothing is persistent, because qubesd does not run" in outcome.comment()
    assert "it is unknown whether the VM has anon-timezone" in outcome.comment()
    assert r4.host.read("work", "qubes-timezone") == "Etc/UTC"


@pytest.mark.parametrize("persist", [True, False])
def test_default_is_the_zone_of_dom0_as_qubesd_writes_it(
    r4: QubesR4, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, persist: bool
) -> None:
    (tmp_path / "localtime").symlink_to("/usr/share/zoneinfo/Asia/Tokyo")
    monkeypatch.setattr(zone, "LOCALTIME", str(tmp_path / "localtime"))
    r4.qubesd.system.timezone = "Asia/Tokyo"
    r4.start("work")
    desired = r4.settings(timezone="default", persist=persist)
    assert r4.diff(desired)[0].changes == {}
    r4.push(r4.settings(timezone="Europe/Warsaw", persist=persist))
    assert r4.push(desired)[0].ok
    assert r4.host.read("work", "qubes-timezone") == "Asia/Tokyo"
    assert r4.host.read("work", "vm-config/vminterface-timezone") is None
    r4.start("work")
    assert r4.diff(desired)[0].changes == {}


def test_default_of_an_anonymous_vm_is_none(anonymous: QubesR4) -> None:
    r4 = anonymous
    r4.push(r4.settings(timezone="Europe/Warsaw"))
    r4.push(r4.settings(timezone="default"))
    assert r4.host.read("work", "qubes-timezone") is None
    assert r4.diff(r4.settings(timezone="default"))[0].changes == {}


def test_default_leaves_the_key_alone_where_the_zone_that_qubesd_writes_is_unknown(
    r4: QubesR4, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zone, "LOCALTIME", str(tmp_path / "none"))
    r4.start("work")
    assert r4.push(r4.settings(timezone="default"))[0].changes == {}
    assert r4.host.read("work", "qubes-timezone") == "Etc/UTC"
