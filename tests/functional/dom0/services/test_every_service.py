"""Every service of the table, from dom0's call through the handler that is shipped to what it changes in the VM.

Scripts stand only for programs that cannot run here; each does what the real one would do to the VM.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.rpcstandin import StandIn
from tests.support.stores import need
from tests.support.xrandr import fake_xrandr
from vminterface.channel.qrexec import Qrexec
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
from vminterface.dom0.services.answer import Kept
from vminterface.dom0.unpack import Arrival
from vminterface.errors import RemoteProtocolError, ServiceFailed
from vminterface.values.device import PciAddress
from vminterface.values.guimode import GuiMode
from vminterface.values.image import Image
from vminterface.values.monitor import MonitorLayout
from vminterface.values.volume import Volume
from vminterface.vm.handlers.table import SERVICES

REGISTER, RESTORE_BY_ID = "qubes.RegisterBackupLocation", "qubes.RestoreById"


@dataclass
class World:
    """The running VM called work, with *root* for its file system, and what reaches it from dom0's folder *here*."""

    vms: StandIn
    root: Path
    qrexec: Qrexec
    here: Path

    def write(self, path: str, content: str | bytes = "", mode: int = 0o644) -> Path:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content.encode() if isinstance(content, str) else content)
        place.chmod(mode)
        return place

    def read(self, path: str) -> str:
        return (self.root / path).read_text()

    def hook(self, path: str) -> None:
        """Put an admin's program there, which logs that it was run."""
        self.write(path, f'#!/bin/sh\necho "${{0##*/}} $*" >>{self.root}/log\n', 0o755)

    def program(self, name: str, script: str = "") -> None:
        """Put a program there, which logs what it was asked for and then runs *script*."""
        self.vms.program("work", name, f'echo "{name} $*" >>{self.root}/log\n{script}\n')

    def logged(self) -> list[str]:
        """Return what was logged since the last time."""
        lines = self.read("log").splitlines()
        (self.root / "log").unlink()
        return lines


@pytest.fixture
def world(vms: StandIn, work: Path, qrexec: Qrexec, tmp_path: Path) -> World:
    return World(vms, work, qrexec, tmp_path)


Effect = Callable[[World], None]
EFFECTS: dict[str, Effect] = {}


def of(*services: str) -> Callable[[Effect], Effect]:
    """Let the function be the one that shows the effect of *services*."""

    def keep(effect: Effect) -> Effect:
        EFFECTS.update(dict.fromkeys(services, effect))
        return effect

    return keep


# The table itself is the list: a service without a function of its own below fails here.
@pytest.mark.parametrize("service", SERVICES)
def test_a_call_has_its_effect_by_the_handler_that_is_shipped(world: World, service: str) -> None:
    EFFECTS[service](world)
    assert service in world.vms.ran()


@of("qubes.SetMonitorLayout")
def _monitors_are_arranged(world: World) -> None:
    layout = MonitorLayout.parse("1920 1080 0 0 508 285\n1280 800 1920 0\n")
    fake_xrandr(world.vms, "work")
    assert monitors.of_vm(world.qrexec, "work").layout is None
    monitors.set_layout(world.qrexec, "work", layout)
    assert monitors.of_vm(world.qrexec, "work").layout == layout
    assert world.read("run/vminterface/monitors") == layout.render()


@of("qubes.WaitForSession")
def _the_session_is_waited_for(world: World) -> None:
    _later(world)
    began = time.monotonic()
    assert session.wait(world.qrexec, "work", timeout=30) is True
    assert time.monotonic() - began > 0.9
    (world.root / "run/systemd/system").mkdir(parents=True)
    world.vms.program("work", "systemctl", "[ $2 = show ] && echo degraded || echo 'one.service loaded failed failed'")
    assert session.wait(world.qrexec, "work", timeout=30) is False


def _later(world: World) -> None:
    """Let the session come up in a second."""
    socket = world.root / "run/qubes/qrexec-server.user.sock"
    socket.unlink()
    world.write("etc/vminterface/handlers.conf", "session-timeout = 20\n")
    # From the outside, since whoever waits for it holds this thread.
    threading.Timer(1, world.vms.session, ["work"]).start()


@of("qubes.GetAppmenus")
def _applications_are_listed(world: World) -> None:
    assert list(appmenus.get(world.qrexec, "work")) == []
    world.write("usr/share/applications/firefox.desktop", "[Desktop Entry]\nName=Firefox\nExec=firefox %u\n")
    (found,) = appmenus.get(world.qrexec, "work")
    assert (found.id, found.values["Name"]) == ("firefox", "Firefox")


@of("qubes.GetImageRGBA")
def _an_icon_of_a_theme_is_saved(world: World) -> None:
    red_and_green = Image(2, 1, b"\xff\x00\x00\xff\x00\xff\x00\x80")
    theme = "usr/share/icons/hicolor"
    world.write(f"{theme}/index.theme", "[Icon Theme]\nDirectories=48x48/apps\n[48x48/apps]\nSize=48\n")
    world.write(f"{theme}/48x48/apps/firefox.png", red_and_green.to_png())
    found = images.icon(world.qrexec, "work", "firefox")
    images.save(found, world.here / "icon.png")
    assert (world.here / "icon.png").read_bytes() == red_and_green.to_png()
    with pytest.raises(ServiceFailed, match="no theme here has an icon chromium"):
        images.icon(world.qrexec, "work", "chromium")
    path = world.write("home/user/a picture.png", red_and_green.to_png())
    assert images.picture(world.qrexec, "work", str(path)) == red_and_green


@of("qubes.SetDateTime", "qubes.GetDate")
def _the_clock_is_set_and_read(world: World) -> None:
    told = clock.set_clock(world.qrexec, "work", datetime.now(UTC) + timedelta(hours=1))
    assert abs(clock.get_clock(world.qrexec, "work") - told) < timedelta(seconds=5)


@of("qubes.SetGuiMode")
def _the_hooks_hear_of_the_gui_mode(world: World) -> None:
    world.hook("etc/qubes/gui-mode.d/10-desktop")
    for mode in (GuiMode.SEAMLESS, GuiMode.FULLSCREEN):
        gui.set_mode(world.qrexec, "work", mode)
        assert world.logged() == [f"10-desktop {mode.value}"]
        assert world.read("run/vminterface/gui-mode") == f"{mode.value}\n"


@of("qubes.ResizeDisk")
def _a_file_system_fills_its_volume(world: World) -> None:
    need("" if shutil.which("mkfs.ext2") else "no mkfs.ext2 (Debian package e2fsprogs)")
    volume = world.write("disk", bytes(1 << 20))
    subprocess.run(["mkfs.ext2", "-q", "-b", "1024", volume], check=True, timeout=60)
    os.truncate(volume, 4 << 20)
    world.write("etc/vminterface/handlers.conf", "private-device = /disk\n")
    disk.resize(world.qrexec, "work", Volume.PRIVATE)
    # The number of its blocks (ext4(5), s_blocks_count_lo).
    assert int.from_bytes(volume.read_bytes()[1028:1032], "little") == 4096


@of("qubes.DetachPciDevice")
def _a_pci_device_is_let_go(world: World) -> None:
    unbind = world.write("sys/bus/pci/devices/0000:00:06.0/driver/unbind")
    pci.detach(world.qrexec, "work", PciAddress.parse("00:06.0"))
    assert unbind.read_text() == "0000:00:06.0"


@of("qubes.Filecopy")
def _a_tree_arrives(world: World) -> None:
    (world.here / "things/sub").mkdir(parents=True)
    (world.here / "things/sub/a.txt").write_text("hi\n")
    files.send(world.qrexec, "work", [world.here / "things"])
    assert world.read("home/user/QubesIncoming/dom0/things/sub/a.txt") == "hi\n"


@of("qubes.OpenInVM")
def _a_file_is_edited(world: World) -> None:
    _later(world)
    world.program("qubes-open", 'echo more >>"$1"')
    note = world.here / "note.txt"
    note.write_text("text\n")
    assert files.open_in_vm(world.qrexec, "work", note, timeout=60) is True
    assert note.read_text() == "text\nmore\n"
    assert len(world.logged()) == 1


@of("qubes.SelectFile", "qubes.SelectDirectory")
def _a_path_is_chosen_or_not(world: World) -> None:
    with pytest.raises(ServiceFailed, match="no graphical session"):
        dialogs.select_file(world.qrexec, "work")
    world.write("etc/environment", "DISPLAY=:0\n")
    world.program("zenity", '[ "$2" = --directory ] && echo "$HOME" || echo "$HOME/a file (1).txt"')
    assert dialogs.select_file(world.qrexec, "work") == f"{world.root}/home/user/a file (1).txt"
    assert dialogs.select_directory(world.qrexec, "work") == f"{world.root}/home/user"
    assert world.logged() == ["zenity --file-selection", "zenity --file-selection --directory"]
    world.program("zenity", "echo 'Gtk-WARNING: nothing of importance' >&2; exit 1")
    assert dialogs.select_file(world.qrexec, "work") is None
    assert dialogs.select_directory(world.qrexec, "work") is None
    world.program("zenity", r"printf '/home/\033[2J\n'")
    with pytest.raises(ServiceFailed, match=r"SelectFile in work: exit status 1: .*\\x1b"):
        dialogs.select_file(world.qrexec, "work")


def archive(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


@of("qubes.Backup", "qubes.Restore")
def _a_backup_is_kept_and_comes_back(world: World) -> None:
    folder = world.root / "home/user/backups"
    folder.mkdir()
    backup.backup(world.qrexec, "work", str(folder), io.BytesIO(archive(header=b"version=4\n", private=bytes(9999))))
    (kept,) = folder.iterdir()
    backup.restore(world.qrexec, "work", str(kept), world.here / "back", ["header"])
    assert [(file.name, file.read_text()) for file in (world.here / "back").iterdir()] == [("header", "version=4\n")]


@of(REGISTER, RESTORE_BY_ID)
def _a_registered_location_is_restored_by_its_id(world: World) -> None:
    location = world.write("home/user/b.tar", archive(header=b"version=4\n"))
    name = Kept()

    def restored_meanwhile():
        yield backup.line(str(location))
        while not name.untrusted_data.endswith(b"\n"):
            yield None
        restore(name.untrusted_data.decode().strip(), "back")

    def restore(identifier: str, place: str) -> None:
        def conversation():
            yield b"\n"
            while arrival.result is None:
                yield None
            yield arrival.result.render()

        with Arrival(str(world.here / place), backup.LIMITS) as arrival:
            world.qrexec.call(
                "work", RESTORE_BY_ID, identifier, stdin=conversation(), stdout_limit=1 << 20, stdout_to=arrival
            )
            arrival.put("the restored files")

    world.qrexec.call("work", REGISTER, stdin=restored_meanwhile(), stdout_limit=100, stdout_to=name)
    assert (world.here / "back/header").read_text() == "version=4\n"
    with pytest.raises(ServiceFailed, match="is registered as"):
        restore(name.untrusted_data.decode().strip(), "back again")


@of("qubes.SuspendPre", "qubes.SuspendPost", "qubes.SuspendPreAll", "qubes.SuspendPostAll")
def _devices_are_let_go_for_the_sleep_and_taken_back(world: World) -> None:
    for hook in ("suspend-pre.d/10-mount.sh", "suspend-post.d/20-mount.sh"):
        world.hook(f"etc/qubes/{hook}")
    for name in ("ip", "modprobe"):
        world.program(name)
    world.write("sys/class/net/wls6/flags", "0x1003\n")
    (world.root / "sys/class/net/wls6/device").symlink_to("../../../devices/wlan")
    device = world.root / "sys/bus/pci/devices/0000:00:06.0"
    device.mkdir(parents=True)
    driver = world.write("sys/bus/pci/drivers/iwlwifi/unbind").parent
    (device / "driver").symlink_to(driver)
    world.write("proc/modules", "iwlwifi 300000 1 - Live 0x0\n")
    world.write("proc/sys/vm/compact_memory")
    world.write("etc/qubes-suspend-module-blacklist", "iwlwifi\n")

    assert suspend.before(world.qrexec, ["work"], ["work"]) == []
    assert world.logged() == ["10-mount.sh ", "ip link set dev wls6 down", "modprobe -r iwlwifi"]
    assert (driver / "unbind").read_text() == "0000:00:06.0"
    assert world.vms.ran() == [suspend.PRE_ALL, suspend.PRE]

    (device / "driver").unlink()
    assert suspend.after(world.qrexec, ["work"], ["work"]) == []
    assert world.logged() == ["modprobe iwlwifi", "ip link set dev wls6 up", "20-mount.sh "]
    assert (driver / "bind").read_text() == "0000:00:06.0"
    assert world.read("proc/sys/vm/compact_memory") == "1"
    assert list((world.root / "run/vminterface/suspended").iterdir()) == []

    world.write("etc/qubes/suspend-pre.d/30-bad.sh", "#!/bin/sh\nexit 3\n", 0o755)
    world.program("modprobe", "exit 1")
    failures = suspend.before(world.qrexec, ["work"], ["work"])
    assert [(failure.vm, failure.service) for failure in failures] == [
        ("work", suspend.PRE_ALL),
        ("work", suspend.PRE),
    ]
    assert "30-bad.sh ended with status 3" in str(failures[0].error)
    assert "modprobe ended with status 1" in str(failures[1].error)


@of("qubes.SyncNtpClock")
def _the_network_sets_the_clock(world: World) -> None:
    world.write("run/vminterface/clock-offset", "9000000\n")
    for name in ("chronyc", "systemctl", "ntpdate", "ntpd"):
        world.program(name, "exit 1")
    with pytest.raises(ServiceFailed, match=r"SyncNtpClock in work: .*ntpdate ended with status 1"):
        timesync.sync_ntp_clock(world.qrexec, "work")
    assert clock.get_clock(world.qrexec, "work") - datetime.now(UTC) > timedelta(seconds=5)
    world.logged()
    world.program("chronyc", f"[ $1 != makestep ] || echo 0 >{world.root}/run/vminterface/clock-offset")
    timesync.sync_ntp_clock(world.qrexec, "work")
    assert "chronyc makestep" in world.logged()
    assert abs(clock.get_clock(world.qrexec, "work") - datetime.now(UTC)) < timedelta(seconds=5)


SCRIPT = 'echo "$QREXEC_USER" >>made; cat >>made; [ -S {}/run/qubes/qrexec-server.user.sock ] && echo up; exit 5\n'


def _run_a_shell(world: World, **how: bool) -> tuple[bytes, str]:
    output = commands.shell(world.qrexec, "work", SCRIPT.format(world.root), stdin=b"input", **how)
    assert output.status == 5
    return output.untrusted_stdout, world.read("home/user/made")


@of("qubes.VMShell")
def _a_shell_runs_a_script(world: World) -> None:
    assert _run_a_shell(world) == (b"up\n", "DEFAULT\ninput")


@of("qubes.VMRootShell")
def _a_shell_of_root_runs_a_script(world: World) -> None:
    assert _run_a_shell(world, root=True) == (b"up\n", "root\ninput")


@of("qubes.VMShell+WaitForSession")
def _a_shell_runs_a_script_when_the_session_is_up(world: World) -> None:
    _later(world)
    assert _run_a_shell(world, wait_for_session=True) == (b"up\n", "DEFAULT\ninput")


def _run_a_program(world: World, **how: bool) -> tuple[bytes, str]:
    argv = ["sh", "-c", SCRIPT.format(world.root), "a b", "ż"]
    output = commands.execute(world.qrexec, "work", argv, stdin=b"input", **how)
    assert output.status == 5
    return output.untrusted_stdout, world.read("home/user/made")


@of("qubes.VMExec")
def _a_program_is_run(world: World) -> None:
    assert _run_a_program(world) == (b"up\n", "DEFAULT\ninput")


@of("qubes.VMRootExec")
def _a_program_is_run_as_root(world: World) -> None:
    assert _run_a_program(world, root=True) == (b"up\n", "root\ninput")


@of("qubes.VMExecGUI")
def _a_program_is_run_when_the_session_is_up(world: World) -> None:
    _later(world)
    assert _run_a_program(world, gui=True) == (b"up\n", "DEFAULT\ninput")


def test_a_session_that_never_comes_up_holds_a_call_for_its_time_alone(world: World) -> None:
    """As the agent goes on then, so does the stand-in: the handler is started all the same."""
    (world.root / "run/qubes/qrexec-server.user.sock").unlink()
    world.write("etc/vminterface/handlers.conf", "session-timeout = 1\n")
    assert _run_a_program(world, gui=True) == (b"", "DEFAULT\ninput")


def test_an_answer_that_is_no_path_is_the_vms_fault(world: World) -> None:
    """The shipped handler sends none; another one may."""
    world.vms.handler("other", dialogs.FILE, r"printf '/home/\033[2J'")
    with pytest.raises(RemoteProtocolError, match=r"qubes.SelectFile in other: '/home/\\x1b\[2J' is no path"):
        dialogs.select_file(world.qrexec, "other")
