"""Monitors and GUI mode: sent to a VM only if they differ."""

from __future__ import annotations

from vminterface.channel.qrexec.client import Qrexec
from vminterface.deadline import Deadline
from vminterface.dom0.ensure.step import Step, not_so, there
from vminterface.dom0.services import commands, gui, monitors
from vminterface.dom0.services.monitors import VMMonitors
from vminterface.errors import InvalidValue, InvalidValues, ServiceNotFound, VerificationFailed
from vminterface.values import monitorsetting
from vminterface.values.change import Change
from vminterface.values.guimode import GuiMode
from vminterface.values.monitor import MonitorLayout
from vminterface.values.monitorsetting import FromDom0, MonitorSetting

_MODE_LIMIT = 64
#: Where the handler stores the last mode that it was given: the newer one, as it may not write to the first always.
_READ_MODE = """note=/run/vminterface/gui-mode own=$XDG_RUNTIME_DIR/vminterface/gui-mode
[ -e "$note" ] && ! [ "$own" -nt "$note" ] || note=$own
[ -e "$note" ] || exit 3
exec cat "$note\""""


def desired(raw: object) -> MonitorLayout:
    """Return the layout that *raw*, in the pillar's form, asks for. Raises InvalidValues, and as :func:`of_dom0`."""
    try:
        setting = monitorsetting.parse(raw)
    except InvalidValue as error:
        path = "monitors"
        raise InvalidValues(
            InvalidValue(str(one), f"{path}:{one.where}" if one.where else path) for one in error.errors
        ) from None
    return layout_of(setting)


def layout_of(setting: MonitorSetting) -> MonitorLayout:
    """Return the layout that *setting* asks for. Raises as :func:`monitors.of_dom0` where dom0's is."""
    return setting.layout(monitors.of_dom0()) if isinstance(setting, FromDom0) else setting


def monitor_layout(qrexec: Qrexec, vm: str, layout: MonitorLayout) -> Step:
    """Give *vm* the monitors of *layout*. Compared is what its X server shows (:meth:`VMMonitors.matches`)."""
    found = monitors.of_vm(qrexec, vm)
    what = "the monitors"
    notes = "".join(f"; {note}" for note in layout.notes())
    if found.matches(layout):
        return Step(vm, what, already=f"are already set{notes}")

    def send() -> None:
        send_layout(qrexec, vm, layout, found)

    changes = {"monitors": Change(monitors.shown(found.layout), monitors.shown(layout))}
    return Step(vm, what, changes, send, done=f"set{notes}")


def send_layout(
    qrexec: Qrexec, vm: str, layout: MonitorLayout, found: VMMonitors, *, deadline: Deadline | None = None
) -> None:
    """Set the monitors of *layout* in *vm*, which had *found*, and check that it shows them.

    *deadline* is for all of it. Raises VerificationFailed, and as :meth:`Qrexec.call`.
    """
    monitors.set_layout(qrexec, vm, found.to_send(layout), deadline=deadline)
    now = monitors.of_vm(qrexec, vm, deadline=deadline)
    if not now.matches(layout):
        raise VerificationFailed(
            f"{vm}: the VM reported success, but its X server shows {monitors.shown(now.layout)} "
            f"instead of {monitors.shown(layout)}"
        )


def gui_mode(qrexec: Qrexec, vm: str, mode: GuiMode) -> Step:
    """Give *vm* the GUI *mode*. Compared is what its handler remembers, before and after.

    A VM without a record of its mode is set each time, and its success is not verified.
    """
    found = _mode_of(qrexec, vm)
    if found is mode:
        return Step(vm, "the GUI mode")
    changes = {"gui_mode": Change("unknown" if found is None else found.value, mode.value)}

    def act() -> None:
        gui.set_mode(qrexec, vm, mode)
        now = _mode_of(qrexec, vm)
        if now is not mode and (found, now) != (None, None):
            raise not_so(vm, "the GUI mode")

    return Step(vm, "the GUI mode", changes, act)


def _mode_of(qrexec: Qrexec, vm: str) -> GuiMode | None:
    try:
        output = commands.execute(qrexec, vm, ["sh", "-c", _READ_MODE], stdout_limit=_MODE_LIMIT, timeout=20.0)
    except ServiceNotFound:
        return None
    if not there(output):
        return None
    try:
        return GuiMode.parse(output.untrusted_stdout.decode("latin-1").strip())
    except InvalidValue:
        return None
