"""Whatever a handler does, its caller gets our error in time, and nothing is left: no process, no zombie, no file."""

from __future__ import annotations

import io
import time

import pytest

from vminterface.dom0 import clocksync, tools
from vminterface.dom0.services import (
    appmenus,
    backup,
    clock,
    commands,
    dialogs,
    disk,
    files,
    gui,
    images,
    monitors,
    pci,
    session,
    suspend,
    timesync,
)
from vminterface.errors import DeadlineExceeded, ServiceFailed, VMInterfaceError
from vminterface.values.device import PciAddress
from vminterface.values.guimode import GuiMode
from vminterface.values.monitor import MonitorLayout
from vminterface.values.volume import Volume

TIMEOUT = 1.0
LAYOUT = MonitorLayout.parse("1920 1080 0 0\n")

#: Service and the call of it.
CALLS = {
    "set_layout": (monitors.SERVICE, lambda q, t: monitors.set_layout(q, "bad", LAYOUT, timeout=TIMEOUT)),
    "of_vm": (commands.EXEC, lambda q, t: monitors.of_vm(q, "bad", timeout=TIMEOUT)),
    "set_clock": (clock.SET, lambda q, t: clock.set_clock(q, "bad", timeout=TIMEOUT)),
    "get_clock": (clock.GET, lambda q, t: clock.get_clock(q, "bad", timeout=TIMEOUT)),
    "session": (session.SERVICE, lambda q, t: session.wait(q, "bad", timeout=TIMEOUT)),
    "appmenus": (appmenus.SERVICE, lambda q, t: appmenus.get(q, "bad", timeout=TIMEOUT)),
    "icon": (images.SERVICE, lambda q, t: images.save(images.icon(q, "bad", "x", timeout=TIMEOUT), t / "icon.png")),
    "gui": (gui.SERVICE, lambda q, t: gui.set_mode(q, "bad", GuiMode.SEAMLESS, timeout=TIMEOUT)),
    "disk": (disk.SERVICE, lambda q, t: disk.resize(q, "bad", Volume.PRIVATE, timeout=TIMEOUT)),
    "pci": (pci.SERVICE, lambda q, t: pci.detach(q, "bad", PciAddress.parse("00:06.0"), timeout=TIMEOUT)),
    "send": (files.COPY, lambda q, t: files.send(q, "bad", [t / "source"], timeout=TIMEOUT)),
    "open_in_vm": (files.OPEN, lambda q, t: files.open_in_vm(q, "bad", t / "source", timeout=TIMEOUT)),
    "view": (files.OPEN, lambda q, t: files.open_in_vm(q, "bad", t / "source", view_only=True, timeout=TIMEOUT)),
    "select_file": (dialogs.FILE, lambda q, t: dialogs.select_file(q, "bad", timeout=TIMEOUT)),
    "select_directory": (dialogs.DIRECTORY, lambda q, t: dialogs.select_directory(q, "bad", timeout=TIMEOUT)),
    "suspend": (suspend.PRE, lambda q, t: _raised(f.error for f in suspend.before(q, [], ["bad"], timeout=TIMEOUT))),
    "wake": (suspend.POST_ALL, lambda q, t: _raised(f.error for f in suspend.after(q, ["bad"], [], timeout=TIMEOUT))),
    "sync_ntp": (timesync.SERVICE, lambda q, t: timesync.sync_ntp_clock(q, "bad", timeout=TIMEOUT)),
    "shell": (commands.SHELL, lambda q, t: commands.shell(q, "bad", "x", timeout=TIMEOUT).checked()),
    "execute": (commands.EXEC, lambda q, t: commands.execute(q, "bad", ["x"], timeout=TIMEOUT).checked()),
    "root": (commands.ROOT_EXEC, lambda q, t: commands.execute(q, "bad", ["x"], root=True, timeout=TIMEOUT).checked()),
    "backup": (backup.BACKUP, lambda q, t: backup.backup(q, "bad", "/b", io.BytesIO(bytes(1 << 20)), timeout=TIMEOUT)),
    "restore": (backup.RESTORE, lambda q, t: backup.restore(q, "bad", "/b", t / "back", timeout=TIMEOUT)),
    "restore one": (backup.RESTORE, lambda q, t: backup.restore(q, "bad", "/b", t / "b", single=True, timeout=TIMEOUT)),
    "updates": (commands.EXEC, lambda q, t: tools.check_dom0_updates(q, "bad", timeout=TIMEOUT)),
    "download": (commands.EXEC, lambda q, t: tools.download_dom0_updates(q, "bad", timeout=TIMEOUT)),
    "date": (commands.EXEC, lambda q, t: tools.read_date(q, "bad", timeout=TIMEOUT)),
    "network": (commands.EXEC, lambda q, t: tools.wait_for_network(q, "bad", timeout=TIMEOUT)),
    "grow": (commands.ROOT_EXEC, lambda q, t: tools.grow_private(q, "bad", timeout=TIMEOUT)),
    "show updates": (tools.INSTALL_GUI, lambda q, t: tools.show_updates(q, "bad", timeout=TIMEOUT)),
    "timer": (commands.ROOT_EXEC, lambda q, t: tools.switch_update_check(q, "bad", True, timeout=TIMEOUT)),
}

FAULTS = {
    # The VM tells how its handler ended, as a shell does.
    "dies at start": "exit 137",
    "dies in the middle": "head -c 10 >/dev/null; printf part; exit 137",
    "floods its output": "exec cat /dev/zero",
    "never ends": "exec sleep 1000",
    "leaves a child": "sleep 1000 & exit 9",
    "floods its messages": r"head -c 300000 /dev/urandom >&2; printf '\033[2J\007' >&2; exit 9",
    "begins its messages with an escape": r"printf '\033]0;owned\007\n\033[2J' >&2; exit 9",
}


def _raised(errors):
    for error in errors:
        raise error


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", CALLS)
def test_a_handler_that_misbehaves_is_our_error_in_time(vms, qrexec, tmp_path, monkeypatch, name, fault):
    monkeypatch.setattr(files, "EDITED_LIMIT", 1 << 20)
    service, call = CALLS[name]
    place = tmp_path / "here"
    place.mkdir()
    (place / "source").write_bytes(bytes(1 << 20))
    vms.handler("bad", service, FAULTS[fault])
    started = time.monotonic()
    with pytest.raises(VMInterfaceError) as caught:
        call(qrexec, place)
    assert time.monotonic() - started < TIMEOUT + 2
    said = str(caught.value)
    assert "bad" in said
    assert said.isascii()
    assert said.isprintable()
    assert len(said) < 600
    assert [file.name for file in place.iterdir()] == ["source"]
    assert (place / "source").read_bytes() == bytes(1 << 20)
    if fault == "never ends":
        assert isinstance(caught.value, DeadlineExceeded)
    if fault == "dies at start":
        assert isinstance(caught.value, ServiceFailed)
        assert caught.value.status == 137


@pytest.mark.parametrize("fault", FAULTS)
def test_a_vm_that_misbehaves_holds_up_no_other_clock(vms, work, qrexec, monkeypatch, fault):
    monkeypatch.setattr(clock, "get_clock", lambda q, vm, get=clock.get_clock: get(q, vm, timeout=TIMEOUT))
    vms.handler("bad", clock.GET, FAULTS[fault])
    (work / "run/vminterface/clock-offset").write_text("9000000\n")
    bad, good = clocksync.set_all(qrexec, clocksync.host_time(), ["bad", "work"])
    assert isinstance(bad.error, VMInterfaceError)
    assert good.error is None
    assert good.set
    assert good.drift == pytest.approx(9, abs=1)
