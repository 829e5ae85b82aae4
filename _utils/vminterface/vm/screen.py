"""How large this VM's screen is, as dom0 said last: the file ``screen`` with ``WIDTH HEIGHT SOURCE``.

The GUI connection tells of it once (``xconf``); each ``qubes.SetMonitorLayout`` that is carried out overrides it
(``layout``). What runs as a user who may not write ``/run/vminterface`` keeps it where ``handlers.remember`` says.
"""

from __future__ import annotations

from vminterface.values.monitor import MonitorLayout
from vminterface.vm.handlers.remember import remember
from vminterface.vm.machine import Machine

NAME = "screen"


def record(machine: Machine, width: int, height: int, source: str) -> None:
    """Keep the screen's size in pixels and what told it. Raises VMInterfaceError."""
    remember(machine, NAME, f"{width} {height} {source}\n")


def record_layout(machine: Machine, layout: MonitorLayout) -> None:
    """Keep the size of the screen that holds all monitors of *layout*. Raises VMInterfaceError."""
    left, top, width, height = layout.bounding_box
    record(machine, left + width, top + height, "layout")
