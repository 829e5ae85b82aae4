"""Input that no handler may take: a status, one line, and nothing in the VM has changed."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.echoserver import EchoServer
from tests.support.handlers import VM, Reply
from tests.support.qubesdb import Daemons
from tests.support.stores import need
from tests.support.terminals import Terminal
from tests.support.xrandr import xrandr_in
from vminterface.values.image import Image
from vminterface.vm.handlers.files import registered
from vminterface.vm.handlers.runtime.table import SERVICES
from vminterface.vm.machine.machine import Machine
from vminterface.wire.vmexec import encode

#: Of the services that read all they are told from their input: a message that the VM of these tests carries out.
VALID = {
    "qubes.SetMonitorLayout": b"1920 1080 0 0 508 285\n",
    "qubes.SetDateTime": b"2027-07-31T16:10:43+00:00\n",
    "qubes.SetGuiMode": b"SEAMLESS",
    "qubes.ResizeDisk": b"private",
    "qubes.DetachPciDevice": b"00:06.0",
    "qubes.GetImageRGBA": b"/usr/share/pixmaps/firefox.png\n",
    "qubes.Backup": b"/media/weekly\narchive",
    "qubes.OpenInVM": b"a.txt".ljust(256, b"\0") + b"hi\n",
    "qubes.OpenURL": b"https://www.example.org/a?b=c\n",
}
#: Those that need the caller's next word to end well: Restore is told how the receiver in dom0 fared.
REFUSE = (*VALID, "qubes.Restore", "qubes.TemplateSearch", "qubes.TemplateDownload")
#: Those that answer with more than a status, and which garbage is a message to them.
ANSWER = {
    # Any line may be a location, which is looked at when something is restored from it.
    "qubes.RegisterBackupLocation": {
        "non-ASCII",
        "not UTF-8",
        "digits of another script",
        "too many lines",
        "an option",
        "a path",
        "a command",
    },
    "qubes.RestoreById": set(),
    # A header of NULs is the end of a transfer.
    "qubes.Filecopy": {"NULs"},
}
#: Those that are told nothing by their input.
DEAF = (
    "qubes.WaitForSession",
    "qubes.WaitForRunningSystem",
    "qubes.WaitForNetworkUplink",
    "qubes.StartApp",
    "qubes.InstallUpdatesGUI",
    "qubes.GetAppmenus",
    "qubes.GetDate",
    "qubes.SelectFile",
    "qubes.SelectDirectory",
    "qubes.SuspendPre",
    "qubes.SuspendPost",
    "qubes.SuspendPreAll",
    "qubes.SuspendPostAll",
    "qubes.SyncNtpClock",
    "qubes.PostInstall",
)
#: Those whose argument says what is meant.
ARGUMENTS = {"qubes.StartApp": "firefox"}
#: Those that show their input in a terminal, whatever it is.
SHOWN = ("qubes.ShowInTerminal",)
#: Those that hand their input over to what the caller wants run: a shell, or the program of the argument.
SHELLS = ("qubes.VMShell", "qubes.VMShell+WaitForSession", "qubes.VMRootShell")
PROGRAMS = ("qubes.VMExec", "qubes.VMExecGUI", "qubes.VMRootExec")
#: Those that hand their input over to whatever listens at a port.
TUNNELS = ("qubes.ConnectTCP", "qubes.UpdatesProxy")
GARBAGE = {
    "nothing": b"",
    "an empty line": b"\n",
    "blanks": b"   \n",
    "a NUL": b"\0",
    "NULs": b"\0" * 4096,
    "1 MiB": bytes(range(256)) * 4096,
    "1 MiB of digits": b"1" * (1 << 20) + b"\n",
    "non-ASCII": "zażółć gęślą jaźń\n".encode(),
    "not UTF-8": b"\xff\xfe\xfd\n",
    "digits of another script": "\u0661\u0669\u0662\u0660 \u0661 \u0660 \u0660\n".encode(),
    "an escape sequence": b"\x1b]0;title\x07\n",
    "too many lines": b"1920 1080 0 0\n" * 17,
    "100,000 lines": b"\n" * 100_000,
    "an option": b"--help\n",
    "a path": b"../../etc/shadow\n",
    "a command": b"$(touch /tmp/x); `id`\n",
}
OUT_OF_RANGE = {
    "qubes.SetMonitorLayout": [
        b"1920 1080 0 0",
        b"0 1080 0 0\n",
        b"32768 1080 0 0\n",
        b"1920 32768 0 0\n",
        b"1920 1080 0 32768\n",
        b"1920 1080 0 0 65536 1\n",
        b"1920 1080 -1 0\n",
        b"1920 1080 0 0 508\n",
        b"1920 1080 0 0 508 285 1\n",
        b"1920  1080 0 0\n",
        b"1920 1080 0 0\r\n",
        b"01920 1080 0 0\n",
        b"1920 1080 0 0\n\n",
        b"1920 1080 0 0\n1280 x 0 0\n",
    ],
    "qubes.SetDateTime": [
        b"tomorrow\n",
        b"2027-02-29T00:00:00+00:00\n",
        b"2027-07-31T24:00:00+00:00\n",
        b"2027-07-31T16:10:60+00:00\n",
        b"2027-07-31T16:10:43+02:00\n",
        b"2027-07-31T16:10:43\n",
        b"1970-01-01T00:00:00+00:00\n",
        b"2027-07-31T16:10:43+00:00\n2027-07-31T16:10:43+00:00\n",
    ],
    "qubes.SetGuiMode": [b"seamless", b"SEAMLESS ", b"SEAMLESS\n\n", b"FULLSCREENSEAMLESS", b"FULLSCREEN\r\n"],
    "qubes.ResizeDisk": [b"volatile", b"PRIVATE", b"private root", b"/dev/xvdb", b"private\n\n"],
    "qubes.DetachPciDevice": [b"00:20.0", b"00:06.8", b"00:06", b"0:06.0", b"00:06.0/../x", b"00:06.0\n\n", b"00:0G.0"],
    "qubes.GetImageRGBA": [
        b"xdgicon:\n",
        b"xdgicon:../../../etc/passwd\n",
        b"xdgicon:.hidden\n",
        b"/nonexistent\n",
        b"/dev/zero\n",
        b"/etc\n",
        b"/etc/motd\n",
        b"-\n",
        b"-\nno picture",
        b"msl:-\n<image/>",
        b"/" + b"x" * 5000 + b"\n",
    ],
    "qubes.OpenURL": [
        b"www.example.org\n",
        b"file:///etc/passwd\n",
        b"HTTPS://www.example.org\n",
        b" https://www.example.org\n",
        b"https:/www.example.org\n",
        b"https://\n",
        b"https://www.example.org/a b\n",
        b"https://www.example.org\r\n",
        b"https://www.example.org/\x1b[0m\n",
        b"https://www.example.org/\xff\n",
        b"https://www.example.org/" + b"x" * 65536 + b"\n",
    ],
}


ENVIRONMENT = {"DISPLAY": ":7", "XDG_RUNTIME_DIR": "/run/user/1000"}
#: What it does shows in its log, with all of its caller's input that came through to it.
LOGGING = '#!/bin/sh\n{ echo "${0##*/} $*"; cat; } >>"${0%/*}/log"\n'
RED = Image(1, 1, b"\xff\x00\x00\xff").to_png()


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A volume of twice its file system's size."""
    need("" if shutil.which("mkfs.ext2") else "no mkfs.ext2 (Debian package e2fsprogs)")
    place = tmp_path_factory.mktemp("disk") / "image"
    place.write_bytes(bytes(1 << 20))
    subprocess.run(["mkfs.ext2", "-q", place], check=True, timeout=60)
    os.truncate(place, 2 << 20)
    return place.read_bytes()


def machine(top: Path, disk: bytes = b"") -> VM:
    """A VM in which each of the services has something to do."""
    one = VM(top / "vm")
    for folder in ("home/user/QubesIncoming/dom0", "run/user/1000/qubes-backup-location", "tmp", "media"):
        (one.root / folder).mkdir(parents=True)
    one.write("etc/motd", "hello\n")
    one.write("etc/vminterface/handlers.conf", "private-device = /disk\n")
    one.write("disk", disk)
    one.write("run/vminterface/clock-offset", "0\n")
    one.write("run/vminterface/gui-mode", "FULLSCREEN\n")
    one.write("run/vminterface/suspended/interfaces", "wls6\n")
    one.write("sys/class/net/wls6/flags", "0x1003\n")
    (one.root / "sys/class/net/wls6/device").symlink_to("../../../devices/wls6")
    one.write("sys/bus/pci/devices/0000:00:06.0/driver/unbind")
    one.write("usr/share/applications/firefox.desktop", "[Desktop Entry]\nName=Firefox\nExec=firefox\n")
    one.write("usr/share/pixmaps/firefox.png", RED)
    one.write("bin/bash")
    for hook in ("gui-mode.d/hook", "suspend-pre.d/hook.sh", "suspend-post.d/hook.sh", "post-install.d/hook.sh"):
        one.write(f"etc/qubes/{hook}", LOGGING, 0o755)
    for name in ("ip", "tee", "chronyc", "qrexec-client-vm"):
        one.write(f"bin/{name}", LOGGING, 0o755)
    # As long as a user looks at a file: one that ends at once has handed it to a running program.
    one.write("bin/qubes-open", f"{LOGGING}sleep 3.1\n", 0o755)
    one.write("bin/systemctl", f"{LOGGING}echo running\n", 0o755)
    (one.root / "run/systemd/system").mkdir(parents=True)
    for name in ("firefox", "dnf"):
        one.write(f"bin/{name}", LOGGING, 0o755)
    # Its other words tell where this machine's files are.
    one.write("bin/terminal", LOGGING.replace("$*", "$1"), 0o755)
    one.write("etc/vminterface/terminal-command", "terminal\n")
    one.write("bin/zenity", f"{LOGGING}echo /home/user/chosen\n", 0o755)
    one.write("bin/qubesdb-read", f'{LOGGING}[ "$1" = /qubes-gui-enabled ] && echo False\n', 0o755)
    return one


@pytest.fixture
def vm(tmp_path: Path, disk: bytes) -> VM:
    one = machine(tmp_path, disk)
    xrandr_in(one.root / "bin")
    return one


@pytest.fixture
def location(vm: VM, monkeypatch: pytest.MonkeyPatch) -> str:
    """The id of a backup that is registered in the VM for as long as this process lives."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as target:
        target.addfile(tarfile.TarInfo("backup-header"))
    vm.write("media/backup", archive.getvalue())
    monkeypatch.setenv("XDG_RUNTIME_DIR", ENVIRONMENT["XDG_RUNTIME_DIR"])
    return registered.add(Machine(str(vm.root)), "/media/backup")


def call(vm: VM, service: str, data: bytes, *arguments: str) -> Reply:
    return vm.call(service, data, *arguments, **ENVIRONMENT, PATH=f"{vm.root}/bin:{os.environ['PATH']}")


def refused(vm: VM, service: str, data: bytes, *arguments: str) -> str:
    """Check that *data* is refused and nothing has changed; return the reason."""
    before = vm.content()
    reason = call(vm, service, data, *arguments).refused(service)
    assert vm.content() == before
    assert len(reason) <= 400
    return reason


def test_every_service_of_the_table_is_given_garbage() -> None:
    assert sorted([*REFUSE, *ANSWER, *DEAF, *SHOWN, *SHELLS, *PROGRAMS, *TUNNELS]) == sorted(SERVICES)
    assert set(OUT_OF_RANGE) <= set(REFUSE)


@pytest.mark.parametrize("service", VALID)
def test_a_whole_message_is_carried_out(vm: VM, service: str) -> None:
    """Else nothing would follow from the refusals below."""
    before = vm.content()
    reply = call(vm, service, VALID[service])
    assert (reply.status, reply.stderr) == (0, "")
    if service == "qubes.GetImageRGBA":
        assert reply.stdout == b"1 1\n\xff\x00\x00\xff"
    else:
        assert reply.stdout == b""
        assert vm.content() != before


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize("service", REFUSE)
def test_garbage_is_refused(vm: VM, service: str, garbage: str) -> None:
    refused(vm, service, GARBAGE[garbage])


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize("service", ANSWER)
def test_garbage_is_answered_and_leaves_nothing(vm: VM, location: str, service: str, garbage: str) -> None:
    before = vm.content()
    reply = call(vm, service, GARBAGE[garbage], *([location] if service == "qubes.RestoreById" else []))
    assert (reply.status == 0) == (garbage in ANSWER[service])
    assert re.fullmatch(rf"{service}: [ -~]{{1,400}}\n" if reply.status else "", reply.stderr)
    assert vm.content() == before


@pytest.fixture(scope="module")
def qubesdb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of a QubesDB that a VM may have for its own."""
    with Daemons(tmp_path_factory.mktemp("qubesdb"), "work") as daemons:
        yield daemons.folder / "work/qubesdb.sock"


@pytest.mark.parametrize("service", DEAF)
def test_garbage_does_nothing_where_nobody_reads_it(tmp_path: Path, qubesdb: Path, service: str) -> None:
    def seen(vm: VM, data: bytes) -> tuple[int, bytes, str, dict[str, tuple[int, object]]]:
        (vm.root / "run/qubes").mkdir()
        (vm.root / "run/qubes/qubesdb.sock").symlink_to(qubesdb)
        reply = call(vm, service, data, *([ARGUMENTS[service]] if service in ARGUMENTS else []))
        # The one answer that no two calls share is the time.
        return reply.status, re.sub(rb"\d", b"0", reply.stdout), reply.stderr, vm.content()

    quiet = seen(machine(tmp_path / "quiet"), b"")
    assert (quiet[0], quiet[2]) == (0, "")
    if service not in ("qubes.GetAppmenus", "qubes.GetDate"):
        assert any(path.endswith("/log") for path in quiet[3])
    for number, data in enumerate(GARBAGE.values()):
        assert seen(machine(tmp_path / str(number)), data) == quiet


@pytest.mark.parametrize("service", SHOWN)
def test_garbage_is_shown_byte_for_byte(vm: VM, service: str) -> None:
    terminal = Terminal(vm.root)
    before = vm.content()
    for data in GARBAGE.values():
        reply = call(vm, service, data)
        assert (reply.status, reply.stdout, reply.stderr) == (0, b"", "")
        assert terminal.shown() == data
        terminal.clear()
    assert vm.content() == before


@pytest.mark.parametrize("service", [*SHELLS, *PROGRAMS])
def test_garbage_reaches_what_the_caller_wants_run_byte_for_byte(vm: VM, service: str) -> None:
    before = vm.content()
    for data in GARBAGE.values():
        if service in SHELLS:
            reply = call(vm, service, b"exec cat\n" + data)
        else:
            reply = call(vm, service, data, encode(["cat"]))
        assert (reply.status, reply.stdout, reply.stderr) == (0, data, "")
    assert vm.content() == before


@pytest.mark.parametrize("service", TUNNELS)
def test_garbage_reaches_what_listens_byte_for_byte(vm: VM, service: str) -> None:
    with EchoServer() as server:
        vm.write("etc/vminterface/handlers.conf", f"updates-proxy-port = {server.port}\n")
        before = vm.content()
        for data in GARBAGE.values():
            reply = call(vm, service, data, *([str(server.port)] if service == "qubes.ConnectTCP" else []))
            assert (reply.status, reply.stdout, reply.stderr) == (0, data, "")
        assert vm.content() == before


def test_what_is_no_port_is_refused(vm: VM) -> None:
    for argument in ("", "0", "080", "65536", "99999", "100000", "-1", "+80", "80.", "http", "127.0.0.1+80", "1e3"):
        reason = refused(vm, "qubes.ConnectTCP", b"", *([argument] if argument else []))
        assert reason == f"'{argument}' is not a valid port (expected 1 to 65535, no leading zero)"


@pytest.mark.parametrize("service", OUT_OF_RANGE)
def test_what_is_almost_right_is_refused(vm: VM, service: str) -> None:
    for data in OUT_OF_RANGE[service]:
        refused(vm, service, data)


@pytest.mark.parametrize(
    ("service", "needed"),
    [
        *((service, len(VALID[service])) for service in ("qubes.SetMonitorLayout", "qubes.SetGuiMode")),
        *((service, len(VALID[service])) for service in ("qubes.ResizeDisk", "qubes.DetachPciDevice")),
        ("qubes.GetImageRGBA", len(VALID["qubes.GetImageRGBA"])),
        # A whole time is one also without its line's end.
        ("qubes.SetDateTime", len(VALID["qubes.SetDateTime"]) - 1),
        # An archive has no end of its own: any byte of it may be the last.
        ("qubes.Backup", len(b"/media/weekly\n") + 1),
    ],
)
def test_a_message_that_breaks_off_is_refused_at_every_byte(vm: VM, service: str, needed: int) -> None:
    # Each piece of the picture's name is that of another one, which would be sent.
    for length in range(1, len("firefox")):
        vm.write(f"usr/share/pixmaps/{'firefox'[:length]}", RED)
    vm.write("usr/share/pixmaps/firefox.p", RED)
    for length in range(needed):
        refused(vm, service, VALID[service][:length])


def test_an_icon_whose_name_breaks_off_is_not_another_one(vm: VM) -> None:
    vm.write("usr/share/pixmaps/fire.png", RED)
    assert call(vm, "qubes.GetImageRGBA", b"xdgicon:fire\n").status == 0
    assert call(vm, "qubes.GetImageRGBA", b"xdgicon:firefox\n").status == 0
    for length in range(len("xdgicon:firefox") + 1):
        assert "inside the line" in refused(vm, "qubes.GetImageRGBA", b"xdgicon:firefox"[:length])


def test_a_location_that_breaks_off_is_not_registered_at_any_byte(vm: VM) -> None:
    line = b"/media/backup\n"
    assert re.fullmatch(rb"[0-9a-f]{8}\n", call(vm, "qubes.RegisterBackupLocation", line).stdout)
    for length in range(len(line)):
        refused(vm, "qubes.RegisterBackupLocation", line[:length])


@pytest.mark.parametrize(
    "service",
    sorted(
        {*REFUSE, *DEAF, *SHOWN, "qubes.RegisterBackupLocation", "qubes.UpdatesProxy"} - {*ARGUMENTS, "qubes.GetDate"}
    ),
)
def test_an_argument_is_refused_where_none_is_known(vm: VM, service: str) -> None:
    assert "does not accept an argument, but got 'x'" in refused(vm, service, VALID.get(service, b""), "x")


def test_a_caller_without_a_name_is_refused(vm: VM) -> None:
    for service in SERVICES:
        assert "calling VM" in vm.call(service, VALID.get(service, b""), source="../x").refused(service)


def test_a_caller_that_keeps_its_side_open_gets_its_line_answered(vm: VM) -> None:
    process = vm.start("qubes.GetImageRGBA")
    with process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(b"/nonexistent\n")
        process.stdin.flush()
        assert process.stderr.read().startswith(b"qubes.GetImageRGBA: /nonexistent: ")
        assert process.wait(10) == 1
