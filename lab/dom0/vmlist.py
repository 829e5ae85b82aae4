"""Which VMs a lab has: a JSON list of ``{"name": …, "netvm": …}``, or the ones that the shipped pillar speaks of."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vminterface.errors import InvalidValue
from vminterface.values.address import parse_ipv4
from vminterface.values.vmname import VMName


@dataclass(frozen=True, slots=True)
class VMSpec:
    """One VM. ``netvm``: who provides its network, "" for a VM without one; ``ip``: its address, for qubesd."""

    name: str
    netvm: str = ""
    provides_network: bool = False
    ip: str = ""


DEFAULT = (
    VMSpec("sys-net", provides_network=True, ip="10.137.0.5"),
    VMSpec("work", netvm="sys-net", ip="10.137.0.12"),
    VMSpec("personal", netvm="sys-net", ip="10.137.0.13"),
)
_FIELDS = {"name": str, "netvm": str, "provides_network": bool, "ip": str}


def load(file: Path | None) -> tuple[VMSpec, ...]:
    """Return the VMs that *file* lists, providers before their clients. Raises InvalidValue."""
    if file is None:
        return DEFAULT
    try:
        listed = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise InvalidValue(f"{file}: {error}") from None
    if not isinstance(listed, list):
        raise InvalidValue(f'{file}: expected a list such as [{{"name": "work", "netvm": "sys-net"}}]')
    return _in_order(str(file), [_parse(f"{file}:{number}", entry) for number, entry in enumerate(listed)])


def _parse(where: str, entry: Any) -> VMSpec:
    if not isinstance(entry, dict) or "name" not in entry:
        raise InvalidValue(f"{where}: expected an object with a name")
    for field, value in entry.items():
        if field not in _FIELDS or not isinstance(value, _FIELDS[field]):
            raise InvalidValue(
                f"{where}:{field}: expected one of name, netvm, ip (text), provides_network (true or false)"
            )
    for field, parse in (("name", VMName.parse), ("ip", parse_ipv4)):
        try:
            if field in entry:
                parse(entry[field])
        except InvalidValue as error:
            raise InvalidValue(f"{where}:{field}: {error}") from None
    return VMSpec(**entry)


def _in_order(where: str, specs: list[VMSpec]) -> tuple[VMSpec, ...]:
    names = [spec.name for spec in specs]
    if len(set(names)) != len(names):
        raise InvalidValue(f"{where}: a name occurs twice")
    for spec in specs:
        if spec.netvm and spec.netvm not in names:
            raise InvalidValue(f"{where}: {spec.name}: there is no netvm '{spec.netvm}'")
    ordered: list[VMSpec] = []
    while len(ordered) < len(specs):
        ready = [s for s in specs if s not in ordered and s.netvm in ("", *(o.name for o in ordered))]
        if not ready:
            raise InvalidValue(f"{where}: the netvms go in a circle")
        ordered += ready
    return tuple(ordered)
