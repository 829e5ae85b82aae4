"""Pushes to VMs in a test's memory, and what is kept of them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.adminapi import MemoryQubesd
from tests.support.memoryhost import Host
from tests.support.virtualtime import Clock
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.push import record
from vminterface.dom0.push.outcome import Outcome
from vminterface.dom0.push.push import diff, push

WARSAW = {"timezone": "Europe/Warsaw"}
BOTH = {**WARSAW, "services": {"cups": "on"}}
FIREWALL = {"firewall": {"netvm": "sys-net", "ip": "10.137.0.5", "policy": "drop"}}


class World(Host):
    """Such a dom0, and what is kept of pushes in it."""

    def __init__(self, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(clock)
        self.stop = clock.event()
        self.kept: list[list[Outcome]] = []
        self.reported: list[list[Outcome]] = []
        self.recorded: list[tuple[list[str], Any]] = []
        world = self

        class Record:
            def __init__(self, vms: Any) -> None:
                self.vms = list(vms)

            def outcomes(self, outcomes: list[Outcome]) -> None:
                world.recorded.append((self.vms, outcomes))

            def error(self, error: Exception) -> None:
                world.recorded.append((self.vms, error))

        monkeypatch.setattr(record, "Record", Record)

    def pushed(self, raw: dict[str, Any], vm: str = "work") -> Outcome:
        """Push the pillar *raw* of one VM."""
        return self.all_pushed(VMSettings.parse(vm, raw))[0]

    def all_pushed(self, *settings: VMSettings) -> list[Outcome]:
        """Push to several at once."""
        locks: Any = self.locks
        with self.targets() as targets:
            return push(
                settings,
                targets,
                stop=self.stop,
                report=self.reported.append,
                open_locks=locks,
                keep=self.kept.append,
            )

    def found(self, raw: dict[str, Any], vm: str = "work") -> Outcome:
        """Return what a push would change."""
        with self.targets() as targets:
            (outcome,) = diff([VMSettings.parse(vm, raw)], targets)
        return outcome

    def qubes(self) -> MemoryQubesd:
        """Let qubesd run."""
        self.qubesd = MemoryQubesd(self.api)
        return self.qubesd


def error_of(outcome: Outcome) -> tuple[type, str]:
    """Return the kind of its error, and its words."""
    return type(outcome.error), str(outcome.error)
