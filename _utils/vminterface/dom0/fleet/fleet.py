"""What a master knows of many hosts: the record of each that replied, and why there is none of the others.

Hosts are known by their minion's ID; VMs by that and their name, as two hosts may have a VM of the same name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from vminterface.dom0.fleet import record
from vminterface.dom0.fleet.record import HostRecord, VMRecord
from vminterface.dom0.fleet.untrusted import NAME_MAX, TEXT_MAX
from vminterface.errors import InvalidValue, printable, printable_value
from vminterface.values import moment

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Host:
    """One host. Where *record* is None, *error* is the reason; *silent* is whether it did not reply at all."""

    name: str
    record: HostRecord | None = None
    error: str = ""
    silent: bool = False

    @property
    def well(self) -> bool:
        """Whether nothing of it needs attention."""
        return self.record is not None and self.record.well

    @property
    def message(self) -> str:
        """Why it is not known how its VMs are, one sentence; empty text where it is."""
        return self.error or ("" if self.record is None else self.record.error)

    @classmethod
    def of_return(cls, name: str, untrusted: object) -> Self:
        """Read what a minion has returned; what is not a record is the host's error, as Salt's own words are."""
        name = printable(name, NAME_MAX)
        if isinstance(untrusted, str):
            # What a minion raised, or that it has no such function.
            return cls(name, error=printable(" ".join(untrusted.split()), TEXT_MAX) or "an empty reply")
        try:
            return cls(name, HostRecord.parse(untrusted))
        except InvalidValue as error:
            where = f"{error.where}: " if error.where else ""
            return cls(name, error=f"the reply cannot be read: {where}{error}")

    def as_data(self) -> dict[str, Any]:
        """Return the plain form."""
        return {
            "replied": not self.silent,
            "well": self.well,
            "error": self.error,
            "record": None if self.record is None else self.record.as_data(),
        }

    @classmethod
    def parse(cls, name: str, untrusted: object) -> Self:
        """Read the plain form. Raises InvalidValue."""
        if not isinstance(untrusted, Mapping):
            raise InvalidValue("is not a mapping (expected what a host returned)", f"hosts:{printable_value(name)}")
        held = untrusted.get("record")
        error = untrusted.get("error", "")
        return cls(
            printable(name, NAME_MAX),
            None if held is None else HostRecord.parse(held),
            error=printable_value(error, TEXT_MAX),
            silent=untrusted.get("replied") is False,
        )


@dataclass(frozen=True, slots=True)
class Fleet:
    """Many hosts, by name and sorted. *made* is when the master put it together, in seconds since 1970."""

    made: int
    hosts: Mapping[str, Host] = field(default_factory=dict)

    @classmethod
    def of(cls, made: float, hosts: list[Host]) -> Self:
        """Return the fleet of *hosts*."""
        return cls(int(made), {one.name: one for one in sorted(hosts, key=lambda one: one.name)})

    @property
    def well(self) -> bool:
        """Whether every host has replied and nothing needs attention."""
        return all(one.well for one in self.hosts.values())

    @property
    def only_drifted(self) -> bool:
        """Whether VMs have drifted and nothing else needs attention."""
        troubled = [one for one in self.hosts.values() if not one.well]
        return bool(troubled) and all(one.record is not None and one.record.only_drifted for one in troubled)

    @property
    def counts(self) -> dict[str, int]:
        """``hosts``, of them ``replied`` and ``silent``, and how many VMs of each state there are."""
        records = [one.record for one in self.hosts.values() if one.record is not None]
        silent = sum(one.silent for one in self.hosts.values())
        hosts = {"hosts": len(self.hosts), "replied": len(self.hosts) - silent, "silent": silent}
        return {**hosts, **record.of_hosts(records)}

    def vms(self) -> Iterator[tuple[Host, VMRecord]]:
        """Yield each VM with its host, in the order of their names."""
        for host in self.hosts.values():
            for vm in host.record.vms.values() if host.record is not None else ():
                yield host, vm

    def as_data(self) -> dict[str, Any]:
        """Return the plain form."""
        return {
            "format": FORMAT,
            "made": moment.render(self.made),
            "counts": self.counts,
            "hosts": {name: host.as_data() for name, host in self.hosts.items()},
        }

    @classmethod
    def parse(cls, untrusted: object) -> Self:
        """Read the plain form, as a file of ``salt-run qubes_fleet.status`` has it. Raises InvalidValue."""
        if not isinstance(untrusted, Mapping) or untrusted.get("format") != FORMAT:
            raise InvalidValue(f"is not a fleet of format {FORMAT} (expected what qubes_fleet.status returns, as JSON)")
        hosts = untrusted.get("hosts")
        if not isinstance(hosts, Mapping):
            raise InvalidValue("is not a mapping (expected names of hosts)", "hosts")
        return cls.of(moment.parse(untrusted.get("made")), [Host.parse(str(n), one) for n, one in hosts.items()])
