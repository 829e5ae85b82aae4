"""Screens in the lab: an X server of its own for each VM that is asked to have one, and the picture that it shows."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.control import Lab
from lab.guest import testcard
from lab.linux.namespaces import Isolation
from tests.support.labs import qrexec, running
from tests.support.stores import need
from tests.support.xservers import DUMMY, XORG, lack
from vminterface.channel.qrexec.client import Call, Qrexec
from vminterface.deadline import Deadline
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.inventory.targets import Targets
from vminterface.dom0.push.push import push
from vminterface.dom0.services import commands, guigreeting, images, monitors, session
from vminterface.errors import InvalidValue, ServiceFailed
from vminterface.values.monitor import MonitorLayout
from vminterface.wire.gui import CURRENT

THREE = MonitorLayout.parse("1024 768 0 0\n800 600 1024 168 212 159\n640 480 0 768\n")
ONE = MonitorLayout.parse("1280 1024 0 0\n")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Both VMs have an X server."""
    need(lack(XORG, DUMMY, "xrandr") or ("" if Isolation.probe().vms else "namespaces are not allowed here"))
    with running(tmp_path_factory.mktemp("lab"), screens=True) as made:
        yield made


@pytest.fixture
def calls(lab: Lab) -> Qrexec:
    return qrexec(lab)


def shown(calls: Qrexec, vm: str) -> str:
    return monitors.shown(monitors.of_vm(calls, vm).layout)


def test_the_status_says_which_server_a_vm_has(lab: Lab) -> None:
    assert {vm["screens"] for vm in lab.ask("status")["vms"].values()} == {"Xorg, several monitors"}


def test_a_layout_is_shown_by_the_vm_that_is_told_and_no_other_one(calls: Qrexec) -> None:
    monitors.set_layout(calls, "personal", ONE)
    monitors.set_layout(calls, "work", THREE)
    assert shown(calls, "work") == "1024x768+0+0, 800x600+1024+168 (212x159 mm), 640x480+0+768"
    assert shown(calls, "personal") == "1280x1024+0+0"


def test_a_layout_overrides_the_screen_that_the_gui_connection_began_with(lab: Lab, calls: Qrexec) -> None:
    folder = lab.paths.root("work") / "run"
    with Targets() as targets:
        greeting = guigreeting.greet(targets, "work", guigreeting.parse_screen("640x480"))
    assert greeting.version == CURRENT
    assert until(lambda: (folder / "vminterface/screen").read_text() == "640 480 xconf\n")
    monitors.set_layout(calls, "work", ONE)
    # The handler is the user's, who may not write where the GUI agent does.
    assert (folder / "user/1000/vminterface/screen").read_text() == "1280 1024 layout\n"


def until(holds: Callable[[], bool]) -> bool:
    deadline = Deadline.after(30)
    while not deadline.passed:
        with contextlib.suppress(FileNotFoundError):
            if holds():
                return True
        time.sleep(0.02)
    return False


def test_the_display_is_the_vms_own(lab: Lab, calls: Qrexec) -> None:
    assert (lab.paths.root("work") / "tmp/.X11-unix/X0").is_socket()
    names = commands.shell(calls, "work", "echo $DISPLAY; xrandr -q | grep -c ^DUMMY\n").untrusted_stdout
    assert names.split() == [b":0", b"16"]


def test_the_keyboard_of_a_vm_with_screens_is_what_dom0_pushes(lab: Lab, calls: Qrexec) -> None:
    """The agent, which is root, becomes the session's user for it; the VM has the rules for that (PAM)."""
    with Targets() as targets:
        (outcome,) = push([VMSettings.parse("work", {"keyboard": "pl+dvorak"})], targets)
    assert outcome.error is None
    query = commands.shell(calls, "work", "setxkbmap -query | grep '^[lv]'\n").untrusted_stdout
    assert query.split() == [b"layout:", b"pl,us", b"variant:", b"dvorak,"]


def test_a_picture_of_the_screen_has_every_monitor_where_the_layout_says(
    lab: Lab, calls: Qrexec, tmp_path: Path
) -> None:
    monitors.set_layout(calls, "work", THREE)
    done = lab.run("work", sys.executable, "-m", "lab.guest.testcard", "/home/user/card.png")
    assert done.returncode == 0, done.stderr
    picture = images.picture(calls, "work", "/home/user/card.png")
    assert (picture.width, picture.height) == (1824, 1248)

    def colour(x: int, y: int) -> int:
        start = 4 * (y * picture.width + x)
        return int.from_bytes(picture.rgba[start : start + 3], "big")

    for number, monitor in enumerate(THREE):
        right, bottom = monitor.x + monitor.width - 1, monitor.y + monitor.height - 1
        assert colour(monitor.x, monitor.y) == colour(right, bottom) == testcard.WHITE
        assert colour(monitor.x + 20, monitor.y + 20) == colour(right - 20, bottom - 20) == testcard.ground(number)
        inside = {colour(x, y) for x in range(monitor.x + 20, right - 20, 3) for y in range(monitor.y + 20, bottom, 3)}
        assert testcard.WHITE in inside, "something is written on it"
    assert colour(1800, 100) == colour(1800, 1200) == testcard.NOTHING


def test_other_programs_see_the_same_picture(lab: Lab, calls: Qrexec, tmp_path: Path) -> None:
    need("" if shutil.which("gm") else "no gm (Debian package graphicsmagick)")
    monitors.set_layout(calls, "work", ONE)
    assert lab.run("work", sys.executable, "-m", "lab.guest.testcard", "/home/user/own.png").returncode == 0
    command = ["env", "DISPLAY=:0", "gm", "import", "-window", "root", "/home/user/gm.png"]
    assert lab.run("work", *command).returncode == 0
    pictures = [str(lab.paths.root("work") / f"home/user/{name}.png") for name in ("own", "gm")]
    pixels = [
        subprocess.run(["gm", "convert", one, "rgb:-"], capture_output=True, check=True, timeout=30).stdout
        for one in pictures
    ]
    assert pixels[0] == pixels[1]


def test_more_monitors_than_outputs_change_nothing(calls: Qrexec) -> None:
    monitors.set_layout(calls, "work", ONE)
    before = shown(calls, "work")
    with pytest.raises(InvalidValue):
        MonitorLayout.parse("64 64 0 0\n" * 17)
    with pytest.raises(ServiceFailed, match="SetMonitorLayout"):
        calls.call(Call("work", monitors.SERVICE, stdin=b"64 64 0 0\n" * 17))
    assert shown(calls, "work") == before


def test_the_session_is_up_where_there_is_a_screen(calls: Qrexec) -> None:
    assert session.wait(calls, "work", timeout=10) is True


def test_a_vm_that_starts_again_has_a_screen_only_if_asked(lab: Lab, calls: Qrexec) -> None:
    lab.ask("restart", "personal")
    lab.wait_for_agents(Deadline.after(60))
    assert lab.ask("status")["vms"]["personal"]["screens"] == ""
    with pytest.raises(ServiceFailed):
        monitors.of_vm(calls, "personal")
    assert lab.ask("screens", "personal") == lab.ask("screens", "personal") == "Xorg, several monitors"
    monitors.set_layout(calls, "personal", THREE)
    assert monitors.of_vm(calls, "personal").layout == THREE


def test_a_vm_that_is_only_a_folder_has_no_display(tmp_path: Path) -> None:
    with running(tmp_path, ["alone"], namespaces=False) as made:
        with pytest.raises(InvalidValue, match="alone: a VM that is only a folder has no display of its own"):
            made.ask("screens", "alone")
        with pytest.raises(ServiceFailed, match="xrandr is not installed"):
            monitors.set_layout(qrexec(made), "alone", ONE)
