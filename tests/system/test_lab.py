"""The lab: dom0 and three VMs come up, do what VMs do, and leave nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from lab.control import Lab
from lab.demo import page
from lab.demo.calls import PICTURE
from lab.demo.refusal import RECORDING
from lab.linux.namespaces import DENY, Isolation
from lab.paths import PROJECT, LabPaths
from tests.support import chromium
from tests.support.lab_store import KINDS, daemon, wait_until
from tests.support.xservers import DUMMY, XORG, lack
from vminterface.channel.xenstore.store import XenStore
from vminterface.deadline import Deadline
from vminterface.errors import ConnectionLost, InvalidValue, KeyNotFound
from vminterface.values.acknowledgement import Acknowledgement, digest

needs_namespaces = pytest.mark.skipif(not Isolation.probe().vms, reason="no namespaces are allowed here")
needs_links = pytest.mark.skipif(not Isolation.probe().network, reason="no veth links can be made here")


def has_no_process(folder: Path) -> bool:
    return not processes_of(folder)


def processes_of(folder: Path) -> list[str]:
    """Return the command lines of all processes that have to do with a lab in *folder*."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line and int(entry.parent.name) != os.getpid():
            found.append(line)
    return found


def mounts_of(folder: Path) -> list[str]:
    return [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(folder) in line]


def command(lab: Lab, *words: str, seconds: float = 60.0) -> subprocess.CompletedProcess[str]:
    """Run ``python -m lab`` as an admin does."""
    return subprocess.run(
        [sys.executable, "-m", "lab", "--dir", str(lab.paths.folder), *words], cwd=PROJECT, capture_output=True,
        text=True, timeout=seconds, env={**os.environ, "PYTHONPATH": str(PROJECT / "_utils")}, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    made = Lab(LabPaths.find(str(tmp_path_factory.mktemp("lab") / "l")))
    made.up()
    yield made
    made.down()


@pytest.fixture
def dom0(lab: Lab) -> Iterator[XenStore]:
    with XenStore.open(lab.ask("status")["socket"]) as store:
        yield store


def domid(lab: Lab, vm: str) -> int:
    return int(lab.ask("status")["vms"][vm]["domid"])


def root(lab: Lab, vm: str) -> Path:
    return lab.paths.root(vm)


def set_timezone(lab: Lab, dom0: XenStore, vm: str, zone: str) -> Callable[[], bool]:
    """Write the key as dom0 does; return what tells whether the VM's agent has acknowledged exactly that."""
    home = f"/local/domain/{domid(lab, vm)}"
    dom0.write(f"{home}/qubes-timezone", zone.encode())

    def acknowledged() -> bool:
        try:
            said = Acknowledgement.parse(dom0.read(f"{home}/vminterface/ack/timezone").decode("ascii"))
        except KeyNotFound:
            return False
        return said.accepted and said.digest == digest({"timezone": zone})

    return acknowledged


def zone_of(lab: Lab, vm: str) -> str:
    return os.readlink(root(lab, vm) / "etc" / "localtime").partition("zoneinfo/")[2]


def test_all_agents_have_announced_themselves(lab: Lab) -> None:
    vms = lab.ask("status")["vms"]
    assert set(vms) == {"work", "personal", "sys-net"}
    assert all(vm["state"] == "running" and vm["announced"] for vm in vms.values())


def test_the_store_has_a_domains_nodes_as_the_toolstack_makes_them(lab: Lab, dom0: XenStore) -> None:
    number = domid(lab, "work")
    home = f"/local/domain/{number}"
    assert dom0.read(f"{home}/name") == b"work"
    assert dom0.read(f"{home}/domid") == str(number).encode()
    assert dom0.read(dom0.read(f"{home}/vm").decode() + "/name") == b"work"
    assert dom0.permissions(home) == ["n0", f"r{number}"]
    assert dom0.permissions(f"{home}/memory") == [f"n{number}"]
    assert dom0.domains()["work"] == number


def test_a_key_that_dom0_writes_is_applied_in_the_vms_own_files_and_acknowledged(lab: Lab, dom0: XenStore) -> None:
    assert wait_until(set_timezone(lab, dom0, "work", "Asia/Tokyo"))
    assert zone_of(lab, "work") == "Asia/Tokyo"
    assert zone_of(lab, "personal") != "Asia/Tokyo"


@needs_namespaces
def test_a_vm_has_its_own_host_name_processes_and_files(lab: Lab) -> None:
    assert lab.run("work", "hostname").stdout == "work\n"
    assert lab.run("personal", "hostname").stdout == "personal\n"
    assert lab.run("work", "cat", "/proc/1/cmdline").stdout.split("\0")[1:3] == ["-m", "lab.guest.init"]
    assert lab.run("work", "touch", "/home/user/mine").returncode == 0
    assert (root(lab, "work") / "home/user/mine").exists()
    assert not (root(lab, "personal") / "home/user/mine").exists()
    assert not Path("/home/user/mine").exists()


@needs_namespaces
def test_a_vm_cannot_write_to_the_programs_that_it_sees(lab: Lab) -> None:
    for path in ("/usr/x", f"{PROJECT}/x"):
        done = lab.run("work", "touch", path)
        assert done.returncode != 0
        assert "Read-only file system" in done.stderr


@needs_namespaces
def test_a_vm_cannot_set_the_machines_clock(lab: Lab) -> None:
    # To what it is already: harmless should it work after all.
    done = lab.run("work", "sh", "-c", "date -s @$(date +%s)")
    assert "Operation not permitted" in done.stderr


@needs_namespaces
def test_the_store_enforces_what_a_domain_may_do(lab: Lab, dom0: XenStore) -> None:
    program = """
import sys
from vminterface.channel.xenstore.store import XenStore
from vminterface.errors import VMInterfaceError
with XenStore.open() as store:
    for path in sys.argv[1:]:
        try:
            store.write(path, b"from the VM")
            print("written")
        except VMInterfaceError as error:
            print(type(error).__name__)
"""
    paths = ["memory/meminfo", "name", f"/local/domain/{domid(lab, 'personal')}/memory/meminfo", "/tool/x"]
    done = lab.run("work", sys.executable, "-c", program, *paths)
    assert done.stdout.split() == ["written", "PermissionDenied", "PermissionDenied", "PermissionDenied"]
    home = f"/local/domain/{domid(lab, 'work')}"
    assert dom0.read(f"{home}/memory/meminfo") == b"from the VM"
    assert dom0.read(f"{home}/name") == b"work"


@needs_links
def test_a_client_is_linked_to_its_netvm(lab: Lab, dom0: XenStore) -> None:
    status = lab.ask("status")["vms"]
    [own] = json.loads(lab.run("work", "ip", "-json", "link", "show", "eth0").stdout)
    assert own["address"] == status["work"]["mac"]
    assert own["address"].startswith("00:16:3e:5e:6c:")
    [other] = json.loads(lab.run("sys-net", "ip", "-json", "link", "show", f"vif{status['work']['domid']}.0").stdout)
    assert other["address"] == "fe:ff:ff:ff:ff:ff"
    front = f"/local/domain/{status['work']['domid']}/device/vif/0"
    assert dom0.read(f"{front}/backend-id") == str(status["sys-net"]["domid"]).encode()


@needs_links
def test_clients_are_linked_anew_when_their_netvm_starts_again(lab: Lab) -> None:
    lab.ask("restart", "sys-net")
    lab.wait_for_agents(Deadline.after(60))
    number = domid(lab, "work")
    assert lab.run("sys-net", "ip", "link", "show", f"vif{number}.0").returncode == 0
    assert lab.run("work", "ip", "link", "show", "eth0").returncode == 0


def test_a_paused_vm_does_nothing_until_it_goes_on(lab: Lab, dom0: XenStore) -> None:
    lab.ask("pause", "personal")
    acknowledged = set_timezone(lab, dom0, "personal", "Asia/Tokyo")
    time.sleep(0.5)
    assert not acknowledged()
    assert lab.ask("status")["vms"]["personal"]["state"] == "paused"
    lab.ask("unpause", "personal")
    assert wait_until(acknowledged)
    assert zone_of(lab, "personal") == "Asia/Tokyo"


def test_a_vm_starts_again_as_a_new_domain_and_dom0_is_told(lab: Lab, dom0: XenStore) -> None:
    old = domid(lab, "personal")
    with dom0.watch(["@releaseDomain", "@introduceDomain"]) as watch:
        watch.next(Deadline.after(5))
        seen: set[str] = set()
        lab.ask("stop", "personal")
        assert lab.ask("status")["vms"]["personal"]["state"] == "stopped"
        assert "personal" not in dom0.domains()
        assert not dom0.exists(f"/local/domain/{old}")
        lab.ask("start", "personal")
        deadline = Deadline.after(10)
        while seen != {"@releaseDomain", "@introduceDomain"}:
            seen |= {event.path for event in watch.next(deadline)}
    assert domid(lab, "personal") > old
    lab.wait_for_agents(Deadline.after(60))
    assert wait_until(set_timezone(lab, dom0, "personal", "Europe/Berlin"))


def test_an_agent_that_dies_is_reported_in_one_line(lab: Lab) -> None:
    lab.ask("restart", "personal")
    told = lab.wait_for_agents(Deadline.after(60))["vms"]["personal"]
    if lab.ask("status")["namespaces"]:
        children = Path(f"/proc/{told['init']}/task/{told['init']}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGKILL)
    else:
        os.kill(told["init"], signal.SIGKILL)
    assert wait_until(lambda: lab.ask("status")["vms"]["personal"]["agent"].startswith("ended with status -9"))
    assert "personal: its agent ended with status -9" in lab.paths.log.read_text()
    lab.ask("restart", "personal")
    lab.wait_for_agents(Deadline.after(60))


def test_the_command_runs_programs_in_a_vm_and_keeps_their_exit_status(lab: Lab) -> None:
    done = command(lab, "exec", "work", "--", "sh", "-c", "echo said; exit 7")
    assert (done.returncode, done.stdout) == (7, "said\n")
    shell = subprocess.run(
        [sys.executable, "-m", "lab", "--dir", str(lab.paths.folder), "shell", "work"], cwd=PROJECT, input="echo $0\n",
        capture_output=True, text=True, timeout=30, env={**os.environ, "PYTHONPATH": str(PROJECT / "_utils")},
        check=False,
    )  # fmt: skip
    assert shell.stdout == "/bin/bash\n"


def test_the_command_shows_status_and_logs(lab: Lab) -> None:
    told = json.loads(command(lab, "status", "--json").stdout)
    assert told["vms"]["work"]["state"] == "running"
    assert "sys-net" in command(lab, "status").stdout
    assert "vminterface agent:" in command(lab, "logs", "work").stdout


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (("start", "work"), "work is running already"),
        (("stop", "nobody"), "there is no VM 'nobody' in this lab (it has sys-net, work, personal)"),
        (("exec", "nobody", "true"), "nobody is not a running VM of this lab"),
        (("logs", "nobody"), "there is no VM 'nobody' in this lab"),
        (("up",), "is up already"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(lab: Lab, words: tuple[str, ...], fault: str) -> None:
    done = command(lab, *words)
    assert done.returncode == 1
    assert fault in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_request_that_makes_no_sense_does_not_end_the_supervisor(lab: Lab) -> None:
    with pytest.raises(InvalidValue, match="does not understand"):
        lab.ask("no such command")
    assert lab.ask("status")["vms"]


@pytest.fixture
def short_lab(tmp_path: Path) -> Iterator[Lab]:
    """A lab with one VM, not up yet."""
    made = Lab(LabPaths.find(str(tmp_path / "l")))
    yield made
    made.down()


@pytest.fixture
def one_vm(tmp_path: Path) -> Path:
    file = tmp_path / "vms.json"
    file.write_text(json.dumps([{"name": "alone"}]))
    return file


@pytest.mark.parametrize("kind", KINDS)
def test_down_leaves_nothing_behind(short_lab: Lab, one_vm: Path, tmp_path: Path, kind: str) -> None:
    daemon(kind, tmp_path / "unused")  # skips where the real one cannot run
    short_lab.up(one_vm, kind)
    assert processes_of(short_lab.paths.folder)
    short_lab.down()
    assert not short_lab.paths.folder.exists()
    assert wait_until(lambda: not processes_of(short_lab.paths.folder))
    assert mounts_of(short_lab.paths.folder) == []
    with pytest.raises(ConnectionLost, match="no lab is up"):
        short_lab.ask("status")


@pytest.mark.parametrize("kind", KINDS)
def test_down_cleans_up_after_a_supervisor_that_was_killed(
    short_lab: Lab, one_vm: Path, tmp_path: Path, kind: str
) -> None:
    daemon(kind, tmp_path / "unused")
    short_lab.up(one_vm, kind)
    pids = json.loads(short_lab.paths.pids.read_text())
    os.kill(int(next(iter(pids))), signal.SIGKILL)
    short_lab.down()
    assert not short_lab.paths.folder.exists()
    assert wait_until(lambda: not processes_of(short_lab.paths.folder))
    assert wait_until(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in pids))
    assert mounts_of(short_lab.paths.folder) == []


def test_without_namespaces_vms_are_folders_and_say_so(
    short_lab: Lab, one_vm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DENY, "1")
    status = short_lab.up(one_vm)
    assert not status["namespaces"]
    assert "no namespaces here" in command(short_lab, "status").stdout
    with XenStore.open(status["socket"]) as dom0:
        assert wait_until(set_timezone(short_lab, dom0, "alone", "Asia/Tokyo"))
        assert zone_of(short_lab, "alone") == "Asia/Tokyo"
        short_lab.ask("pause", "alone")
        acknowledged = set_timezone(short_lab, dom0, "alone", "Europe/Berlin")
        time.sleep(0.3)
        assert not acknowledged()
        short_lab.ask("unpause", "alone")
        assert wait_until(acknowledged)
    short_lab.down()
    assert wait_until(lambda: not processes_of(short_lab.paths.folder))


def test_a_lab_that_cannot_start_says_why_and_leaves_nothing(short_lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "wrong.json"
    file.write_text('[{"name": "a", "netvm": "none"}]')
    done = command(short_lab, "up", "--vms", str(file))
    assert done.returncode == 1
    assert "there is no netvm 'none'" in done.stderr
    assert not short_lab.paths.folder.exists()


@pytest.mark.timeout(330)
@pytest.mark.parametrize("release", ["R2", "R4"])
@pytest.mark.parametrize("namespaces", [pytest.param(True, marks=needs_namespaces), False])
def test_the_demo_keeps_every_promise(release: str, namespaces: bool, tmp_path: Path) -> None:
    variables = {**os.environ, "PYTHONPATH": f"{PROJECT}:{PROJECT / '_utils'}"}
    if not namespaces:
        variables[DENY] = "1"
        variables.pop("CI", None)  # there are no monitors then, which CI does not let pass
    for name in (PICTURE, page.PICTURE):
        (tmp_path / name).write_text("of another day")
    done = subprocess.run(
        [sys.executable, "-m", "lab", "demo", "--release", release], cwd=tmp_path, capture_output=True, text=True,
        timeout=300, env=variables, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    outcome, _, rest = done.stdout.partition("\ndemo ok: ")[2].partition("\n")
    assert outcome.startswith(f"{release}: ")
    left_out = rest.splitlines()
    assert all(line.startswith("left out: ") for line in left_out)
    assert "personal refused timezone" in done.stdout
    assert "personal refused timezone" in (tmp_path / RECORDING).read_text()
    assert "work: ~/QubesIncoming/dom0/note.txt is dom0's file" in done.stdout
    assert f"<h3>dom0-{release}</h3>" in (tmp_path / page.PAGE).read_text()
    if not chromium.missing():
        assert (tmp_path / page.PICTURE).read_bytes().startswith(b"\x89PNG")
    if namespaces and not lack(XORG, DUMMY, "xrandr"):
        assert (tmp_path / PICTURE).read_bytes().startswith(b"\x89PNG")
        assert not any("monitor" in line for line in left_out)
    else:
        assert "  (without monitors: work: " in done.stdout
        assert any(line.startswith("left out: monitors: work: ") for line in left_out)
        assert not (tmp_path / PICTURE).exists()
    if not namespaces:
        assert [line.partition(": ")[2].partition(":")[0] for line in left_out] == [
            "network of work and personal", "provides_network of sys-net",
            *(["firewall of work"] if release == "R4" else []), "monitors",
        ]  # fmt: skip
    if release == "R4":
        again = done.stdout.partition("work is restarted")[2]
        assert "work: the service crond is on" in again
        assert ("sys-net: its QubesDB has the rules of work" in again) is namespaces


def demos() -> set[str]:
    """The folders of the labs of all demos that run on this machine, those of others too."""
    lines = processes_of(Path("lab.dom0.supervisor /tmp/vmi-demo"))
    return {line.split("lab.dom0.supervisor ")[1].split()[0] for line in lines}


def test_an_interrupted_demo_cleans_up() -> None:
    others = demos()
    process = subprocess.Popen(
        [sys.executable, "-m", "lab", "demo"], cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(PROJECT / "_utils"), "TMPDIR": "/tmp"},
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if "salt-call" in line:
            break
    folders = demos() - others
    process.send_signal(signal.SIGINT)
    _out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "demo FAILED: the demo was interrupted" in err
    assert folders
    for folder in folders:
        assert not Path(folder).parent.exists()
        assert wait_until(partial(has_no_process, Path(folder)))


def test_a_folder_that_is_no_labs_is_left_alone() -> None:
    # A longer path than this might not do for sockets, and then another folder would stand for it.
    with tempfile.TemporaryDirectory(prefix="no-lab-", dir="/tmp") as name:
        folder = Path(name)
        (folder / "letter").write_text("dear")
        for word in ("up", "down"):
            done = command(Lab(LabPaths.find(name)), word)
            assert done.returncode == 1
            assert "no lab's" in done.stderr
        assert (folder / "letter").read_text() == "dear"
