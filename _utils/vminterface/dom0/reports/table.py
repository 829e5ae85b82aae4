"""Reports of VMs as a table for a terminal: memory as a bar, then the devices, and each warning on a line of its own.

A device has two lines: its port and what it is; what R4.3 calls it, whatever port it is in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vminterface.errors import printable

#: Characters of a bar between its brackets: at least, at most.
_BAR = (10, 40)
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def render(data: Mapping[str, Any], columns: int = 80) -> str:
    """Return the table of ``{VM: report}``, reports as ``reports.as_data`` makes them, about *columns* wide."""
    if not data:
        return "no VM is running\n"
    width = max(len("VM"), *(len(printable(str(vm), 31)) for vm in data))
    bar = max(_BAR[0], min(_BAR[1], columns - width - 40))
    lines: list[str] = []
    for vm, report in data.items():
        memory = report.get("memory")
        lines.append(f"{printable(str(vm), 31):<{width}}  {_memory(memory, bar) if memory else ''}".rstrip())
        for device in report.get("block_devices", {}).values():
            lines += _device("block", device, size(device["size"]), device["mode"], device["desc"])
        for device in report.get("usb_devices", {}).values():
            version = "USB" if device["usb_version"] is None else f"USB {device['usb_version']}"
            told = " ".join(filter(None, (device["ids"], device["description"])))
            owner = f"  -> {device['connected_to']}" if device["connected_to"] else ""
            lines += _device("usb", device, version, "", told + owner)
        lines += [f"  ! {warning}" for warning in report.get("warnings", ())]
    return "\n".join(lines) + "\n"


def _device(kind: str, device: Mapping[str, Any], measure: str, mode: str, description: str) -> list[str]:
    line = f"  {kind:<5} {device['port']:<18} {measure:>10} {mode:<1}  {description}".rstrip()
    return [line, f"        id {device['device_id']}"] if device["device_id"] is not None else [line]


def _memory(memory: Mapping[str, int | None], bar: int) -> str:
    used, most, swap = memory["used_kb"], memory["maximum_kb"], memory["swap_used_kb"]
    if used is None:
        return "does not report its memory"
    told = f"{size(used * 1024)}"
    if most:
        share = min(1.0, used / most)
        filled = round(share * bar)
        told = f"[{'#' * filled}{'.' * (bar - filled)}] {round(100 * share):>3} %  {told} of {size(most * 1024)}"
    return f"{told}, swap {size(swap * 1024)}" if swap else told


def size(number: int) -> str:
    """Return *number* of bytes with three digits or four and the unit that fits."""
    value, unit = float(number), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.1f} {_UNITS[unit]}" if unit and value < 100 else f"{value:.0f} {_UNITS[unit]}"
