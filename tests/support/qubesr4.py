"""A whole dom0 of Qubes R4 for tests: the lab's qubesd, and QubesDBs that it writes when VMs start or change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab.qubesd import Qubesd
from lab.qubesd.stores import StoreWriter
from tests.support.qubesd import qubes_r4
from tests.support.qubesdb import QubesHost
from vminterface.dom0.desired.settings import VMSettings, parse_pillar
from vminterface.dom0.push.outcome import Outcome
from vminterface.dom0.push.push import diff, push

CHANGING = ("Set", "Reset", "Remove")


class QubesR4:
    """Its VMs are ``work`` and ``personal``, which have no network."""

    def __init__(self, host: QubesHost, qubesd: Qubesd) -> None:
        self.host = host
        self.qubesd = qubesd

    def start(self, vm: str) -> None:
        """Start a VM; one that runs is started again, and has the keys that qubesd gives it."""
        if vm in self.host.daemons:
            self.host.stop_vm(vm)
        self.host.start_vm(vm)
        self.qubesd.start_vm(vm)

    def settings(self, vm: str = "work", defaults: dict[str, Any] | None = None, **raw: Any) -> VMSettings:
        """The settings of one VM of a pillar."""
        return parse_pillar({"qubes": {"defaults": defaults or {}, "vms": {vm: raw}}})[0]

    def push(self, *settings: VMSettings) -> list[Outcome]:
        with self.host.targets() as targets:
            return push(settings, targets)

    def diff(self, *settings: VMSettings) -> list[Outcome]:
        with self.host.targets() as targets:
            return diff(settings, targets)

    def changed(self) -> list[tuple[str, str]]:
        """The calls that changed something since the last time that this was asked."""
        calls = [(method, name) for method, name, _ in self.qubesd.calls if method.rpartition(".")[2] in CHANGING]
        self.qubesd.calls.clear()
        return calls


@contextmanager
def whole_r4(folder: Path) -> Iterator[QubesR4]:
    with (
        QubesHost(folder / "qdb") as host,
        qubes_r4(folder, "work", "personal", live=StoreWriter(host.store)) as qubesd,
    ):
        qubesd.system.properties["default_netvm"] = ""
        yield QubesR4(host, qubesd)
