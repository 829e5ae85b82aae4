"""What docs/faults.md says of failed service calls is what they say."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from tests.support.rpcstandin import StandIn
from tests.support.xrandr import fake_xrandr
from vminterface.channel.qrexec import Qrexec
from vminterface.deadline import Deadline
from vminterface.dom0.services import backup, clock, dialogs, disk, files, monitors, room, session
from vminterface.dom0.steps.display import monitor_layout
from vminterface.dom0.steps.files import file_sent
from vminterface.errors import VMInterfaceError
from vminterface.values.monitor import MonitorLayout
from vminterface.values.volume import Volume
from vminterface.vm.handlers.xrandr import XServer
from vminterface.vm.machine import Machine

LAYOUT = MonitorLayout.parse("4480 1600 0 0\n")
PAGE = (Path(__file__).parents[3] / "docs/faults.md").read_text().partition("## Service calls")[2]
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


@pytest.fixture
def faults(vms, work, qrexec, tmp_path, monkeypatch):
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
    vms.machine("other")
    fake_xrandr(vms, "other")
    (vms.folder / "vms/other" / monitors.SERVICE).unlink()
    vms.handler("other", monitors.SERVICE, "exec cat >/dev/null")
    tried = {
        "without qrexec": lambda: Qrexec().call("work", "qubes.GetDate"),
        "no service": lambda: qrexec.call("work", "example.Report"),
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
        "other layout": lambda: monitor_layout(qrexec, "other", LAYOUT).run(test=False),
        "no dialog": lambda: dialogs.select_file(qrexec, "work"),
        "no session": lambda: session.wait(qrexec, "work"),
        "command": lambda: backup.backup(qrexec, "work", "cat", io.BytesIO(b"archive")),
        "dom0": lambda: monitors.of_dom0(),
    }
    said = {}
    for name, attempt in tried.items():
        with pytest.raises(VMInterfaceError) as caught:
            attempt()
        # The names of the VMs are the test's.
        said[name] = re.sub(r"\b(nobody|slow|loud|full|small|other)\b", "work", str(caught.value))
    return said


def test_each_fault_is_on_the_page_and_nothing_else_is(faults):
    unknown = {name: fault for name, fault in faults.items() if not any(pattern(s).fullmatch(fault) for s in SAID)}
    assert not unknown
    assert [s for s in SAID if not any(pattern(s).fullmatch(fault) for fault in faults.values())] == []
