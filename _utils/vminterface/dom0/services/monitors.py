"""``qubes.SetMonitorLayout``: set a VM's monitors; and read the monitors of dom0 and a VM.

Source of the service: Qubes gui-agent-linux ``qubes-set-monitor-layout``. What a VM has is read from its own
``xrandr``: there alone it shows whether the layout was taken, and what a user has changed since.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from vminterface.channel import process
from vminterface.channel.process import Conversation
from vminterface.channel.qrexec.client import Call, Qrexec
from vminterface.deadline import Deadline
from vminterface.dom0.services import commands
from vminterface.dom0.services.reply import NOISE
from vminterface.errors import InvalidValue, ProgramFailed, printable
from vminterface.values.modeline import widths_of_cvt
from vminterface.values.monitor import DISPLAY, GUIVM, GUIVM_DISPLAY, Monitor, MonitorLayout
from vminterface.values.xrandr import Output, layout_of_dom0, outputs

SERVICE = "qubes.SetMonitorLayout"

_XRANDR_LIMIT = 1 << 20
#: Between what xrandr prints and the layout that the handler has kept.
_REMEMBERED = "-- kept"
#: The display that the service sets is the one to ask: its handler chooses alike. What the handler was given last is in
#: the newer one of two files, as it may not write to the first always.
_QUERY = f"""if [ -e {GUIVM} ]; then DISPLAY={GUIVM_DISPLAY}; else DISPLAY="${{DISPLAY:-{DISPLAY}}}"; fi
export DISPLAY; xrandr --prop || exit
note=/run/vminterface/monitors own=$XDG_RUNTIME_DIR/vminterface/monitors
[ -e "$note" ] && ! [ "$own" -nt "$note" ] || note=$own
[ ! -e "$note" ] || {{ echo "{_REMEMBERED}"; cat "$note"; }}"""


@dataclass(frozen=True, slots=True)
class VMMonitors:
    """What a VM's X server shows, in the order of its outputs, and the layout that its handler has kept, if any."""

    outputs: tuple[Output, ...]
    remembered: MonitorLayout | None = None

    @property
    def layout(self) -> MonitorLayout | None:
        """The monitors as the pillar has them; None if there are none, or some that no pillar could give."""
        sizes = [output.millimetres for output in self.outputs]
        try:
            return MonitorLayout(
                tuple(
                    o.monitor(size if size and any(size) else None) for o, size in zip(self.outputs, sizes, strict=True)
                )
            )
        except InvalidValue:
            return None

    def matches(self, asked: MonitorLayout) -> bool:
        """Whether that is the result of *asked*.

        Positions count from the left and upper ends, as ``xrandr`` moves a layout so that it begins at 0, 0. A width
        that Qubes' own handler makes of the one that was asked for is as good. Millimetres count where the server shows
        some, else those that the handler has kept; which output is the primary one counts where the handler is one
        that sets it.
        """
        if len(self.outputs) != len(asked):
            return False
        left, top = min(o.x for o in self.outputs), min(o.y for o in self.outputs)
        asked_left, asked_top, _, _ = asked.bounding_box
        remembered = (
            self.remembered.monitors
            if self.remembered is not None and len(self.remembered) == len(asked)
            else (None,) * len(asked)
        )
        if self.remembered is not None and any(o.primary for o in self.outputs) and not self.outputs[0].primary:
            return False
        return all(
            (o.x - left, o.y - top) == (m.x - asked_left, m.y - asked_top)
            and o.height == m.height
            and o.width in widths_of_cvt(m.width, m.height)
            and _millimetres(o, m, note)
            for o, m, note in zip(self.outputs, asked, remembered, strict=True)
        )

    def to_send(self, asked: MonitorLayout) -> MonitorLayout:
        """Return *asked* as it is to be sent: with sizes of 0 where a size that the server shows is to go."""
        if not any(map(_has_size, self.outputs)):
            return asked
        return MonitorLayout(tuple(m if m.width_mm is not None else replace(m, width_mm=0, height_mm=0) for m in asked))


def _has_size(output: Output) -> bool:
    return any(output.millimetres or ())


def _millimetres(output: Output, asked: Monitor, remembered: Monitor | None) -> bool:
    """Whether *output* has the size in millimetres that is *asked* for."""
    size = asked.width_mm or 0, asked.height_mm or 0
    if output.millimetres is not None:
        return output.millimetres == size
    return remembered is None or (remembered.width_mm or 0, remembered.height_mm or 0) == size


def set_layout(
    qrexec: Qrexec, vm: str, layout: MonitorLayout, *, timeout: float = 60.0, deadline: Deadline | None = None
) -> None:
    """Give *vm* the monitors of *layout*; it waits for the VM's X server. *deadline* holds in place of *timeout*.

    Raises as :meth:`Qrexec.call`.
    """
    stdin = layout.render().encode("ascii")
    qrexec.call(Call(vm, SERVICE, stdin=stdin, stdout_limit=NOISE, timeout=timeout, deadline=deadline))


def of_dom0(*, program: str = "xrandr", probe: bool = True, timeout: float = 10.0) -> MonitorLayout:
    """Return the monitors of the display that this process is on, physical sizes blurred.

    Without *probe* the X server returns what it knows, and no monitor is probed, which takes long and may flicker.
    Raises ProgramMissing, ProgramFailed, InvalidValue (no monitor), DeadlineExceeded.
    """
    option = "-q" if probe else "--current"
    ended = process.run(
        [program, option], "dom0's monitors", Deadline.after(timeout), Conversation(stdout_limit=_XRANDR_LIMIT)
    )
    if ended.status:
        said = printable(ended.untrusted_stderr.strip())
        raise ProgramFailed(f"dom0's monitors: {program} {option}: exit status {ended.status}{said and ': '}{said}")
    return layout_of_dom0(ended.untrusted_stdout.decode("utf-8", "replace"))


def of_vm(qrexec: Qrexec, vm: str, *, timeout: float = 20.0, deadline: Deadline | None = None) -> VMMonitors:
    """Return the monitors that the VM's X server has now. *deadline* holds in place of *timeout*.

    Raises ServiceFailed without an X server, else as :meth:`Qrexec.call`.
    """
    argv = ["sh", "-c", _QUERY]
    output = commands.execute(
        qrexec, vm, argv, stdout_limit=_XRANDR_LIMIT, timeout=timeout, name="xrandr", deadline=deadline
    ).checked()
    untrusted_shown, _, untrusted_remembered = output.untrusted_stdout.decode("utf-8", "replace").partition(
        f"\n{_REMEMBERED}\n"
    )
    try:
        remembered = MonitorLayout.parse(untrusted_remembered)
    except InvalidValue:
        remembered = None
    return VMMonitors(outputs(untrusted_shown), remembered)


def shown(layout: MonitorLayout | None) -> str:
    """Return *layout* in one line for people: ``1920x1080+0+0 (508x285 mm), 1280x800+1920+0``, or ``none``."""
    if layout is None:
        return "none"
    return ", ".join(_shown(monitor) for monitor in layout)


def _shown(monitor: Monitor) -> str:
    size = "" if not monitor.width_mm else f" ({monitor.width_mm}x{monitor.height_mm} mm)"
    return f"{monitor.width}x{monitor.height}+{monitor.x}+{monitor.y}{size}"


def as_mappings(layout: MonitorLayout | None) -> list[dict[str, int]]:
    """Return *layout* as the pillar has it; an empty list for none."""
    return [] if layout is None else layout.mappings()
