"""Whatever stands in the place of a file that the agent, a report or a handler reads, none of them hangs on it.

The list of files is that of a recorded run: every path below the VM's root that was opened to be read. Each of them is
then a pipe, a file without end, a folder, a device and a socket.
"""

from __future__ import annotations

import functools
import os
import select
import signal
import socket
import stat
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.agentcall import within
from tests.support.fakesysfs import DISKS, FakeSysfs
from tests.support.handlers import VM
from vminterface.errors import VMInterfaceError
from vminterface.values.keyboard import KeyboardLayout
from vminterface.vm.agent.agent import ON_DEMAND
from vminterface.vm.apply import debug, keyboard, name, network, provider, services, timezone
from vminterface.vm.handlers import suspendpost
from vminterface.vm.handlers.runtime import owner
from vminterface.vm.handlers.runtime.table import SERVICES
from vminterface.vm.machine.machine import Machine
from vminterface.vm.net import resolvers
from vminterface.vm.report import blockdevices, memory, usbdevices

#: Seconds that one run may take: more than any deadline that is set below.
BOUND = 15.0
KEYMAP = KeyboardLayout.parse("fr").keymap().render()
IMAGE = bytes.fromhex(
    "89504e470d0a1a0a0000000d494844520000000100000001080600000015c4890000000d49444154789c63f8ffff3f0005fe02fea735818400"
    "00000049454e44ae426082"
)
#: What is sent to each service that reads a file.
INPUTS = {
    "qubes.GetImageRGBA": b"xdgicon:app\n",
    "qubes.OpenInVM": b"a.txt".ljust(256, b"\0") + b"hi\n",
    "qubes.Restore": b"/home/user/backup\n\n",
    "qubes.RestoreById": b"0123abcd\n\n",
    "qubes.ResizeDisk": b"private",
    "qubes.SetDateTime": b"2026-01-02T03:04:05+00:00",
    "qubes.SetMonitorLayout": b"800 600 0 0\n",
    "qubes.SetGuiMode": b"SEAMLESS",
    "qubes.DetachPciDevice": b"00:06.0",
    "qubes.Backup": b"/home/user\nx",
}


def populate(root: Path) -> VM:
    """Make a VM's files below *root*: all that has a reader."""
    vm = VM(root)
    vm.write("/etc/debian_version", "12.0\n")
    vm.write("/etc/timezone", "UTC\n")
    vm.write("/etc/localtime", "TZif2")
    vm.write("/etc/hostname", "old\n")
    vm.write("/etc/hosts", "127.0.1.1 old\n")
    vm.write("/etc/resolv.conf", "nameserver 192.0.2.1\n")
    vm.write("/etc/passwd", f"user:x:{os.geteuid()}:0::/home/user:/bin/sh\n")
    vm.write("/etc/qubes/protected-files.d/mine", "/etc/none\n")
    vm.write("/etc/qubes-release", "Qubes release 4.3\n")
    vm.write("/usr/share/zoneinfo/Europe/Warsaw", b"TZif2" + bytes(40))
    vm.write("/run/qubes-service-environment", "A=b\n")
    vm.write("/run/vminterface/services.json", "{}\n")
    vm.write("/run/vminterface/keyboard", "x")
    vm.write("/run/vminterface/clock-offset", "0\n")
    for kind in ("interfaces", "pci-devices", "modules"):
        vm.write(f"/run/vminterface/suspended/{kind}", "x y\n")
    vm.write("/home/user/.config/qubes-keyboard-layout.rc", "cz\n")
    vm.write("/home/user/.local/share/applications/app.desktop", "[Desktop Entry]\nName=App\nExec=app\n")
    vm.write("/home/user/.icons/hicolor/index.theme", "[Icon Theme]\nDirectories=1\n[1]\nSize=1\n")
    vm.write("/home/user/.icons/hicolor/1/app.png", IMAGE)
    with tarfile.open(vm.write("/home/user/backup"), "w") as archive:
        archive.add(root / "etc/hosts", "hosts")
    started = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    vm.write("/run/user/0/qubes-backup-location/0123abcd", f"{os.getpid()}\n{started}\n/home/user/backup\n")
    vm.write("/etc/vminterface/handlers.conf", "session-timeout = 1\nopen-timeout = 1\nprivate-device = /disk\n")
    for path in owner.PATHS:
        vm.write(path, "other-settings = accept\n")
    vm.write("/etc/vminterface/open-command", "/bin/false\n")
    vm.write("/disk", bytes(1024))
    vm.write("/tmp/x").unlink()
    vm.write("/proc/cmdline", "quiet\n")
    vm.write("/proc/modules", "some 1\n")
    vm.write(
        "/proc/meminfo",
        "MemTotal: 10 kB\nMemFree: 1 kB\nBuffers: 1 kB\nCached: 1 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n",
    )
    devices = FakeSysfs(root)
    devices.block("sda", "8:0", udev={"ID_MODEL": "x"})
    devices.usb("2-1", udev={"ID_MODEL": "x"})
    vm.write("/etc/qubes-suspend-module-blacklist", "some\n")
    vm.write("/rw/config/suspend-module-blacklist", "some\n")
    vm.write("/sys/bus/pci/devices/0000:00:06.0/class", "0x020000\n")
    vm.write("/sys/bus/pci/devices/0000:00:06.0/vendor", "0x1234\n")
    vm.write("/sys/bus/pci/devices/0000:00:06.0/subsystem_vendor", "0x1234\n")
    (root / "sys/bus/pci/devices/0000:00:06.0/driver").symlink_to("../../drivers/e1000")
    (root / "sys/bus/pci/drivers/e1000").mkdir(parents=True)
    vm.write("/sys/bus/pci/drivers/e1000/unbind")
    return vm


AGENT: dict[str, Callable[[Machine], object]] = {
    "name": lambda m: name.apply({"name": "work"}, m),
    "timezone": lambda m: timezone.apply({"timezone": "Europe/Warsaw"}, m),
    "services": lambda m: services.apply({"services:cups": "1"}, m),
    "network": lambda m: network.apply({}, m),
    "provider": lambda m: provider.apply({}, m),
    "resolvers": resolvers.current,
    "keyboard": lambda m: keyboard.apply({"keymap": KEYMAP}, m),
    "debug": lambda m: debug.apply({"debug": "1"}, m),
    "block devices": lambda m: blockdevices.read(m, frozenset()),
    "USB devices": lambda m: usbdevices.read(m),
    "owner": owner.Owner,
    "memory": lambda m: memory.MemoryReport(m).measure(),
}


def run(what: str, vm: VM) -> None:
    """Do one of AGENT, or answer one service, in this process."""
    os.environ.update(HOME="/home/user", PATH="/nowhere", XDG_RUNTIME_DIR="/run/user/0", XDG_DATA_DIRS="/usr/share")
    if what in AGENT:
        AGENT[what](Machine(str(vm.root)))
        return
    module = f"vminterface.vm.handlers.{SERVICES[what].module}"
    suspendpost.INTERFACE_TIMEOUT = 0.1
    with within(vm, what, INPUTS.get(what, b"")) as (call, _):
        if what == "qubes.RestoreById" or what.startswith("qubes.VM"):
            return
        sys.modules[module].handle(call)


def in_child(work: Callable[[int], None], where: str = "") -> str:
    """Do *work* in a forked process, with a descriptor to say something on; fail if it does not end within BOUND."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        os.setsid()
        try:
            work(writer)
        except (VMInterfaceError, OSError) as error:
            os.write(writer, f"error: {error}\n".encode())
        except BaseException as error:
            os.write(writer, f"unexpected {type(error).__name__}: {error}\n".encode())
        os._exit(0)
    os.close(writer)
    handle = os.pidfd_open(pid)
    try:
        ended = bool(select.select([handle], [], [], BOUND)[0])
        if not ended:
            os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        with open(reader, encoding="utf-8", errors="replace") as words:
            text = words.read()
        assert ended, f"{where}: did not end within {BOUND:g} s: {text}"
        assert "unexpected" not in text
        return text
    finally:
        os.close(handle)


@functools.cache
def files_read_by(what: str) -> list[str]:
    """Return the paths of a VM that are opened for reading."""
    with tempfile.TemporaryDirectory() as folder:
        return _files_read_by(what, Path(folder))


def _files_read_by(what: str, root: Path) -> list[str]:

    def work(output: int) -> None:
        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            if event != "open" or not isinstance(arguments[0], str) or not arguments[0].startswith(f"{root}/"):
                return
            flags = arguments[2]
            if flags & os.O_ACCMODE == os.O_RDONLY and not flags & os.O_DIRECTORY:
                os.write(output, f"path: {arguments[0]}\n".encode())

        sys.addaudithook(hook)
        run(what, populate(root))

    lines = in_child(work).splitlines()
    found = {line.removeprefix("path: ") for line in lines if line.startswith("path: ")}
    return sorted(path.removeprefix(str(root)) for path in found if not path.startswith(f"{root}/tmp/"))


def pipe(place: Path) -> None:
    os.mkfifo(place)


def without_end(place: Path) -> None:
    with place.open("wb") as file:
        file.truncate(1 << 40)


def device(place: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root makes devices")
    os.mknod(place, stat.S_IFCHR | 0o666, os.makedev(1, 5))  # /dev/zero


def listener(place: Path) -> None:
    here = os.getcwd()
    os.chdir(place.parent)  # the address has room for little more than a name
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(place.name[:100])
    finally:
        os.chdir(here)


KINDS: dict[str, Callable[[Path], None]] = {
    "pipe": pipe,
    "without end": without_end,
    "folder": Path.mkdir,
    "device": device,
    "socket": listener,
}
# Here, once: each run is a process of its own.
for imported in (
    *(f"vminterface.vm.handlers.{row.module}" for row in SERVICES.values()),
    *ON_DEMAND,
    "site",
    "PIL.Image",
):
    with suppress(ImportError):
        __import__(imported)
HANDLERS = [one for one in SERVICES if not one.startswith(("qubes.VM", "qubes.RestoreById"))]


@pytest.mark.parametrize("what", [*AGENT, *HANDLERS])
def test_nothing_hangs_on_what_stands_in_the_place_of_a_file(tmp_path: Path, what: str) -> None:
    for number, path in enumerate(files_read_by(what)):
        for kind, put in KINDS.items():
            vm = populate(tmp_path / f"{number}-{kind}")
            place = vm.root / path.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.unlink(missing_ok=True)
            put(place)
            began = time.monotonic()
            in_child(partial(lambda vm, _: run(what, vm), vm), f"{path} is a {kind}")
            assert time.monotonic() - began < BOUND, (path, kind)


def test_the_walk_covers_the_files_of_each_kind() -> None:
    found = {path for what in [*AGENT, *HANDLERS] for path in files_read_by(what)}
    assert found >= {
        "/etc/hostname",
        "/etc/hosts",
        "/etc/localtime",
        "/etc/timezone",
        "/etc/passwd",
        "/etc/resolv.conf",
        "/etc/qubes-suspend-module-blacklist",
        "/etc/vminterface/handlers.conf",
        "/etc/vminterface/open-command",
        *owner.PATHS,
        "/home/user/.config/qubes-keyboard-layout.rc",
        "/home/user/.icons/hicolor/1/app.png",
        "/home/user/.icons/hicolor/index.theme",
        "/home/user/.local/share/applications/app.desktop",
        "/home/user/backup",
        "/disk",
        "/proc/meminfo",
        "/run/vminterface/clock-offset",
        "/run/vminterface/suspended/modules",
        f"/sys/{DISKS}/sda/size",
    }


def test_a_users_link_to_a_device_does_not_open_it(tmp_path: Path) -> None:
    """Root reads some of a user's files, and could open what the user could not: a watchdog, a tape."""
    (tmp_path / "link").symlink_to("/dev/zero")

    def work(output: int) -> None:
        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            if event == "open" and not arguments[2] & os.O_PATH:
                os.write(output, f"opened {arguments[0]}\n".encode())

        sys.addaudithook(hook)
        Machine().read_text(f"{tmp_path}/link")

    assert in_child(work) == f"error: {tmp_path}/link: is a device (expected a regular file)\n"


def test_a_keyboard_of_the_users_that_is_a_pipe_leaves_dom0s_keymap(tmp_path: Path) -> None:
    vm = populate(tmp_path / "vm")
    choice = vm.root / "home/user/.config/qubes-keyboard-layout.rc"
    choice.unlink()
    os.mkfifo(choice)
    noted = keyboard.apply({"keymap": KEYMAP}, Machine(str(vm.root)))
    assert noted == "keymap from dom0: takes effect when X starts"
