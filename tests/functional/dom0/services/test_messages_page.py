"""What docs/messages.md explains of failed service calls are their messages."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.rpcstandin import StandIn
from tests.support.xrandr import fake_xrandr
from vminterface.channel.qrexec.client import Call, Qrexec
from vminterface.deadline import Deadline
from vminterface.dom0.ensure.display import monitor_layout
from vminterface.dom0.ensure.files import file_sent
from vminterface.dom0.services import apps, backup, clock, dialogs, disk, files, monitors, readiness, room, session
from vminterface.dom0.transfer.unpack import Limits
from vminterface.errors import VMInterfaceError
from vminterface.values.monitor import MonitorLayout
from vminterface.values.volume import Volume
from vminterface.vm.apply.network import STATE
from vminterface.vm.handlers.display.xrandr import XServer
from vminterface.vm.handlers.runtime.entry import MARK
from vminterface.vm.machine.machine import Machine

LAYOUT = MonitorLayout.parse("4480 1600 0 0\n")
PAGE = (Path(__file__).parents[4] / "tools/messages.md").read_text().partition("## Service calls")[2]
SAID = re.findall(r"`([^`]+)`", "".join(line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `")))


def pattern(said: str) -> re.Pattern[str]:
    """Return what matches a fault that reads like *said*: dots stand for anything, a number for any other one."""
    return re.compile(re.sub(r"\d+", r"\\d+", re.escape(said).replace("…\\ ", ".*").replace("…", ".*")))


def little_memory(vms: StandIn) -> None:
    """Let there be a VM called small, whose X server has no memory for a larger screen."""
    vms.machine("small")
    vms.program(
        "small",
        "xrandr",
        """[ "$*" != --prop ] || {
            echo "Screen 0: minimum 64 x 64, current 64 x 64, maximum 32767 x 32767"
            exec echo "DUMMY0 connected 64x64+0+0 (normal) 0mm x 0mm"
        }
        case "$*" in *--pos*) ;; *) exit 0 ;; esac
        echo "X Error of failed request:  BadMatch (invalid parameter attributes)" >&2
        echo "  Minor opcode of failed request:  7 (RRSetScreenSize)" >&2
        exit 1""",
    )


def applications(vms: StandIn, work: Path) -> None:
    """Let work have an application that fails and one whose file is wrong, and the VM called other none at all."""
    folder = work / "usr/share/applications"
    folder.mkdir()
    for name, command in (("firefox", "firefox"), ("wrong", '"')):
        (folder / f"{name}.desktop").write_text(f"[Desktop Entry]\nType=Application\nName=A\nExec={command}\n")
    vms.program("work", "firefox", "exit 1")


def interface_down(vms: StandIn) -> None:
    """Let there be a VM called down, whose eth0 is not there; its handler waits for a second."""
    root = vms.machine("down")
    (root / STATE[1:]).write_text('{"interface": "eth0"}')
    handler = vms.folder / "vms/down" / readiness.UPLINK
    short = "from vminterface.vm.handlers import waitfornetworkuplink\nwaitfornetworkuplink.TIMEOUT = 1.0\n"
    handler.write_text(handler.read_text().replace(MARK, short + MARK))


@pytest.fixture
def faults(vms: StandIn, work: Path, qrexec: Qrexec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Every kind of fault, by what was done."""
    hosts = tmp_path / "hosts"
    hosts.write_text("one")
    files.send(qrexec, "work", [hosts])
    hosts.write_text("another")
    odd = tmp_path / "\N{THAI CHARACTER KO KAI}.txt"
    odd.write_text("x")
    (work / "etc/vminterface").mkdir()
    (work / "etc/vminterface/handlers.conf").write_text("session-timeout = 1\n")
    (work / "run/qubes/qrexec-server.user.sock").unlink()
    vms.program("work", "xrandr", 'echo "Can\'t open display :0" >&2; exit 1')
    monkeypatch.setenv("PATH", f"{work}/usr/local/bin:/usr/bin:/bin")
    (vms.folder / "vms/work/qubes.GetDate+nanoseconds.refused").touch()
    vms.handler("slow", "qubes.GetDate", "exec sleep 100")
    vms.handler("loud", "qubes.GetDate", "exec cat /dev/zero")
    little_memory(vms)
    vms.machine("full")
    vms.program("full", "df", "echo /dev/xvdb 2031440 2031435 5 100% /rw")
    large = tmp_path / "large"
    large.write_bytes(b"x" * room.FROM)
    all_kept = Limits(reserve=1 << 60)
    dangling = tmp_path / "notes"
    dangling.mkdir()
    (dangling / "old").symlink_to("/srv/old")
    vms.machine("other")
    fake_xrandr(vms, "other")
    (vms.folder / "vms/other" / monitors.SERVICE).unlink()
    vms.handler("other", monitors.SERVICE, "exec cat >/dev/null")
    applications(vms, work)
    interface_down(vms)
    tried: dict[str, Callable[[], object]] = {
        "without qrexec": lambda: Qrexec().call(Call("work", "qubes.GetDate")),
        "no service": lambda: qrexec.call(Call("work", "example.Report")),
        "refused": lambda: clock.get_clock(Qrexec(vms.client_vm), "work"),
        "not running": lambda: clock.get_clock(qrexec, "nobody"),
        "hangs": lambda: clock.get_clock(qrexec, "slow", timeout=1),
        "floods": lambda: clock.get_clock(qrexec, "loud"),
        "handler": lambda: disk.resize(qrexec, "work", Volume.PRIVATE),
        "odd name": lambda: files.send(qrexec, "work", [odd]),
        "another file": lambda: file_sent(qrexec, "work", str(hosts)),
        "file there": lambda: files.send(qrexec, "work", [hosts]),
        "no server": XServer(Machine(str(work)), ":0", Deadline.after(1)).wait,
        "no display": lambda: monitors.of_vm(qrexec, "work"),
        "little memory": lambda: monitors.set_layout(qrexec, "small", LAYOUT),
        "no room": lambda: files.send(qrexec, "full", [large]),
        "no room here": lambda: backup.restore(qrexec, "work", str(large), tmp_path / "back", limits=all_kept),
        "dangling link": lambda: files.send(qrexec, "work", [dangling], follow_links=True),
        "link out": lambda: files.send(qrexec, "work", [dangling]),
        "other layout": lambda: monitor_layout(qrexec, "other", LAYOUT).run(test=False),
        "no dialog": lambda: dialogs.select_file(qrexec, "work"),
        "no session": lambda: session.wait(qrexec, "work"),
        "wrong application": lambda: apps.start(qrexec, "work", "wrong"),
        "no application": lambda: apps.start(qrexec, "other", "firefox"),
        "failing application": lambda: apps.start(qrexec, "work", "firefox"),
        "interface down": lambda: qrexec.call(Call("down", readiness.UPLINK)),
        "command": lambda: backup.backup(qrexec, "work", "cat", io.BytesIO(b"archive")),
        "dom0": lambda: monitors.of_dom0(),
    }
    said = {}
    for name, attempt in tried.items():
        with pytest.raises(VMInterfaceError) as caught:
            attempt()
        # The names of the VMs are the test's.
        said[name] = re.sub(r"\b(nobody|slow|loud|full|small|other|down)\b", "work", str(caught.value))
    return said


def test_each_fault_is_on_the_page_and_nothing_else_is(faults: dict[str, str]) -> None:
    unknown = {name: fault for name, fault in faults.items() if not any(pattern(s).fullmatch(fault) for s in SAID)}
    assert not unknown
    assert [s for s in SAID if not any(pattern(s).fullmatch(fault) for fault in faults.values())] == []
