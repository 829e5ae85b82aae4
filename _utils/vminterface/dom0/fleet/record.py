"""The record of one host: how its VMs are, as ``qubes_vm.summary`` returns it and everything about a fleet reads it.

It is plain data, fit for JSON; docs/fleet.md has its form. Whoever reads one calls :meth:`HostRecord.parse`: a host may
run another version of this project, and much of it comes from its VMs. Names that a reader does not know are
passed over, so that a later version can add some without another ``format``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from vminterface.dom0.fleet import untrusted
from vminterface.dom0.fleet.untrusted import NAME_MAX
from vminterface.errors import InvalidValue, printable_value
from vminterface.values import moment
from vminterface.values.monitor import MonitorLayout

FORMAT = 1
#: What a VM is, in one word; the first of these that is so.
CONVERGED, DRIFTED, REFUSED, HUNG, FAILED, NOT_RUNNING, NOT_IN_PILLAR, UNKNOWN = STATES = (
    "converged",
    "drifted",
    "refused",
    "hung",
    "failed",
    "not_running",
    "not_in_pillar",
    "unknown",
)
#: States that need an admin's attention.
TROUBLED = frozenset({DRIFTED, REFUSED, HUNG, FAILED, UNKNOWN})
#: The types of conditions: the domain runs, it has what the pillar gives it, its agent is in work, its last push did
#: what it was to do.
RUNNING, APPLIED, AGENT, PUSHED = CONDITIONS = ("Running", "Applied", "AgentUp", "Pushed")


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of a VM: true, false or unknown, as in Kubernetes.

    *since* is the moment (seconds since 1970) at which a program of the host first saw it so, None where none has kept
    that; *reason* is one word for programs, *message* a sentence for people.
    """

    type: str
    #: None: not known.
    status: bool | None
    since: int | None = None
    reason: str = ""
    message: str = ""

    @classmethod
    def parse(cls, reply: object, where: str) -> Self:
        """Read the plain form. Raises InvalidValue."""
        data = untrusted.mapping(reply, where)
        return cls(
            type=untrusted.text(data.get("type"), f"{where}:type", NAME_MAX),
            status=untrusted.optional(data.get("status"), f"{where}:status", untrusted.truth),
            since=untrusted.optional(data.get("since"), f"{where}:since", untrusted.moment_of),
            reason=untrusted.text(data.get("reason", ""), f"{where}:reason", NAME_MAX),
            message=untrusted.text(data.get("message", ""), f"{where}:message"),
        )

    def as_data(self) -> dict[str, Any]:
        """Return the plain form."""
        return {
            "type": self.type,
            "status": self.status,
            "since": _rendered(self.since),
            "reason": self.reason,
            "message": self.message,
        }


@dataclass(frozen=True, slots=True)
class VMRecord:
    """How one VM is. Texts are printable ASCII; memory is in kB, None where the VM does not report it."""

    name: str
    state: str
    domid: int | None = None
    conditions: tuple[Condition, ...] = ()
    #: By field of the pillar: what the ``store`` and what the ``pillar`` says, and ``owner`` where it stays so.
    drift: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    #: The version that its agent announces; None where none is in work.
    agent: str | None = None
    #: When a push last found or made it as the pillar says, and when its agent last acknowledged one.
    pushed: int | None = None
    acknowledged: int | None = None
    used_kb: int | None = None
    swap_used_kb: int | None = None
    maximum_kb: int | None = None
    #: The layout that its X server shows, as the pillar has one; None where the pillar gives none or it was not asked.
    monitors: MonitorLayout | None = None

    @property
    def used_share(self) -> float | None:
        """Used memory as a part of the most that the VM may have, 0.0 to 1.0; None where one is not known."""
        if self.used_kb is None or not self.maximum_kb:
            return None
        return min(1.0, self.used_kb / self.maximum_kb)

    @property
    def running(self) -> bool | None:
        """Whether it runs; None where that is not known."""
        one = self.condition(RUNNING)
        return None if one is None else one.status

    @property
    def without_agent(self) -> bool:
        """Whether it runs and no agent is in work there."""
        return self.running is True and self.agent is None

    @property
    def message(self) -> str:
        """One sentence about its state."""
        one = self.condition(APPLIED)
        return "" if one is None else one.message

    def condition(self, type_: str) -> Condition | None:
        """Return its condition of that type, if it has one."""
        return next((one for one in self.conditions if one.type == type_), None)

    @classmethod
    def parse(cls, name: str, reply: object, where: str) -> Self:
        """Read the plain form of the VM called *name*. Raises InvalidValue."""
        data = untrusted.mapping(reply, where)
        state = data.get("state")
        if state not in STATES:
            raise InvalidValue(f"'{printable_value(state)}' is not a state (expected {', '.join(STATES)})", where)
        memory = untrusted.mapping(data.get("memory") or {}, f"{where}:memory")
        listed = untrusted.listed(data.get("conditions", []), f"{where}:conditions", len(CONDITIONS) * 4)
        return cls(
            name,
            state,
            domid=untrusted.optional(data.get("domid"), f"{where}:domid", untrusted.number),
            conditions=tuple(Condition.parse(one, f"{where}:conditions:{i}") for i, one in enumerate(listed)),
            drift=_drift(data.get("drift", {}), f"{where}:drift"),
            agent=untrusted.optional(data.get("agent"), f"{where}:agent", untrusted.name),
            pushed=untrusted.optional(data.get("pushed"), f"{where}:pushed", untrusted.moment_of),
            acknowledged=untrusted.optional(data.get("acknowledged"), f"{where}:acknowledged", untrusted.moment_of),
            monitors=untrusted.optional(data.get("monitors"), f"{where}:monitors", _layout),
            **{
                key: untrusted.optional(memory.get(key), f"{where}:memory:{key}", untrusted.number)
                for key in ("used_kb", "swap_used_kb", "maximum_kb")
            },
        )

    def as_data(self) -> dict[str, Any]:
        """Return the plain form."""
        return {
            "state": self.state,
            "domid": self.domid,
            "conditions": [one.as_data() for one in self.conditions],
            "drift": {name: dict(one) for name, one in self.drift.items()},
            "agent": self.agent,
            "pushed": _rendered(self.pushed),
            "acknowledged": _rendered(self.acknowledged),
            "memory": {
                "used_kb": self.used_kb,
                "swap_used_kb": self.swap_used_kb,
                "maximum_kb": self.maximum_kb,
            },
            "monitors": None if self.monitors is None else self.monitors.mappings(),
        }


@dataclass(frozen=True, slots=True)
class HostRecord:
    """How the VMs of one host are: *vms* by name, sorted. *made* is when, by the host's own clock."""

    made: int
    #: Of this project on that host.
    version: str
    vms: Mapping[str, VMRecord] = field(default_factory=dict)
    #: What is wrong with the host's pillar, a line each; empty where it is valid.
    pillar_errors: tuple[str, ...] = ()
    #: Why the host's VMs could not be inspected; empty where they could.
    error: str = ""

    @property
    def counts(self) -> dict[str, int]:
        """How many VMs there are of each state, and how many run without an agent (``no_agent``)."""
        counts = dict.fromkeys((*STATES, "no_agent"), 0)
        for vm in self.vms.values():
            counts[vm.state] += 1
            counts["no_agent"] += vm.without_agent
        return counts

    @property
    def pushed(self) -> int | None:
        """The moment of the last good push to one of its VMs."""
        return max((vm.pushed for vm in self.vms.values() if vm.pushed is not None), default=None)

    @property
    def well(self) -> bool:
        """Whether nothing of it needs attention."""
        return not (self.error or self.pillar_errors or any(vm.state in TROUBLED for vm in self.vms.values()))

    @property
    def only_drifted(self) -> bool:
        """Whether VMs have drifted and nothing else of it needs attention."""
        troubles = {vm.state for vm in self.vms.values()} & TROUBLED
        return troubles == {DRIFTED} and not self.error and not self.pillar_errors

    @classmethod
    def parse(cls, reply: object) -> Self:
        """Read what a host has returned. Raises InvalidValue, with the place of what is wrong."""
        data = untrusted.mapping(reply, "")
        if data.get("format") != FORMAT:
            raise InvalidValue(
                f"a record of format {printable_value(data.get('format'))} (expected {FORMAT}: the same release of"
                " vminterface on the master and in dom0)"
            )
        pillar = untrusted.mapping(data.get("pillar", {}), "pillar")
        vms = untrusted.mapping(data.get("vms", {}), "vms", untrusted.VMS_MAX)
        named = sorted(((untrusted.name(name, "vms"), one) for name, one in vms.items()), key=lambda item: item[0])
        errors = untrusted.listed(pillar.get("errors", []), "pillar:errors")
        return cls(
            made=untrusted.moment_of(data.get("made"), "made"),
            version=untrusted.text(data.get("version"), "version", NAME_MAX),
            vms={name: VMRecord.parse(name, one, f"vms:{name}") for name, one in named},
            pillar_errors=tuple(untrusted.text(one, f"pillar:errors:{i}") for i, one in enumerate(errors)),
            error=untrusted.text(data.get("error", ""), "error"),
        )

    def as_data(self) -> dict[str, Any]:
        """Return the plain form."""
        return {
            "format": FORMAT,
            "made": moment.render(self.made),
            "version": self.version,
            "error": self.error,
            "pillar": {"valid": not self.pillar_errors, "errors": list(self.pillar_errors)},
            "counts": self.counts,
            "vms": {name: vm.as_data() for name, vm in self.vms.items()},
        }


def _rendered(seconds: int | None) -> str | None:
    return None if seconds is None else moment.render(seconds)


def _drift(reply: object, where: str) -> dict[str, dict[str, Any]]:
    found = {}
    for name, one in untrusted.mapping(reply, where).items():
        field_ = untrusted.name(name, where)
        sides = untrusted.mapping(one, f"{where}:{field_}")
        found[field_] = {side: untrusted.shown(sides.get(side)) for side in ("store", "pillar")}
        if "owner" in sides:
            found[field_]["owner"] = untrusted.name(sides["owner"], f"{where}:{field_}:owner")
    return found


def _layout(reply: object, where: str) -> MonitorLayout:
    try:
        return MonitorLayout.from_mappings(reply)
    except InvalidValue as error:
        raise InvalidValue(f"{error.errors[0].where}: {error.errors[0]}", where) from None


def of_hosts(records: Iterable[HostRecord]) -> dict[str, int]:
    """Return the sum of the counts of *records*, and how many VMs there are (``vms``)."""
    total = dict.fromkeys(("vms", *STATES, "no_agent"), 0)
    for record in records:
        total["vms"] += len(record.vms)
        for state, count in record.counts.items():
            total[state] += count
    return total
