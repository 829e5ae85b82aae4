"""Monitors and GUI mode: told to a VM only if it has others."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from vminterface.channel.qrexec import Qrexec
from vminterface.dom0.diff import Change
from vminterface.dom0.outcome import Outcome
from vminterface.dom0.services import commands, gui, monitors
from vminterface.dom0.settings import VMSettings
from vminterface.dom0.steps.step import Step, not_so, there
from vminterface.errors import InvalidValue, ServiceNotFound, VerificationFailed, VMInterfaceError, VMNotRunning
from vminterface.values import monitorsetting
from vminterface.values.guimode import GuiMode
from vminterface.values.monitor import MonitorLayout
from vminterface.values.monitorsetting import FromDom0, MonitorSetting

_MODE_LIMIT = 64
#: Where the handler keeps the mode that it was told last: the newer one, as it may not write to the first always.
_READ_MODE = """note=/run/vminterface/gui-mode own=$XDG_RUNTIME_DIR/vminterface/gui-mode
[ -e "$note" ] && ! [ "$own" -nt "$note" ] || note=$own
[ -e "$note" ] || exit 3
exec cat "$note\""""


def wanted(raw: object) -> MonitorLayout:
    """Return the layout that *raw*, in the pillar's form, asks for. Raises InvalidValue, and as :func:`of_dom0`."""
    return layout_of(monitorsetting.parse(raw))


def layout_of(setting: MonitorSetting) -> MonitorLayout:
    """Return the layout that *setting* asks for. Raises as :func:`monitors.of_dom0` where dom0's is."""
    return setting.layout(monitors.of_dom0()) if isinstance(setting, FromDom0) else setting


def in_words(setting: MonitorSetting) -> str:
    """Return in one line what the pillar says of monitors."""
    return monitors.shown(setting) if isinstance(setting, MonitorLayout) else str(setting)


def monitor_layout(qrexec: Qrexec, vm: str, layout: MonitorLayout) -> Step:
    """Give *vm* the monitors of *layout*. Compared is what its X server shows (:meth:`VMMonitors.shows`)."""
    found = monitors.of_vm(qrexec, vm)
    what = "the monitors"
    notes = "".join(f"; {note}" for note in layout.notes())
    if found.shows(layout):
        return Step(vm, what, already=f"are already as asked for{notes}")

    def send() -> None:
        monitors.set_layout(qrexec, vm, found.to_send(layout))
        now = monitors.of_vm(qrexec, vm)
        if not now.shows(layout):
            raise VerificationFailed(
                f"{vm}: the VM reported success, but its X server shows {monitors.shown(now.layout)} "
                f"instead of {monitors.shown(layout)}"
            )

    changes = {"monitors": {"old": monitors.shown(found.layout), "new": monitors.shown(layout)}}
    return Step(vm, what, changes, send, done=f"set{notes}")


def all_monitors(qrexec: Qrexec, settings: Sequence[VMSettings], *, test: bool) -> list[Outcome]:
    """Give every VM of *settings* its monitors, some VMs at a time; one that fails holds up nobody.

    VMs whose settings say nothing of monitors are left out. Raises ProgramMissing, ProgramFailed and the like where
    dom0's own monitors are asked for and cannot be read.
    """
    asked = [s for s in settings if s.monitors is not None]
    own = monitors.of_dom0() if any(isinstance(s.monitors, FromDom0) for s in asked) else None

    def one(setting: VMSettings) -> Outcome:
        outcome = Outcome(setting.vm)
        layout = setting.monitors
        if isinstance(layout, FromDom0):
            assert own is not None
            layout = layout.layout(own)
        assert layout is not None
        try:
            changes, _ = monitor_layout(qrexec, setting.vm, layout).run(test=test)
        except VMNotRunning as error:
            outcome.running = False
            outcome.error = error if setting.require_running else None
        except VMInterfaceError as error:
            outcome.error = error
        else:
            outcome.changes = {f: Change(c["old"], c["new"]) for f, c in changes.items()}  # type: ignore[index]
            for note in layout.notes():
                outcome.add_note(note)
        return outcome

    with ThreadPoolExecutor(qrexec.parallel, thread_name_prefix="monitors") as pool:
        return list(pool.map(one, asked))


def gui_mode(qrexec: Qrexec, vm: str, mode: GuiMode) -> Step:
    """Give *vm* the GUI *mode*. Compared is what its handler remembers, before and after.

    A VM that remembers nothing, or cannot be asked, is told each time and believed.
    """
    found = _mode_of(qrexec, vm)
    if found is mode:
        return Step(vm, "the GUI mode")
    changes = {"gui_mode": {"old": "unknown" if found is None else found.value, "new": mode.value}}

    def tell() -> None:
        gui.set_mode(qrexec, vm, mode)
        now = _mode_of(qrexec, vm)
        if now is not mode and (found, now) != (None, None):
            raise not_so(vm, "the GUI mode")

    return Step(vm, "the GUI mode", changes, tell)


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
