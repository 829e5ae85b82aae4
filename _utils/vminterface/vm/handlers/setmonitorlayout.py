"""``qubes.SetMonitorLayout``: give the VM's X server the monitors that dom0 has.

Input: a line for each monitor, ``W H X Y`` or ``W H X Y Wmm Hmm``, each with its end. No output.
After Qubes gui-agent-linux's ``qubes-set-monitor-layout``, which switches all outputs off when it gets nothing, takes
what it cannot read for a mode, and answers 0 whatever happened.
"""

from __future__ import annotations

import os

from vminterface.deadline import Deadline
from vminterface.errors import InvalidValue
from vminterface.values.monitor import MonitorLayout
from vminterface.vm.handlers.call import Call
from vminterface.vm.handlers.remember import remember
from vminterface.vm.handlers.xrandr import XServer
from vminterface.vm.machine import Machine

#: Seconds that an X server, which may be starting just now, has for everything.
TIMEOUT = 60.0
#: Where the VM draws the desktop of other VMs, that has the first display, and its own windows the second.
GUIVM = "/run/qubes-service/guivm-gui-agent"
_LIMIT = 1024


def handle(call: Call) -> None:
    """Read a layout and show it. Raises VMInterfaceError; then the X server shows what it did before."""
    call.refuse_argument()
    layout = MonitorLayout.parse(call.read_all(_LIMIT).decode("latin-1"))
    show(layout, call.machine, os.environ.get("DISPLAY"))


def show(layout: MonitorLayout, machine: Machine, display: str | None = None, timeout: float = TIMEOUT) -> None:
    """Show *layout* on *display*, by default the VM's own, and remember it as ``monitors``.

    Raises InvalidValue for more monitors than outputs or a larger screen than the server can have, before anything is
    changed; DeadlineExceeded if no server is there after *timeout* seconds; VMInterfaceError.
    """
    display = display or (":1" if machine.exists(GUIVM) else ":0")
    server = XServer(machine, display, Deadline.after(timeout))
    before = server.wait()
    if len(layout) > len(before.monitors):
        raise InvalidValue(f"{len(layout)} monitors are too many: the X server has {len(before.monitors)}")
    _, _, *size = layout.bounding_box
    if size[0] > before.limits[0] or size[1] > before.limits[1]:
        shown, largest = ("{}x{}".format(*pair) for pair in (size, before.limits))
        raise InvalidValue(f"a layout of {shown} pixels is too large: the X server can have {largest}")
    server.show(layout.monitors, before)
    remember(machine, "monitors", layout.render())
