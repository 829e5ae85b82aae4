"""What pushes have reported, each word of success held against what the VMs' agents applied in that time."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.soak.history import History
from tests.soak.pillars import fields
from vminterface.dom0.push.outcome import NO_AGENT
from vminterface.dom0.push.watch.boot import AWAITED

#: A watcher's word that it has pushed: the VM, and how it goes on behind "set".
_SET = re.compile(r"^(?P<vm>\S+): (?:\d+ fields|[\w:.-]+(?:, [\w:.-]+){0,2}) set(?P<rest>; .*)?$")
_PREFIX = "vminterface watch: "


class Reports:
    """Counts what is reported of VMs whose roots *root_of* returns, and keeps what was wrong. For several threads."""

    def __init__(self, root_of: Callable[[str], Path]) -> None:
        self.counts: Counter[str] = Counter()
        #: One line for each report that was not so.
        self.wrong: list[str] = []
        self._root_of = root_of
        self._histories: dict[str, History] = {}
        self._lock = threading.Lock()

    def count(self, what: str) -> None:
        """Count one more of *what*."""
        with self._lock:
            self.counts[what] += 1

    def history(self, vm: str) -> History:
        """Return what *vm* has had until now."""
        with self._lock:
            history = self._histories.setdefault(vm, History(self._root_of(vm)))
            history.refresh()
            return history

    def take(
        self, who: str, desired: Mapping[str, Mapping[str, Any]], told: Mapping[str, Any], begin: float, end: float
    ) -> None:
        """Take in what a push *told* (its JSON) between *begin* and *end*, whose pillar had *desired* by VM."""
        for vm, settings in desired.items():
            report = told.get(vm)
            if not isinstance(report, Mapping):
                self.count("no report")
                self.wrong.append(f"{who}: {vm}: is in the pillar, and nothing is reported of it")
                continue
            word = kind(report)
            self.count(word)
            if word in ("set", "already set") and (never := self.history(vm).had(fields(settings), begin, end)):
                self.wrong.append(
                    f"{who}: '{report['comment']}' from {begin:.3f} to {end:.3f} s, but the VM never had"
                    f" {_said(never, settings)}; it had {self.history(vm).during(begin, end)}"
                )

    def take_watcher_line(
        self, line: str, versions: Sequence[tuple[float, Mapping[str, Mapping[str, Any]]]], begin: float, end: float
    ) -> None:
        """Take in what the watcher logs at *end*, of a push that began after *begin*.

        *versions* are its pillars with the times from which they held: what it says is true of one of those that held
        meanwhile.
        """
        found = _SET.match(line.removeprefix(_PREFIX).strip())
        if found is None:
            self.count("other line of the watcher")
            return
        vm = found["vm"]
        if NO_AGENT in (found["rest"] or "") or AWAITED in (found["rest"] or ""):
            self.count("set by the watcher without an agent")
            return
        self.count("set by the watcher")
        held = [
            pillar[vm]
            for number, (_, pillar) in enumerate(versions)
            if versions[number][0] <= end and (number + 1 == len(versions) or versions[number + 1][0] >= begin)
            if vm in pillar
        ]
        history = self.history(vm)
        if not any(not history.had(fields(settings), begin, end) for settings in held):
            self.wrong.append(
                f"watcher: '{line.strip()}' at {end:.3f} s, but the VM had none of {held}; it had"
                f" {history.during(begin, end)}"
            )


def kind(report: Mapping[str, Any]) -> str:
    """Return what a push's *report* of one VM says: whether its values are set, and whether an agent has said so."""
    if not report["ok"]:
        return "failed"
    if not report["running"]:
        return "not running"
    if NO_AGENT in report["comment"]:
        return "set without an agent"
    return "set" if report["changes"] else "already set"


def _said(names: Sequence[str], settings: Mapping[str, Any]) -> str:
    values = fields(settings)
    return ", ".join(f"{name}={values[name]}" for name in names)
