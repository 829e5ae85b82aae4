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
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.echoserver import EchoServer
from tests.support.qubesdb import Daemons
from tests.support.rpcstandin import StandIn
from tests.support.stores import need
from tests.support.templates import rpmkeys, web
from tests.support.terminals import Terminal
from tests.support.world import World
from tests.support.xrandr import fake_xrandr
from vminterface.channel.qrexec.client import Call, Qrexec
from vminterface.dom0.services import (
    appmenus,
    apps,
    backup,
    backuplocation,
    clock,
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
from vminterface.errors import RemoteProtocolError, ServiceFailed
from vminterface.values.device import PciAddress
from vminterface.values.guimode import GuiMode
from vminterface.values.image import Image
from vminterface.values.monitor import MonitorLayout
from vminterface.values.volume import Volume
from vminterface.vm.handlers.runtime.table import SERVICES


@pytest.fixture
def tmp_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a short name: the path of a socket has 107 bytes at most."""
    return tmp_path_factory.mktemp("w")


@pytest.fixture
def world(vms: StandIn, work: Path, qrexec: Qrexec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(vms, work, qrexec, tmp_path, monkeypatch)


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


@of("qubes.WaitForRunningSystem")
def _the_system_is_waited_for(world: World) -> None:
    (world.root / "run/systemd/system").mkdir(parents=True)
    world.program("systemctl", "echo running")
    assert readiness.wait_for_system(world.qrexec, "work") is True
    assert world.logged() == ["systemctl is-system-running --wait"]
    world.program("systemctl", "[ $1 = list-units ] && echo one.service loaded failed failed || echo degraded")
    assert readiness.wait_for_system(world.qrexec, "work") is False
    world.program("systemctl", "echo stopping; exit 1")
    with pytest.raises(ServiceFailed, match="the system is not starting: its state is 'stopping'"):
        readiness.wait_for_system(world.qrexec, "work")


@of("qubes.WaitForNetworkUplink")
def _the_uplink_is_waited_for(world: World) -> None:
    assert readiness.wait_for_uplink(world.qrexec, "work") is True
    world.vms.program("work", "qubesdb-read", "[ $1 = /qubes-mac ] && echo 00:16:3e:5e:6c:00")
    world.write("sys/class/net/eth0/address", "00:16:3e:5e:6c:00\n")
    state = world.write("sys/class/net/eth0/operstate", "down\n")
    timer = threading.Timer(0.5, state.write_text, ["up\n"])
    timer.start()
    began = time.monotonic()
    assert readiness.wait_for_uplink(world.qrexec, "work") is True
    assert time.monotonic() - began > 0.4


@of("qubes.StartApp")
def _an_application_of_the_menu_is_started(world: World) -> None:
    _later(world)
    world.program("an-app", '[ "$2" != fail ] || { echo cannot >&2; exit 4; }')
    for id_ in ("an-app", "sub/other", "fail"):
        path = f"home/user/.local/share/applications/{id_}.desktop"
        world.write(path, f'[Desktop Entry]\nName=An App\nExec=an-app "for {id_}" {id_} %U\n')
    listed = [entry.id for entry in appmenus.get(world.qrexec, "work")]
    assert listed == ["an-app", "fail", "sub-other"]
    for id_, words in (("an-app", "for an-app an-app"), ("sub-other", "for sub/other sub/other")):
        for wait in (True, False):
            assert apps.start(world.qrexec, "work", id_, wait=wait) is False
            assert world.logged() == [f"an-app {words}"]
    for id_, why in (("fail", "an-app ended with status 4 at once"), ("none", "the application none does not exist")):
        for wait in (True, False):
            with pytest.raises(ServiceFailed, match=f"qubes.StartApp in work: exit status 1: .*{why}"):
                apps.start(world.qrexec, "work", id_, wait=wait)


@of("qubes.OpenURL")
def _an_address_is_opened(world: World) -> None:
    world.program("qubes-open")
    for wait in (True, False):
        assert apps.open_url(world.qrexec, "work", "https://www.example.org/?a=b&c", wait=wait) is False
        assert world.logged() == ["qubes-open https://www.example.org/?a=b&c"]


@of("qubes.InstallUpdatesGUI")
def _updates_are_installed_in_a_terminal(world: World) -> None:
    world.write("etc/vminterface/terminal-command", "terminal\n")
    world.write("etc/vminterface/update-command", "update --all\n")
    world.vms.program("work", "terminal", 'echo | "$@"\n')
    world.vms.program("work", "su", 'for script; do :; done; exec sh -c "$script"\n')
    world.program("update")
    world.program("systemctl", "exit 1")
    tools.show_updates(world.qrexec, "work")
    assert world.logged()[0] == "update --all"


@of("qubes.ShowInTerminal")
def _a_text_is_shown_until_a_key_is_pressed(world: World) -> None:
    terminal = Terminal(world.root, "this window] ", "x\r")
    assert terminals.show(world.qrexec, "work", "Zażółć\nthis\n", timeout=60) is True
    assert terminal.shown().decode() == "Zażółć\r\nthis\r\n\r\n[Enter closes this window] "
    # Closed by its user, without a key.
    terminal.clear()
    Terminal(world.root, "nothing")
    timer = threading.Timer(1, lambda: os.kill(terminal.processes()[0], 1))
    timer.start()
    assert terminals.show(world.qrexec, "work", "text", timeout=60) is False


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
    with pytest.raises(ServiceFailed, match="no theme has an icon chromium"):
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


@of(backuplocation.SERVICE, backup.RESTORE_BY_ID)
def _a_registered_location_is_restored_by_its_id(world: World) -> None:
    location = world.write("home/user/b.tar", archive(header=b"version=4\n", private=b"x"))
    ids = []

    def restore(identifier: str) -> backup.Restored:
        ids.append(identifier)
        return backup.restore_by_id(world.qrexec, "work", identifier, world.here / "back", ["header"])

    assert backuplocation.lend(world.qrexec, "work", str(location), restore).files == ("header",)
    assert (world.here / "back/header").read_text() == "version=4\n"
    with pytest.raises(ServiceFailed, match="is no longer registered"):
        backup.restore_by_id(world.qrexec, "work", ids[0], world.here / "back again")


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


@of("qubes.TemplateSearch", "qubes.TemplateDownload")
def _a_template_is_found_and_fetched(world: World) -> None:
    package = b"\xed\xab\xee\xdb" + os.urandom(300_000)
    (world.here / "web").mkdir()
    (world.here / "web/debian.rpm").write_bytes(package)
    (world.here / "key").write_text("key")
    rpmkeys(world.here / "bin", world.monkeypatch)
    row = f"qubes-template-debian-13|0|4.3.0|1|main|{len(package)}|1750000000|GPL|https://example.org/|Debian|All|"
    with web(world.here / "web") as port:
        where = f"http://127.0.0.1:{port}/debian.rpm"
        world.program("dnf5", f"case $* in repoquery*) echo '{row}' ;; download*--url*) echo {where} ;; esac")
        desired = templates.request("qubes-template-debian-*", files=[], release="4.3")
        (found,) = templates.search(world.qrexec, "work", desired)
        assert (found.package, found.size) == ("qubes-template-debian-13-0:4.3.0-1", len(package))
        desired = templates.request(found.package, files=[], release="4.3")
        place = world.here / "debian.rpm"
        templates.download(world.qrexec, "work", desired, str(place), str(world.here / "key"), size=found.size)
    assert place.read_bytes() == package


@of("qubes.PostInstall")
def _dom0_hears_what_the_vm_can_do(world: World) -> None:
    world.write("etc/os-release", "ID=debian\nVERSION_ID='13'\n")
    world.write("usr/share/applications/firefox.desktop", "[Desktop Entry]\nName=Firefox\nExec=firefox %u\n")
    world.hook("etc/qubes/post-install.d/20-admin.sh")
    world.program("qrexec-client-vm", f"cat >>{world.root}/sent")
    with Daemons(world.here / "qubesdb", "work") as daemons:
        (world.root / "run/qubes/qubesdb.sock").symlink_to(daemons.folder / "work/qubesdb.sock")
        assert postinstall.post_install(world.qrexec, "work") == ""
        with daemons.dom0("work") as store:
            assert store.read_many(["/features-request/os-distribution", "/features-request/os-version"]) == [
                b"debian",
                b"13",
            ]
    assert world.logged() == [
        "20-admin.sh ",
        "qrexec-client-vm dom0 qubes.FeaturesRequest",
        "qrexec-client-vm dom0 qubes.SyncAppMenus",
    ]
    assert "firefox.desktop:Name=Firefox\n" in world.read("sent")


@of("qubes.ConnectTCP", "qubes.UpdatesProxy")
def _a_port_of_the_vm_is_reached(world: World) -> None:
    with EchoServer() as server:
        world.write("etc/vminterface/handlers.conf", f"updates-proxy-port = {server.port}\n")
        for service, argument in (("qubes.ConnectTCP", str(server.port)), ("qubes.UpdatesProxy", "")):
            reply = world.qrexec.call(Call("work", service, argument, stdin=b"GET / HTTP/1.1\r\n\r\n"))
            assert reply.untrusted_stdout == b"GET / HTTP/1.1\r\n\r\n"
    with pytest.raises(ServiceFailed, match=rf"ConnectTCP in work: .*port {server.port} of 127.0.0.1 cannot be conn"):
        world.qrexec.call(Call("work", "qubes.ConnectTCP", str(server.port)))


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


def _run_a_program(world: World, *, gui: bool = False, root: bool = False) -> tuple[bytes, str]:
    argv = ["sh", "-c", SCRIPT.format(world.root), "a b", "ż"]
    output = commands.execute(world.qrexec, "work", argv, stdin=b"input", gui=gui, root=root)
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
    with pytest.raises(RemoteProtocolError, match=r"qubes.SelectFile in other: '/home/\\x1b\[2J' is not a path"):
        dialogs.select_file(world.qrexec, "other")
