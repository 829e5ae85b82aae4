"""What udev knows of a device: its database's text files, ``/run/udev/data/b8:0`` (systemd ``device-private.c``)."""

from __future__ import annotations

from vminterface.errors import VMInterfaceError
from vminterface.vm.machine.files import Files

_DATA = "/run/udev/data"


def is_running(machine: Files) -> bool:
    """Return whether there is a udev daemon: it has a control socket."""
    return machine.exists("/run/udev/control")


def properties(machine: Files, identifier: str) -> dict[str, str] | None:
    """Return the properties of the device *identifier*, ``b8:0`` or ``c189:3``; None: udev knows nothing of it."""
    text = machine.read_text(f"{_DATA}/{identifier}")
    if text is None:
        return None
    pairs = (line[2:].partition("=") for line in text.splitlines() if line.startswith("E:"))
    return {name: value for name, _, value in pairs}


def attribute(machine: Files, path: str) -> str:
    """Return the text of one file of sysfs without blanks around it, "" where there is none or it cannot be read."""
    return raw_attribute(machine, path).strip()


def raw_attribute(machine: Files, path: str) -> str:
    """Return the text of one file of sysfs as udev takes it: without its newline, but with all blanks."""
    try:
        return (machine.read_text(path, limit=4096) or "").rstrip("\r\n")
    except VMInterfaceError:
        return ""
