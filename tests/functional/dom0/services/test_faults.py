"""Whatever a handler does, its caller gets our error in time, and nothing is left: no process, no zombie, no file."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import io
import pkgutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import vminterface.dom0.ensure
import vminterface.dom0.services
from tests.support.rpcstandin import StandIn
from tests.support.templates import rpmkeys
from vminterface.channel.qrexec.client import Call, Qrexec
from vminterface.deadline import Deadline
from vminterface.dom0.ensure import display, menu, programs, storage
from vminterface.dom0.ensure import files as sent
from vminterface.dom0.results import clocks, servicelist
from vminterface.dom0.services import (
    appmenus,
    apps,
    backup,
    backuplocation,
    clock,
    clocksync,
    commands,
    dialogs,
    disk,
    files,
    gui,
    images,
    monitors,
    pci,
    postinstall,
    readiness,
    session,
    suspend,
    templates,
    terminals,
    timesync,
    tools,
)
from vminterface.dom0.services.monitors import VMMonitors
from vminterface.errors import DeadlineExceeded, OutputTooLarge, RemoteProtocolError, ServiceFailed
from vminterface.values.device import PciAddress
from vminterface.values.guimode import GuiMode
from vminterface.values.monitor import MonitorLayout
from vminterface.values.templaterequest import TemplateRequest
from vminterface.values.volume import Volume

#: Seconds that a call has where its handler never ends, and where it does: nothing of that shall depend on the machine.
SOON, TIMEOUT = 0.5, 30.0
LAYOUT = MonitorLayout.parse("1920 1080 0 0\n")
WANTED = TemplateRequest("qubes-template-*", "")


def _raised(errors: Iterator[Any]) -> None:
    for error in errors:
        raise error


def _failed(reply: dict[str, Any]) -> None:
    """Raise what :func:`servicelist.call` returns, to whom a service that failed is an answer."""
    raise ServiceFailed(f"some.Service in bad: {reply['stderr'].splitlines()[:1]}"[:100], reply["status"])


#: Service and the call of it (by way of q, with files in t, s seconds long), by the function's name, and a variant's.
CALLS: dict[str, tuple[str, Callable[[Qrexec, Path, float], object]]] = {
    "monitors.set_layout": (monitors.SERVICE, lambda q, t, s: monitors.set_layout(q, "bad", LAYOUT, timeout=s)),
    "monitors.of_vm": (commands.EXEC, lambda q, t, s: monitors.of_vm(q, "bad", timeout=s)),
    "clock.set_clock": (clock.SET, lambda q, t, s: clock.set_clock(q, "bad", timeout=s)),
    "clock.get_clock": (clock.GET, lambda q, t, s: clock.get_clock(q, "bad", timeout=s)),
    "session.wait": (session.SERVICE, lambda q, t, s: session.wait(q, "bad", timeout=s)),
    "readiness.wait_for_system": (readiness.SYSTEM, lambda q, t, s: readiness.wait_for_system(q, "bad", timeout=s)),
    "readiness.wait_for_uplink": (readiness.UPLINK, lambda q, t, s: readiness.wait_for_uplink(q, "bad", timeout=s)),
    "apps.start": (apps.START, lambda q, t, s: apps.start(q, "bad", "app", wait=True, timeout=s)),
    "apps.open_url": (
        apps.OPEN,
        lambda q, t, s: apps.open_url(q, "bad", "http://www.example.org", wait=True, timeout=s),
    ),
    "terminals.show": (terminals.SERVICE, lambda q, t, s: terminals.show(q, "bad", "text", timeout=s)),
    "appmenus.get": (appmenus.SERVICE, lambda q, t, s: appmenus.get(q, "bad", timeout=s)),
    "images.icon": (images.SERVICE, lambda q, t, s: images.save(images.icon(q, "bad", "x", timeout=s), t / "icon.png")),
    "images.picture": (
        images.SERVICE,
        lambda q, t, s: images.save(images.picture(q, "bad", "/x", timeout=s), t / "picture.png"),
    ),
    "gui.set_mode": (gui.SERVICE, lambda q, t, s: gui.set_mode(q, "bad", GuiMode.SEAMLESS, timeout=s)),
    "disk.resize": (disk.SERVICE, lambda q, t, s: disk.resize(q, "bad", Volume.PRIVATE, timeout=s)),
    "pci.detach": (pci.SERVICE, lambda q, t, s: pci.detach(q, "bad", PciAddress.parse("00:06.0"), timeout=s)),
    "templates.search": (templates.SEARCH, lambda q, t, s: templates.search(q, "bad", WANTED, timeout=s)),
    "templates.download": (
        templates.DOWNLOAD,
        lambda q, t, s: templates.download(q, "bad", WANTED, str(t / "rpm"), str(t / "source"), timeout=s),
    ),
    "postinstall.post_install": (
        postinstall.SERVICE,
        lambda q, t, s: postinstall.post_install(q, "bad", timeout=s),
    ),
    "files.send": (files.COPY, lambda q, t, s: files.send(q, "bad", [t / "source"], timeout=s)),
    "files.open_in_vm": (files.OPEN, lambda q, t, s: files.open_in_vm(q, "bad", t / "source", timeout=s)),
    "files.open_in_vm view only": (
        files.OPEN,
        lambda q, t, s: files.open_in_vm(q, "bad", t / "source", view_only=True, timeout=s),
    ),
    "dialogs.select_file": (dialogs.FILE, lambda q, t, s: dialogs.select_file(q, "bad", timeout=s)),
    "dialogs.select_directory": (dialogs.DIRECTORY, lambda q, t, s: dialogs.select_directory(q, "bad", timeout=s)),
    "suspend.before": (
        suspend.PRE,
        lambda q, t, s: _raised(f.error for f in suspend.before(q, [], ["bad"], timeout=s)),
    ),
    "suspend.before all": (
        suspend.PRE_ALL,
        lambda q, t, s: _raised(f.error for f in suspend.before(q, ["bad"], [], timeout=s)),
    ),
    "suspend.after": (suspend.POST, lambda q, t, s: _raised(f.error for f in suspend.after(q, [], ["bad"], timeout=s))),
    "suspend.after all": (
        suspend.POST_ALL,
        lambda q, t, s: _raised(f.error for f in suspend.after(q, ["bad"], [], timeout=s)),
    ),
    "timesync.sync_ntp_clock": (timesync.SERVICE, lambda q, t, s: timesync.sync_ntp_clock(q, "bad", timeout=s)),
    "commands.shell": (commands.SHELL, lambda q, t, s: commands.shell(q, "bad", "x", timeout=s).checked()),
    "commands.shell root": (
        commands.ROOT_SHELL,
        lambda q, t, s: commands.shell(q, "bad", "x", root=True, timeout=s).checked(),
    ),
    "commands.shell session": (
        f"{commands.SHELL}+WaitForSession",
        lambda q, t, s: commands.shell(q, "bad", "x", wait_for_session=True, timeout=s).checked(),
    ),
    "commands.execute": (commands.EXEC, lambda q, t, s: commands.execute(q, "bad", ["x"], timeout=s).checked()),
    "commands.execute root": (
        commands.ROOT_EXEC,
        lambda q, t, s: commands.execute(q, "bad", ["x"], root=True, timeout=s).checked(),
    ),
    "commands.execute gui": (
        commands.EXEC_GUI,
        lambda q, t, s: commands.execute(q, "bad", ["x"], gui=True, timeout=s).checked(),
    ),
    "backup.backup": (
        backup.BACKUP,
        lambda q, t, s: backup.backup(q, "bad", "/b", io.BytesIO(bytes(1 << 20)), timeout=s),
    ),
    "backup.restore": (
        backup.RESTORE,
        lambda q, t, s: backup.restore(q, "bad", "/b", t / "back", timeout=s),
    ),
    "backup.restore single": (
        backup.RESTORE,
        lambda q, t, s: backup.restore(q, "bad", "/b", t / "b", single=True, timeout=s),
    ),
    "backup.restore_by_id": (
        f"{backup.RESTORE_BY_ID}+0123abcd",
        lambda q, t, s: backup.restore_by_id(q, "bad", "0123abcd", t / "back", ["header"], timeout=s),
    ),
    "backuplocation.lend": (
        backuplocation.SERVICE,
        lambda q, t, s: backuplocation.lend(q, "bad", "/b", (t / "lent").write_text, timeout=s),
    ),
    "tools.check_dom0_updates": (commands.EXEC, lambda q, t, s: tools.check_dom0_updates(q, "bad", timeout=s)),
    "tools.download_dom0_updates": (commands.EXEC, lambda q, t, s: tools.download_dom0_updates(q, "bad", timeout=s)),
    "tools.read_date": (commands.EXEC, lambda q, t, s: tools.read_date(q, "bad", timeout=s)),
    "tools.wait_for_network": (commands.EXEC, lambda q, t, s: tools.wait_for_network(q, "bad", timeout=s)),
    "tools.grow_private": (commands.ROOT_EXEC, lambda q, t, s: tools.grow_private(q, "bad", timeout=s)),
    "tools.show_updates": (tools.INSTALL_GUI, lambda q, t, s: tools.show_updates(q, "bad", timeout=s)),
    "tools.switch_update_check": (
        commands.ROOT_EXEC,
        lambda q, t, s: tools.switch_update_check(q, "bad", True, timeout=s),
    ),
    "servicelist.call": (
        "some.Service",
        lambda q, t, s: _failed(servicelist.call(q, "bad", "some.Service", timeout=s)),
    ),
}
#: The looks of states at a VM before they change it, and others whose time is their own affair.
LOOKS: dict[str, tuple[str, Callable[[Qrexec, Path], object]]] = {
    "clocksync.right_time": (timesync.SERVICE, lambda q, t: clocksync.right_time(q, "bad")),
    "clocksync.read_time": (clock.GET, lambda q, t: clocksync.read_time(q, "bad")),
    "clocksync.set_all": (
        clock.GET,
        lambda q, t: _raised(c.error for c in clocksync.set_all(q, clocksync.host_time(), ["bad"])),
    ),
    "servicelist.installed": (commands.EXEC, lambda q, t: servicelist.installed(q, "bad")),
    "clocks.clock_set": (clock.GET, lambda q, t: clocks.clock_set(q, "bad")),
    "clocks.clock_synced": (clock.GET, lambda q, t: clocks.clock_synced(q, clock_vm="bad", vms=[], test=True)),
    "display.monitor_layout": (commands.EXEC, lambda q, t: display.monitor_layout(q, "bad", LAYOUT)),
    "display.send_layout": (
        monitors.SERVICE,
        lambda q, t: display.send_layout(q, "bad", LAYOUT, VMMonitors(()), deadline=Deadline.after(TIMEOUT)),
    ),
    "display.gui_mode": (commands.EXEC, lambda q, t: display.gui_mode(q, "bad", GuiMode.SEAMLESS)),
    "files.file_sent": (commands.EXEC, lambda q, t: sent.file_sent(q, "bad", str(t / "source"))),
    "files.remote_tree": (commands.EXEC, lambda q, t: sent.remote_tree(q, "bad", "x")),
    "programs.command_run": (commands.SHELL, lambda q, t: programs.command_run(q, "bad", "x").run(test=False)),
    "programs.handler_installed": (commands.ROOT_EXEC, lambda q, t: programs.handler_installed(q, "bad", "x.Y", b"#!")),
    "menu.appmenus_synced": (appmenus.SERVICE, lambda q, t: menu.appmenus_synced(q, "bad")),
    "storage.backup_made": (commands.EXEC, lambda q, t: storage.backup_made(q, "bad", str(t / "source"), "/b")),
    "storage.disk_resized": (commands.ROOT_EXEC, lambda q, t: storage.disk_resized(q, "bad")),
}

#: What a handler does, and the error that it is, of its status where it is one. The VM tells how its handler ended as a
#: shell does.
FAULTS = {
    "dies at start": ("exit 137", ServiceFailed, 137),
    "dies in the middle": ("head -c 3 >/dev/null; printf part; exit 137", ServiceFailed, 137),
    "floods its output": ("exec cat /dev/zero", OutputTooLarge, None),
    "never ends": ("exec sleep 1000", DeadlineExceeded, None),
    "leaves a child": ("sleep 1000 & exit 9", DeadlineExceeded, None),
    "floods its messages": (r"head -c 300000 /dev/urandom >&2; printf '\033[2J\007' >&2; exit 9", ServiceFailed, 9),
    "floods its messages without end": ("exec cat /dev/urandom >&2", DeadlineExceeded, None),
    "begins its messages with an escape": (r"printf '\033]0;owned\007\n\033[2J' >&2; exit 9", ServiceFailed, 9),
}
#: Where what came was read before the end, and is what is wrong.
OTHERS = {
    ("files.send", "dies in the middle"): RemoteProtocolError,
    # No archive from its first byte on, and the call ends long before its bound.
    ("backup.restore", "floods its output"): RemoteProtocolError,
    ("backup.restore single", "floods its output"): RemoteProtocolError,
    ("backup.restore_by_id", "floods its output"): RemoteProtocolError,
    ("templates.download", "floods its output"): RemoteProtocolError,
    ("templates.download", "dies in the middle"): RemoteProtocolError,
}


class Impatient(Qrexec):
    """Gives no call more than so many seconds."""

    def __init__(self, program: str, seconds: float) -> None:
        super().__init__(program)
        self._seconds = seconds

    def call(self, call: Call) -> Any:
        if call.deadline is not None:
            call.deadline.shorten(self._seconds)
        return super().call(dataclasses.replace(call, timeout=min(call.timeout, self._seconds)))


def callers() -> set[str]:
    """Return the names of all functions that call services, each behind its module's."""
    modules = [servicelist, clocks]
    for package in (vminterface.dom0.services, vminterface.dom0.ensure):
        modules += [
            importlib.import_module(f"{package.__name__}.{m.name}") for m in pkgutil.iter_modules(package.__path__)
        ]
    return {
        f"{module.__name__.rpartition('.')[2]}.{name}"
        for module in modules
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__
        and not name.startswith("_")
        and "qrexec" in inspect.signature(function).parameters
    }


def test_no_caller_is_left_out() -> None:
    # Those take a VM that cannot reply for one that has room, or a small backup: test_room.py.
    elsewhere = {"room.check", "room.check_here"}
    # And these call by functions that are here.
    elsewhere |= {"backup.backup_file", "backuplocation.lend_to_program"}
    assert {name.partition(" ")[0] for name in (*CALLS, *LOOKS)} == callers() - elsewhere


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", [*CALLS, *LOOKS])
def test_a_handler_that_misbehaves_is_our_error_in_time(
    vms: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, fault: str
) -> None:
    script, error, status = FAULTS[fault]
    error = OTHERS.get((name, fault), error)
    seconds = SOON if error is DeadlineExceeded else TIMEOUT
    monkeypatch.setattr(files, "EDITED_LIMIT", 1 << 20)
    place, temporary = tmp_path / "here", tmp_path / "temporary"
    place.mkdir()
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    (place / "source").write_bytes(bytes(1 << 20))
    service = (CALLS.get(name) or LOOKS[name])[0]
    rpmkeys(tmp_path / "bin", monkeypatch)
    vms.handler("bad", service, script)
    before = sorted(tmp_path.rglob("*"))

    def call() -> Any:
        if name in CALLS:
            return CALLS[name][1](Qrexec(vms.client), place, seconds)
        return LOOKS[name][1](Impatient(vms.client, seconds), place)

    started = time.monotonic()
    with pytest.raises(error) as caught:
        call()
    if error is DeadlineExceeded:
        assert time.monotonic() - started < seconds + 5
    said = str(caught.value)
    assert "bad" in said
    assert said.isascii()
    assert said.isprintable()
    assert len(said) < 600
    assert type(caught.value) is error
    assert not isinstance(caught.value, ServiceFailed) or caught.value.status == status
    assert sorted(tmp_path.rglob("*")) == before
    assert (place / "source").read_bytes() == bytes(1 << 20)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_vm_that_misbehaves_holds_up_no_other_clock(
    vms: StandIn, work: Path, qrexec: Qrexec, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    script, error, _ = FAULTS[fault]
    monkeypatch.setattr(clock, "get_clock", lambda q, vm, get=clock.get_clock: get(q, vm, timeout=1.0))
    vms.handler("bad", clock.GET, script)
    (work / "run/vminterface/clock-offset").write_text("9000000\n")
    bad, good = clocksync.set_all(qrexec, clocksync.host_time(), ["bad", "work"])
    assert isinstance(bad.error, error)
    assert good.error is None
    assert good.set
    assert good.drift == pytest.approx(9, abs=1)
