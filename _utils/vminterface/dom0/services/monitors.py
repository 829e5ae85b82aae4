"""``qubes.SetMonitorLayout``: tell a VM which monitors there are; and what monitors dom0 and a VM have.

Source of the service: Qubes gui-agent-linux ``qubes-set-monitor-layout``. What a VM has is read from its own
``xrandr -q``: there alone it shows whether the layout was taken, and what a user has changed since.
"""

from __future__ import annotations

from vminterface.channel import process
from vminterface.channel.qrexec import Qrexec
from vminterface.deadline import Deadline
from vminterface.dom0.services import commands
from vminterface.dom0.services.answer import NOISE
from vminterface.errors import InvalidValue, ProgramFailed, printable
from vminterface.values.monitor import DISPLAY, GUIVM, GUIVM_DISPLAY, MonitorLayout

SERVICE = "qubes.SetMonitorLayout"

_XRANDR_LIMIT = 1 << 20
#: The display that the service sets is the one to ask: its handler chooses alike.
_QUERY = (
    f'if [ -e {GUIVM} ]; then DISPLAY={GUIVM_DISPLAY}; else DISPLAY="${{DISPLAY:-{DISPLAY}}}"; fi; '
    "export DISPLAY; exec xrandr -q"
)

#: Position and size of each monitor, in the order of the outputs: x, y, width, height.
Geometry = tuple[tuple[int, int, int, int], ...]


def set_layout(qrexec: Qrexec, vm: str, layout: MonitorLayout, *, timeout: float = 60.0) -> None:
    """Give *vm* the monitors of *layout*; it waits for the VM's X server. Raises as :meth:`Qrexec.call`."""
    qrexec.call(vm, SERVICE, stdin=layout.render().encode("ascii"), stdout_limit=NOISE, timeout=timeout)


def of_dom0(*, program: str = "xrandr", timeout: float = 10.0) -> MonitorLayout:
    """Return the monitors of the display that this process is on, physical sizes blurred.

    Raises ProgramMissing, ProgramFailed, InvalidValue (no monitor), DeadlineExceeded.
    """
    ended = process.run([program, "-q"], "dom0's monitors", Deadline.after(timeout), stdout_limit=_XRANDR_LIMIT)
    if ended.status:
        said = printable(ended.untrusted_stderr.strip())
        raise ProgramFailed(f"dom0's monitors: {program} -q: exit status {ended.status}{said and ': '}{said}")
    return MonitorLayout.from_xrandr(ended.untrusted_stdout.decode("utf-8", "replace"))


def of_vm(qrexec: Qrexec, vm: str, *, timeout: float = 20.0) -> MonitorLayout | None:
    """Return the monitors that the VM's X server has now, None if it shows none, or what could be none of dom0's.

    Raises ServiceFailed where there is no X server, else as :meth:`Qrexec.call`.
    """
    argv = ["sh", "-c", _QUERY]
    output = commands.execute(qrexec, vm, argv, stdout_limit=_XRANDR_LIMIT, timeout=timeout, name="xrandr").checked()
    try:
        return MonitorLayout.from_xrandr(output.untrusted_stdout.decode("utf-8", "replace"))
    except InvalidValue:
        return None


def geometry(layout: MonitorLayout | None) -> Geometry:
    """Return what of *layout* can be compared with a VM's own word, measured from its left and upper ends.

    Left out are the sizes in millimetres, a property of the VM's dummy outputs that not every video driver shows in
    ``xrandr -q``; and ``xrandr`` itself moves a layout so that it begins at 0, 0.
    """
    if layout is None:
        return ()
    left, top, _, _ = layout.bounding_box
    return tuple((m.x - left, m.y - top, m.width, m.height) for m in layout)


def shown(layout: MonitorLayout | None) -> str:
    """Return *layout* in one line for people: ``1920x1080+0+0, 1280x800+1920+0``, or ``none``."""
    if layout is None:
        return "none"
    return ", ".join(f"{m.width}x{m.height}+{m.x}+{m.y}" for m in layout)


def as_mappings(layout: MonitorLayout | None) -> list[dict[str, int]]:
    """Return *layout* as the pillar has it; an empty list for none."""
    names = ("width", "height", "x", "y", "width_mm", "height_mm")
    return [{name: size for name in names if (size := getattr(m, name)) is not None} for m in layout or ()]
