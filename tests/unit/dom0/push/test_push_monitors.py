"""The steps of a push beside those of monitors, which are given while the agents are waited for."""

from __future__ import annotations

import threading
from typing import Any, ClassVar

import pytest

from tests.support.pushworld import WARSAW, World
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.push import push as module
from vminterface.errors import (
    InvalidValue,
    SettingRefused,
    VMInterfaceError,
)


class FakeMonitors:
    """In place of what asks VMs for their monitors; the VMs of *given* are given others, and ``shown`` has what for."""

    given: ClassVar[set[str]] = set()
    errors: ClassVar[dict[str, VMInterfaceError]] = {}
    steps: ClassVar[list[str]] = []
    stops: ClassVar[list[threading.Event]] = []

    def __init__(self, settings: Any, stop: threading.Event) -> None:
        self.vms = [one.vm for one in settings]
        FakeMonitors.stops.append(stop)
        FakeMonitors.steps.append(f"made {' '.join(self.vms)}")

    def __enter__(self) -> FakeMonitors:
        return self

    def __exit__(self, *_: object) -> None:
        self.steps.append("left")

    def probe(self) -> None:
        self.steps.append("probe")

    def left(self, settings: VMSettings) -> VMSettings:
        return settings

    def is_running(self, vm: str) -> bool:
        return vm in self.given

    def check(self, outcomes: Any) -> None:
        self.steps.append("check")

    def begin(self, outcomes: Any) -> bool:
        return any(outcome.vm in self.given for outcome in outcomes)

    def is_sent(self, vm: str) -> bool:
        return vm in self.given

    def finish(self, outcomes: Any) -> None:
        for outcome in outcomes:
            outcome.error = outcome.error or self.errors.get(outcome.vm)

    def note(self, outcomes: Any) -> None:
        self.steps.append("note")

    def conclude(self, outcomes: Any) -> None:
        self.steps.extend(f"conclude {outcome.vm}" for outcome in outcomes)


class TestMonitors:
    """VMs are given their monitors while their agents are waited for; who has failed in that has its keys restored."""

    MONITORS: ClassVar[dict[str, Any]] = {"monitors": [{"width": 640, "height": 480, "x": 0, "y": 0}]}

    @pytest.fixture(autouse=True)
    def monitors(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "Monitors", FakeMonitors)
        monkeypatch.setattr(FakeMonitors, "given", {"work"})
        monkeypatch.setattr(FakeMonitors, "errors", {})
        monkeypatch.setattr(FakeMonitors, "steps", [])
        monkeypatch.setattr(FakeMonitors, "stops", [])

    def test_keys_are_kept_once_both_have_gone_well(self, world: World) -> None:
        guest = world.vm()
        assert world.pushed({**WARSAW, **self.MONITORS}).ok
        assert guest.keys["/qubes-timezone"] == b"Europe/Warsaw"
        assert FakeMonitors.steps == ["made work", "probe", "check", "conclude work", "left"]
        assert FakeMonitors.stops == [world.stop]

    def test_where_they_fail_the_keys_are_restored(self, world: World) -> None:
        guest = world.vm(qubes_timezone=b"UTC")
        FakeMonitors.errors["work"] = SettingRefused("work: monitors: no")
        outcome = world.pushed({**WARSAW, **self.MONITORS})
        assert outcome.comment() == "work: monitors: no; former values restored"
        assert guest.keys["/qubes-timezone"] == b"UTC"

    def test_they_are_waited_for_where_no_key_changes(self, world: World) -> None:
        world.vm(qubes_timezone=b"Europe/Warsaw")
        world.pushed(WARSAW)
        FakeMonitors.errors["work"] = SettingRefused("work: monitors: no")
        assert str(world.pushed({**WARSAW, **self.MONITORS}).error) == "work: monitors: no"

    def test_a_vm_that_has_nothing_else_is_searched_for_in_no_store(self, world: World) -> None:
        world.vm()
        assert world.pushed(self.MONITORS).running
        assert world.opened == []
        FakeMonitors.given.clear()
        assert not world.pushed(self.MONITORS).running

    def test_those_of_a_vm_that_cannot_be_pushed_to_are_not_asked_for(self, world: World) -> None:
        world.vm("work")
        settings = [VMSettings.parse("work", WARSAW), VMSettings.parse("mail", {"netvm": "sys-net"})]
        outcomes = world.all_pushed(*settings)
        assert FakeMonitors.steps[0] == "made work"
        assert outcomes[0].ok
        assert (outcomes[1].vm, type(outcomes[1].error)) == ("mail", InvalidValue)

    def test_a_diff_adds_what_would_change(self, world: World) -> None:
        world.vm()
        world.found({**WARSAW, **self.MONITORS})
        assert FakeMonitors.steps == ["made work", "probe", "check", "note", "left"]
