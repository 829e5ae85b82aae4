"""The time zone: ``/etc/localtime`` and the file in which the distribution keeps the zone's name.

Steps of Qubes core-agent's ``qubes-early-vm-config.sh``, with the checks that it lacks.
"""

from __future__ import annotations

from collections.abc import Mapping

from vminterface.errors import VMInterfaceError
from vminterface.values.acknowledgement import UNCHANGED
from vminterface.values.timezone import ZONES, Timezone
from vminterface.vm.machine.files import Files
from vminterface.vm.machine.protection import is_protected

LOCALTIME = "/etc/localtime"


def apply(inputs: Mapping[str, str], machine: Files) -> str:
    """Set the zone and return what holds now: ``lasting:timezone``, else ``timezone``, else it stays as it is.

    Raises InvalidValue (no name of a zone, or one that this machine does not have) and VMInterfaceError.
    """
    said = inputs.get("lasting:timezone", inputs.get("timezone"))
    if said is None:
        return "no time zone from dom0: left unchanged"
    name = Timezone.parse(said, lambda name: _is_zone(machine, name)).render()
    link = f"../usr/share/zoneinfo/{name}"
    record, text = _record(machine, name)
    # The zone is both files or none; by /etc/timezone Qubes' own scripts protect it in every distribution.
    for path in dict.fromkeys(("/etc/timezone", record or LOCALTIME, LOCALTIME)):
        if is_protected(machine, path):
            return f"{UNCHANGED}{path} is protected in this VM"
    put_back = [machine.keep(path) for path in (record, LOCALTIME) if path]
    try:
        if record and machine.read_text(record) != text:
            machine.write_file(record, text)
        if machine.link_target(LOCALTIME) != link:
            machine.symlink(link, LOCALTIME)
    except VMInterfaceError:
        for one in put_back:
            one()
        raise
    return f"time zone {name}"


def _is_zone(machine: Files, name: str) -> bool:
    """Whether this machine has zone data (a TZif file, RFC 8536) of that name."""
    path = f"{ZONES}/{name}"
    return machine.is_file(path) and (machine.read_bytes(path) or b"").startswith(b"TZif")


def _record(machine: Files, name: str) -> tuple[str, str]:
    """Return the file in which this distribution records the zone, and its text; no path where it has none."""
    if machine.exists("/etc/debian_version"):
        return "/etc/timezone", f"{name}\n"
    if machine.is_folder("/etc/sysconfig"):
        return "/etc/sysconfig/clock", f'# Written by the VM interface agent: dom0 chooses the zone.\nZONE="{name}"\n'
    return "", ""
