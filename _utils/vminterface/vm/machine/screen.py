"""The size of this VM's screen, as last set by dom0: the file ``screen`` with ``WIDTH HEIGHT SOURCE``.

The GUI connection sets it once (``xconf``); each ``qubes.SetMonitorLayout`` that is carried out overrides it
(``layout``). What runs as a user who may not write ``/run/vminterface`` keeps it in the folder of
``handlers.remember``.
"""

from __future__ import annotations

from vminterface.values.monitor import MonitorLayout
from vminterface.vm.machine.files import Files
from vminterface.vm.machine.remember import remember

NAME = "screen"


def record(machine: Files, width: int, height: int, source: str) -> None:
    """Keep the screen's size in pixels and its source. Raises VMInterfaceError."""
    remember(machine, NAME, f"{width} {height} {source}\n")


def record_layout(machine: Files, layout: MonitorLayout) -> None:
    """Keep the size of the screen that holds all monitors of *layout*. Raises VMInterfaceError."""
    left, top, width, height = layout.bounding_box
    record(machine, left + width, top + height, "layout")
