"""What is wrong between the settings of several VMs, each of which is right by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from vminterface.dom0.desired.fields import SHARED_IP
from vminterface.dom0.desired.firewall import ClientFirewall
from vminterface.errors import InvalidValue


class Settings(Protocol):
    """What is compared of a VM's settings."""

    @property
    def vm(self) -> str: ...
    @property
    def desired(self) -> Mapping[str, Any]: ...
    @property
    def netvm(self) -> str | None: ...
    @property
    def shared_ip(self) -> bool: ...
    @property
    def firewall(self) -> ClientFirewall | None: ...
    def path(self, name: str, /) -> str: ...


def errors(parsed: Sequence[Settings], where: str) -> list[InvalidValue]:
    """Return the errors between the VMs of *parsed*, whose paths are below *where*."""
    return [*_shared_addresses(parsed, where), *_shared_firewalls(parsed, where), *_circles(parsed, where)]


def _shared_addresses(parsed: Sequence[Settings], where: str) -> Iterator[InvalidValue]:
    """Of VMs with one address all but one have to say that this is meant."""
    for field in ("network:ip", "network:ip6"):
        owners: dict[Any, str] = {}
        for settings in parsed:
            address = settings.desired.get(field)
            if address is None or settings.shared_ip:
                continue
            owner = owners.setdefault(address, settings.vm)
            if owner != settings.vm:
                message = (
                    f"{where}:{owner} already has {address} (expected another address; if both are meant,"
                    f" {SHARED_IP}: on)"
                )
                yield InvalidValue(message, settings.path(field))


def _shared_firewalls(parsed: Sequence[Settings], where: str) -> Iterator[InvalidValue]:
    """A provider has one firewall for each address: of two VMs with the same one, the later would overwrite it."""
    owners: dict[tuple[str, str], str] = {}
    for settings in parsed:
        if (firewall := settings.firewall) is None:
            continue
        for address in tuple(firewall.keys()):
            owner = owners.setdefault((firewall.netvm, address), settings.vm)
            if owner != settings.vm:
                message = f"{firewall.netvm} already has the firewall of {address} from {where}:{owner}:firewall"
                yield InvalidValue(message, f"{where}:{settings.vm}:firewall")


def _circles(parsed: Sequence[Settings], where: str) -> Iterator[InvalidValue]:
    """VMs that provide network to each other in a circle, of which one alone is its own error already."""
    netvm = {settings.vm: settings.netvm for settings in parsed}
    reported: set[str] = set()
    for vm in netvm:
        way = [vm]
        while (following := netvm.get(way[-1])) and following not in way:
            way.append(following)
        if following == vm and len(way) > 1 and vm not in reported:
            reported.update(way)
            yield InvalidValue(
                f"the VMs provide network to each other in a circle: {' -> '.join([*way, vm])}", f"{where}:{vm}:netvm"
            )
