"""PCI devices by their address, ``bus:device.function``, as ``qubes.DetachPciDevice`` takes it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from vminterface.errors import InvalidValue, printable
from vminterface.regex import regex

_FORM = regex(r"(?:([0-9a-f]{4}):)?([0-9a-f]{2}):([01][0-9a-f])\.([0-7])\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class PciAddress:
    """Where a device is: *domain* 0..65535, *bus* 0..255, *device* 0..31, *function* 0..7. Raises InvalidValue."""

    bus: int
    device: int
    function: int
    domain: int = 0

    def __post_init__(self) -> None:
        for name, limit in (("domain", 0xFFFF), ("bus", 0xFF), ("device", 0x1F), ("function", 7)):
            if not 0 <= getattr(self, name) <= limit:
                raise InvalidValue(f"{getattr(self, name)} is not from 0 to {limit}", name)

    @classmethod
    def parse(cls, text: str) -> PciAddress:
        """Read ``00:06.0`` or ``0000:00:06.0``: hexadecimal, small letters, all digits. Raises InvalidValue."""
        if not (shown := _FORM.match(text)):
            raise InvalidValue(
                f"'{printable(text, 40)}' is not a valid PCI address (expected as in 00:06.0 or 0000:00:06.0)"
            )
        domain, bus, device, function = (int(part or "0", 16) for part in shown.groups())
        return cls(bus, device, function, domain)

    def render(self) -> str:
        """Return the address as the service takes it: the domain is left out where it is 0."""
        short = f"{self.bus:02x}:{self.device:02x}.{self.function}"
        return f"{self.domain:04x}:{short}" if self.domain else short

    @property
    def sysfs_name(self) -> str:
        """The name of the device below ``/sys/bus/pci/devices``."""
        return f"{self.domain:04x}:{self.bus:02x}:{self.device:02x}.{self.function}"
