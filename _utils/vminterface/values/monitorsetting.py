"""A VM's monitors in the pillar: a list of them, or those that dom0 has, maybe at another resolution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vminterface.errors import InvalidValue, InvalidValues, printable_value
from vminterface.values import monitor, schema
from vminterface.values.monitor import MonitorLayout, dpi_error

#: The word for "the monitors that dom0 has".
FROM_DOM0 = "from_dom0"
_DPI = "dpi"
#: What :func:`parse` takes.
SCHEMA = schema.any_of(
    schema.one_of(FROM_DOM0),
    schema.mapping({FROM_DOM0: schema.TRUE, _DPI: monitor.DPI_SCHEMA}, needed=[FROM_DOM0]),
    schema.listed(monitor.SCHEMA, least=1, most=monitor.LIMIT),
)


@dataclass(frozen=True, slots=True)
class FromDom0:
    """The monitors that dom0 has; with *dpi*, of the size in millimetres that makes that many pixels an inch."""

    dpi: int | None = None

    def layout(self, dom0: MonitorLayout) -> MonitorLayout:
        """Return the layout to give to the VM where dom0 has *dom0*."""
        return dom0 if self.dpi is None else dom0.at(self.dpi)

    def mapping(self) -> str | dict[str, bool | int]:
        """Return the pillar form."""
        return FROM_DOM0 if self.dpi is None else {FROM_DOM0: True, _DPI: self.dpi}

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
        raise InvalidValue(f"'{printable_value(raw)}' is not valid (expected {forms})")
    return MonitorLayout.from_mappings(raw)


def in_words(setting: MonitorSetting) -> Any:
    """Return *setting* in the pillar's form."""
    return setting.mapping() if isinstance(setting, FromDom0) else setting.mappings()


def _from_dom0(raw: Mapping[object, object]) -> FromDom0:
    errors = [
        InvalidValue(f"unknown field (expected {FROM_DOM0}, {_DPI})", printable_value(name))
        for name in raw
        if name not in (FROM_DOM0, _DPI)
    ]
    if raw.get(FROM_DOM0) is not True:
        errors.append(InvalidValue(f"is not true (expected true beside {_DPI}, or a list of monitors)", FROM_DOM0))
    dpi = raw.get(_DPI)
    if dpi is not None and (error := dpi_error(dpi)):
        errors.append(error)
    if errors:
        raise InvalidValues(errors)
    assert dpi is None or isinstance(dpi, int)
    return FromDom0(dpi)
