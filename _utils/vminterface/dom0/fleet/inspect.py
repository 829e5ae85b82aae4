"""The record of this host: compare its VMs with the pillar, and add what the stores and former pushes have of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vminterface import __version__
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.desired.words import MONITORS
from vminterface.dom0.fleet import record
from vminterface.dom0.fleet.record import Condition, HostRecord, VMRecord
from vminterface.dom0.fleet.untrusted import TEXT_MAX, shown_name
from vminterface.dom0.inventory import observed
from vminterface.dom0.inventory.observed import VMState
from vminterface.dom0.inventory.targets import Targets
from vminterface.dom0.push import lastpush
from vminterface.dom0.push.lastpush import LastPush
from vminterface.dom0.push.outcome import NO_AGENT, Outcome, count
from vminterface.dom0.push.push import diff
from vminterface.dom0.reports import devices
from vminterface.dom0.reports.devices import Report
from vminterface.dom0.results import returns
from vminterface.dom0.results.raising import sentence
from vminterface.errors import InvalidValue, VMInterfaceError, VMNotRunning, printable
from vminterface.values.monitor import MonitorLayout

#: The state of a VM of which a push, or the comparison, came to that.
_STATES = {lastpush.REFUSED: record.REFUSED, lastpush.HUNG: record.HUNG, lastpush.NOT_RUNNING: record.NOT_RUNNING}
#: The reason that is given for each other state.
_REASONS = {
    record.CONVERGED: "Converged",
    record.DRIFTED: "Drifted",
    record.REFUSED: "Refused",
    record.HUNG: "Hung",
    record.FAILED: "Failed",
    record.NOT_RUNNING: "NotRunning",
    record.NOT_IN_PILLAR: "NotInPillar",
    record.UNKNOWN: "PillarInvalid",
}
#: Whether a VM of that state has what the pillar gives it; None: not known, or the pillar gives it nothing.
_APPLIED = {record.CONVERGED: True, record.NOT_IN_PILLAR: None, record.UNKNOWN: None, record.NOT_RUNNING: None}


def host_record(parse: Callable[[], Sequence[VMSettings]], open_targets: Callable[[], Targets]) -> HostRecord:
    """Return the record of this host. Nothing is written to any VM; what fails is a part of the record.

    *parse* returns what the pillar gives the VMs, and raises InvalidValue where it is wrong; *open_targets* returns
    where the VMs are. Like pushes, the results are stored beside the locks, so that the next record has since when
    it is so.
    """
    made = int(time.time())
    errors: tuple[str, ...] = ()
    settings: Sequence[VMSettings] = ()
    try:
        settings = parse()
    except InvalidValue as error:
        errors = tuple(printable(line, TEXT_MAX) for line in sentence(error).splitlines())
    try:
        with open_targets() as targets:
            found = _Found.read(targets, settings)
    except VMInterfaceError as error:
        return HostRecord(made, __version__, pillar_errors=errors, error=printable(str(error), TEXT_MAX))
    vms = {}

    def note(held: dict[str, LastPush]) -> None:
        for vm in sorted(found.running.keys() | found.outcomes.keys()):
            held[vm], vms[shown_name(vm)] = found.of_vm(vm, held.get(vm, LastPush()), made, valid=not errors)

    lastpush.update(note)
    return HostRecord(made, __version__, vms, errors)


class _Found:
    """What there is to be known of the VMs of a host, before it is put together by VM."""

    def __init__(self, settings: Sequence[VMSettings], running: Mapping[str, int | None]) -> None:
        self.settings = {one.vm: one for one in settings}
        self.running = running
        self.outcomes: dict[str, Outcome] = {}
        self.states: dict[str, VMState] = {}
        self.errors: dict[str, VMInterfaceError] = {}
        self.reports: dict[str, Report] = {}

    @classmethod
    def read(cls, targets: Targets, settings: Sequence[VMSettings]) -> _Found:
        """Read all stores. Raises the errors of the XenStore."""
        found = cls(settings, targets.running())
        found.outcomes = {one.vm: one for one in diff(settings, targets)}
        found.states, found.errors = observed.observe(targets, sorted(found.running), fields=())
        found.reports = devices.read(targets, None, [devices.MEMORY])
        return found

    def of_vm(self, vm: str, held: LastPush, now: int, *, valid: bool) -> tuple[LastPush, VMRecord]:
        """Return the record of *vm*, and what is to be kept of it; *valid* is whether the pillar could be read."""
        outcome = self.outcomes.get(vm)
        runs = vm in self.running and (outcome is None or outcome.running)
        agent = self.states[vm].agent if vm in self.states else None
        if outcome is None:
            state = record.NOT_IN_PILLAR if valid else record.UNKNOWN
            message = f"{vm}: the pillar does not name it" if valid else f"{vm}: not compared, as the pillar is wrong"
        else:
            state, message = _state(outcome, held)
        conditions = []
        for type_, status, reason, text in (
            (record.RUNNING, runs, "Running" if runs else "NotRunning", f"{vm} {'runs' if runs else 'does not run'}"),
            (record.APPLIED, _APPLIED.get(state, False), _REASONS[state], message),
            (record.AGENT, *self._agent(vm, runs, agent is not None)),
            (record.PUSHED, *_pushed(vm, held)),
        ):
            if type_ != record.PUSHED:
                held = held.seen(type_, reason, now)
            since = held.since[type_][1] if type_ in held.since else None
            conditions.append(Condition(type_, status, since, reason, printable(text, TEXT_MAX)))
        report = self.reports.get(vm)
        return held, VMRecord(
            shown_name(vm),
            state,
            domid=self.running.get(vm),
            conditions=tuple(conditions),
            drift={} if outcome is None or not outcome.ok else returns.drift_of([outcome]).get(vm, {}),
            agent=None if agent is None else agent.version,
            pushed=held.pushed,
            acknowledged=held.acknowledged,
            used_kb=None if report is None else report.used_kb,
            swap_used_kb=None if report is None else report.swap_used_kb,
            maximum_kb=None if report is None else report.maximum_kb,
            monitors=None if outcome is None else _layout(self.settings[vm], outcome),
        )

    def _agent(self, vm: str, runs: bool, announced: bool) -> tuple[bool | None, str, str]:
        if vm in self.errors:
            return None, "Unread", str(self.errors[vm])
        if announced:
            return True, "Announced", f"an agent is running in {vm}"
        return (False, "NoAgent", f"{vm}: {NO_AGENT}") if runs else (False, "NotRunning", f"{vm} does not run")


def _state(outcome: Outcome, held: LastPush) -> tuple[str, str]:
    """Return the state of a VM of the pillar and one sentence about it."""
    vm = outcome.vm
    if outcome.error is not None:
        if isinstance(outcome.error, VMNotRunning) and not outcome.running:
            return record.NOT_RUNNING, outcome.comment()
        return _STATES.get(lastpush.reason_of(outcome.error), record.FAILED), outcome.comment()
    if not outcome.as_asked:
        return record.REFUSED, outcome.comment(test=True)
    if not outcome.running:
        return record.NOT_RUNNING, f"{vm} is not running"
    if not outcome.changes:
        return record.CONVERGED, f"{vm} is as configured"
    # A refusal was taken back: its cause is what the last push came to, not that the VM differs.
    if held.reason in (lastpush.REFUSED, lastpush.HUNG, lastpush.FAILED):
        return _STATES.get(held.reason, record.FAILED), held.message
    return record.DRIFTED, f"{vm}: {count(outcome.fields)} not as configured"


def _pushed(vm: str, held: LastPush) -> tuple[bool | None, str, str]:
    if held.tried is None:
        return None, "Never", f"{vm}: no push since the host's start"
    good = held.reason == lastpush.CONVERGED
    return good, held.reason, held.message or f"{vm}: the last push left it as configured"


def _layout(settings: VMSettings, outcome: Outcome) -> MonitorLayout | None:
    """Return the monitors that the X server of a VM shows, as far as they were asked for and are known."""
    if settings.monitors is None or not outcome.ok or not outcome.running:
        return None
    changed: Any = outcome.changes.get(MONITORS)
    if changed is None:
        return settings.monitors if isinstance(settings.monitors, MonitorLayout) else None
    try:
        return MonitorLayout.from_mappings(changed.old)
    except InvalidValue:
        return None
