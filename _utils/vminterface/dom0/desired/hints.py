"""Hints about valid settings that were probably not intended: added to the result, never an error."""

from __future__ import annotations

from vminterface.dom0.desired.persistent import feature_of
from vminterface.dom0.desired.settings import VMSettings
from vminterface.values import featurecatalogue, servicecatalogue, xkblist
from vminterface.values.featurekind import ANY
from vminterface.values.service import ServiceState, hashed_app

_MEMINFO_WRITER = "services:meminfo-writer"
#: Texts that read like off and are on for qubesd.
_LIKE_OFF = ("0", "false", "no", "none", "off")


def of(settings: VMSettings) -> tuple[str, ...]:
    """Return one sentence for each."""
    found = []
    for field, value in settings.desired.items():
        group, _, name = field.partition(":")
        app = group == "services" and name.startswith("app-dispvm.") and not hashed_app(name)
        if app and value is ServiceState.OFF:
            found.append(f"{field}: a VM of Qubes R4 treats off as on, because the key exists (expected default)")
        if group == "services" and (near := servicecatalogue.misspelt(name)):
            found.append(f"{field} is not a service of Qubes (did you mean '{near}'?)")
    for field, value in settings.persistent.items():
        if name := feature_of(field):
            found += _of_feature(field, name, value)
    found += _of_memory(settings)
    if (layout := settings.desired.get("keyboard")) is not None:
        found += xkblist.warnings(layout)
    return tuple(found)


def _of_feature(field: str, name: str, value: object) -> list[str]:
    found = []
    if near := featurecatalogue.misspelt(name):
        found.append(f"{field} is not a feature of Qubes (did you mean '{near}'?)")
    if isinstance(value, str) and value.lower() in _LIKE_OFF and featurecatalogue.kind_of(name) is ANY:
        found.append(f"{field}: '{value}' is a text, which qubesd treats as on (expected off without quotes)")
    return found


def _of_memory(settings: VMSettings) -> list[str]:
    memory, maxmem = settings.persistent.get("memory"), settings.persistent.get("maxmem")
    found = []
    if maxmem is not None and maxmem.mib == 0 and settings.desired.get(_MEMINFO_WRITER) is ServiceState.ON:
        found.append(f"maxmem: 0 switches {_MEMINFO_WRITER} off at the VM's next start")
    if memory is not None and maxmem is not None and 0 < maxmem.mib < memory.mib:
        found.append(f"maxmem: {maxmem} is less than memory: {memory}, with which the VM starts")
    return found
