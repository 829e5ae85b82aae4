"""Monitors and GUI mode: told to a VM only if it has others."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from vminterface.channel.qrexec import Qrexec
from vminterface.dom0.diff import Change
from vminterface.dom0.outcome import Outcome
from vminterface.dom0.services import commands, gui, monitors
from vminterface.dom0.settings import FROM_DOM0, VMSettings
from vminterface.dom0.steps.step import Step, not_so, there
from vminterface.errors import InvalidValue, ServiceNotFound, VMInterfaceError, VMNotRunning
from vminterface.values.guimode import GuiMode
from vminterface.values.monitor import MonitorLayout

_MODE_LIMIT = 64
#: Where the handler keeps the mode that it was told last: the newer one, as it may not write to the first always.
_READ_MODE = """note=/run/vminterface/gui-mode own=$XDG_RUNTIME_DIR/vminterface/gui-mode
[ -e "$note" ] && ! [ "$own" -nt "$note" ] || note=$own
[ -e "$note" ] || exit 3
exec cat "$note\""""


def wanted(raw: object) -> MonitorLayout:
    """Return the layout that *raw* says: a list as in the pillar, or ``from_dom0``. Raises InvalidValue."""
    return monitors.of_dom0() if raw == FROM_DOM0 else MonitorLayout.from_mappings(raw)


def in_words(layout: MonitorLayout | Literal["from_dom0"]) -> str:
    """Return in one line what the pillar says of monitors."""
    return monitors.shown(layout) if isinstance(layout, MonitorLayout) else layout


def monitor_layout(qrexec: Qrexec, vm: str, layout: MonitorLayout) -> Step:
    """Give *vm* the monitors of *layout*. Compared is what its X server shows: sizes in pixels and places."""
    found = monitors.of_vm(qrexec, vm)
    what = "the monitors"
    if monitors.geometry(found) == monitors.geometry(layout):
        return Step(vm, what, already="are already as asked for")

    def tell() -> None:
        monitors.set_layout(qrexec, vm, layout)
        if monitors.geometry(monitors.of_vm(qrexec, vm)) != monitors.geometry(layout):
            raise not_so(vm, "the monitor layout")

    return Step(vm, what, {"monitors": {"old": monitors.shown(found), "new": monitors.shown(layout)}}, tell)


def all_monitors(qrexec: Qrexec, settings: Sequence[VMSettings], *, test: bool) -> list[Outcome]:
    """Give every VM of *settings* its monitors, some VMs at a time; one that fails holds up nobody.

    VMs whose settings say nothing of monitors are left out. Raises ProgramMissing, ProgramFailed and the like where
    dom0's own monitors are asked for and cannot be read.
    """
    asked = [s for s in settings if s.monitors is not None]
    own = monitors.of_dom0() if any(s.monitors == FROM_DOM0 for s in asked) else None

    def one(setting: VMSettings) -> Outcome:
        outcome = Outcome(setting.vm)
        layout = own if setting.monitors == FROM_DOM0 else setting.monitors
        assert isinstance(layout, MonitorLayout)
        try:
            changes, _ = monitor_layout(qrexec, setting.vm, layout).run(test=test)
        except VMNotRunning as error:
            outcome.running = False
            outcome.error = error if setting.require_running else None
        except VMInterfaceError as error:
            outcome.error = error
        else:
            outcome.changes = {f: Change(c["old"], c["new"]) for f, c in changes.items()}  # type: ignore[index]
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
