"""What the pillar says of a VM's monitors: a list of them, or those that dom0 has, maybe at another resolution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vminterface.errors import InvalidValue, InvalidValues, printable_value
from vminterface.values.monitor import MonitorLayout, dpi_fault

#: The word for "the monitors that dom0 has".
FROM_DOM0 = "from_dom0"
_DPI = "dpi"


@dataclass(frozen=True, slots=True)
class FromDom0:
    """The monitors that dom0 has; with *dpi*, of the size in millimetres that makes that many pixels an inch."""

    dpi: int | None = None

    def layout(self, dom0: MonitorLayout) -> MonitorLayout:
        """Return the layout to give to the VM where dom0 has *dom0*."""
        return dom0 if self.dpi is None else dom0.at(self.dpi)

    def __str__(self) -> str:
        return FROM_DOM0 if self.dpi is None else f"{FROM_DOM0}, {self.dpi} dpi"


MonitorSetting = MonitorLayout | FromDom0


def parse(raw: object) -> MonitorSetting:
    """Read the pillar's form: ``from_dom0``, ``{from_dom0: true, dpi: 144}``, or a list of monitors.

    Raises InvalidValue, ``where`` as in ``0:width`` or ``dpi``.
    """
    if raw == FROM_DOM0:
        return FromDom0()
    if isinstance(raw, Mapping) and not {FROM_DOM0, _DPI}.isdisjoint(raw):
        return _from_dom0(raw)
    if isinstance(raw, str | Mapping):
        forms = f"a list of monitors, {FROM_DOM0}, or {{{FROM_DOM0}: true, {_DPI}: NUMBER}}"
        raise InvalidValue(f"expected {forms}, found '{printable_value(raw)}'")
    return MonitorLayout.from_mappings(raw)


def _from_dom0(raw: Mapping[object, object]) -> FromDom0:
    faults = [
        InvalidValue(f"unknown field (expected {FROM_DOM0}, {_DPI})", printable_value(name))
        for name in raw
        if name not in (FROM_DOM0, _DPI)
    ]
    if raw.get(FROM_DOM0) is not True:
        faults.append(InvalidValue(f"must be true where {_DPI} is given (or give a list of monitors)", FROM_DOM0))
    dpi = raw.get(_DPI)
    if dpi is not None and (fault := dpi_fault(dpi)):
        faults.append(fault)
    if faults:
        raise InvalidValues(faults)
    assert dpi is None or isinstance(dpi, int)
    return FromDom0(dpi)
