"""``qubes.SetMonitorLayout``: give the VM's X server the monitors that dom0 has.

Input: a line for each monitor, ``W H X Y`` or ``W H X Y Wmm Hmm``, each with its end. No output.
After Qubes gui-agent-linux's ``qubes-set-monitor-layout``, which switches all outputs off when it gets nothing, takes
what it cannot read for a mode, and answers 0 whatever happened.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator

from vminterface.deadline import Deadline
from vminterface.errors import InvalidValue, ProgramFailed, VMInterfaceError
from vminterface.values.monitor import DISPLAY, GUIVM, GUIVM_DISPLAY, MonitorLayout
from vminterface.vm.handlers.display.xrandr import XServer
from vminterface.vm.handlers.runtime.call import Call
from vminterface.vm.machine.files import Files
from vminterface.vm.machine.machine import Machine
from vminterface.vm.machine.remember import remember
from vminterface.vm.machine.screen import record_layout

#: Seconds for everything, most of them for an X server that may be starting just now: dom0 waits 60.
TIMEOUT = 50.0
#: The folder of the X servers' sockets: every user may read it, so that it can be locked without another file.
SOCKETS = "/tmp/.X11-unix"
_LIMIT = 1024
_BYTES_A_PIXEL = 4
_PAUSE = 0.05


def handle(call: Call) -> None:
    """Read a layout and show it. Raises VMInterfaceError; then the X server shows what it did before."""
    call.refuse_argument()
    deadline = call.within(TIMEOUT)
    layout = MonitorLayout.parse(call.read_all(_LIMIT).decode("latin-1"))
    apply(layout, call.machine, deadline, os.environ.get("DISPLAY"))


def apply(layout: MonitorLayout, machine: Machine, deadline: Deadline, display: str | None = None) -> None:
    """Show *layout* on the VM's own display, and remember it as ``monitors``.

    That is *display*, by default the first one; in a GUI VM always the second, though its session has the first.

    Raises InvalidValue for more monitors than outputs or a larger screen than the server can have, before anything is
    changed; DeadlineExceeded if no server is there by *deadline*; VMInterfaceError.
    """
    display = GUIVM_DISPLAY if machine.exists(GUIVM) else display or DISPLAY
    server = XServer(machine, display, deadline)
    server.wait()
    with _alone(machine, deadline):
        _apply(layout, server)
    # The layout is shown as asked, whether or not this user may keep a note of it.
    with contextlib.suppress(VMInterfaceError):
        remember(machine, "monitors", layout.render())
        record_layout(machine, layout)


def _apply(layout: MonitorLayout, server: XServer) -> None:
    before = server.query()
    if len(layout) > len(before.monitors):
        raise InvalidValue(
            f"{len(layout)} monitors are too many (expected at most {len(before.monitors)}: the outputs of the X"
            f" server)"
        )
    _, _, *size = layout.bounding_box
    if size[0] > before.limits[0] or size[1] > before.limits[1]:
        shown, largest = ("{}x{}".format(*pair) for pair in (size, before.limits))
        raise InvalidValue(
            f"a layout of {shown} pixels is too large (expected at most {largest}: the limit of the X server)"
        )
    try:
        server.apply(layout.monitors, before)
    except ProgramFailed as error:
        # The only X requests that fail for the sake of a size; the server does not say what its memory would hold.
        if "RRSetScreenSize" not in str(error):
            raise
        largest = "{}x{}".format(*before.limits)
        needed = -(-size[0] * size[1] * _BYTES_A_PIXEL // 1024)
        raise InvalidValue(
            f"a layout of {size[0]}x{size[1]} pixels does not fit into the X server's video memory: it needs {needed} "
            f"KiB (RandR's own maximum is {largest}); raise the VM's feature gui-videoram-min and restart the VM"
        ) from None


@contextlib.contextmanager
def _alone(machine: Files, deadline: Deadline) -> Iterator[None]:
    """Let one call at a time change the outputs: dom0 sends a layout at each of several changes in a row."""
    if not machine.is_folder(SOCKETS):
        yield
        return
    folder = os.open(machine.path(SOCKETS), os.O_RDONLY | os.O_DIRECTORY)
    try:
        while True:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                deadline.check("another call of this service")
                time.sleep(_PAUSE)
        yield
    finally:
        os.close(folder)
