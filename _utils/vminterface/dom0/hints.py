"""What is well-formed in a VM's settings and was probably not meant: said beside the result, never an error."""

from __future__ import annotations

from vminterface.dom0.settings import VMSettings
from vminterface.values import servicecatalogue, xkblist
from vminterface.values.keyboard import KeyboardLayout


def of(settings: VMSettings) -> tuple[str, ...]:
    """Return one sentence for each."""
    found = []
    for field in settings.desired:
        group, _, name = field.partition(":")
        if group == "services" and (near := servicecatalogue.misspelt(name)):
            found.append(f"{field} is no service that Qubes has (did you mean '{near}'?)")
    if (layout := settings.desired.get("keyboard")) is not None:
        found += xkblist.warnings(KeyboardLayout.parse(layout))
    return tuple(found)
