"""The package of a VM: installed, upgraded and removed, it answers calls and applies what dom0 pushes meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.paths import PROJECT
from tests.packages.conftest import OLDER, Machines
from tests.support.dom0 import Dom0
from tests.support.packages import Machine
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.push.push import push
from vminterface.vm.handlers.runtime.table import SERVICES

pytestmark = pytest.mark.timeout(900)
NAME = "vminterface-vm"
VERSION = (PROJECT / "version").read_text().strip()
OPTIONS = "/etc/default/vminterface-agent"
AGENT = "/usr/bin/python3 -P /usr/bin/vminterface agent"
PROGRAMS = "/etc/qubes-rpc"
STOCK = "#!/bin/sh\necho stock\n"
UNIT = "/usr/lib/systemd/system/vminterface-agent.service"


@pytest.fixture
def machine(machines: Machines, host: Dom0) -> Machine:
    made = machines(Path(host.daemon.socket(host.domids["work"])).parent)
    made.put(f"{PROGRAMS}/qubes.GetDate", STOCK, "0755")
    if made.kind == "rpm":
        made.install(made.stand_in("base", "/bin/sh, /usr/bin/python3, python3 = 3.11"))
    return made


def start(machine: Machine) -> None:
    """Start the agent as the machine's init would; dpkg has done so, by the service of System V."""
    if machine.kind == "rpm":
        (command,) = (line for line in machine.vm.run(f"cat {UNIT}").splitlines() if line.startswith("ExecStart="))
        command = command.removeprefix("ExecStart=")
        machine.vm.run(f". {OPTIONS}; setsid {command} >/run/agent.log 2>&1 </dev/null &")
    machine.vm.wait_for(f"pgrep -xf '{AGENT}'")


def acknowledged(host: Dom0, zone: str) -> str:
    with host.targets() as targets:
        (outcome,) = push([VMSettings.parse("work", {"timezone": zone})], targets)
    return outcome.comment()


def test_it_serves_from_its_installation_to_its_removal_and_leaves_the_owners_files(
    machine: Machine, host: Dom0, dist: Path, older: Path
) -> None:
    vm = machine.vm
    machine.install(machine.package(older, NAME))
    assert vm.run("vminterface --version") == f"vminterface {OLDER}\n"
    start(machine)
    assert acknowledged(host, "Europe/Warsaw") == "work: timezone set"
    assert vm.run("readlink /etc/localtime").strip().endswith("Europe/Warsaw")
    assert set(vm.run(f"ls {PROGRAMS}").split()) == set(SERVICES)
    assert vm.run(f"{PROGRAMS}/qubes.GetDate") == "stock\n"
    assert vm.run(f"echo echo hello | QREXEC_REMOTE_DOMAIN=dom0 {PROGRAMS}/qubes.VMShell") == "hello\n"
    vm.run(f"echo '# mine' >> {OPTIONS}")
    before = vm.run(f"pgrep -xf '{AGENT}'")

    machine.install(machine.package(dist, NAME))
    assert machine.version(NAME) == VERSION
    assert vm.run("vminterface --version") == f"vminterface {VERSION}\n"
    assert vm.run(f"tail -n 1 {OPTIONS}") == "# mine\n"
    assert set(vm.run(f"ls {PROGRAMS}").split()) == set(SERVICES)
    if machine.kind == "deb":
        assert vm.wait_for(f"pgrep -xf '{AGENT}'") != before
    assert acknowledged(host, "Asia/Tokyo") == "work: timezone set"

    # The library as the formula's states see it: of a package, so they leave it alone.
    assert vm.run("grep -c '^. The command vminterface[.] Part of a package[.]' /usr/bin/vminterface") == "1\n"

    machine.remove(NAME)
    if machine.kind == "rpm":
        vm.run(f"rm {OPTIONS}.rpmsave")
    else:
        machine.remove(NAME, purge=True)
    # What the agent has applied is the VM's: its name, its zone.
    assert machine.left() - {"/etc/hostname", "/etc/localtime", "/etc/timezone", "/etc/hosts"} == set()
    assert vm.run(f"{PROGRAMS}/qubes.GetDate") == "stock\n"


def test_what_the_owner_has_edited_stays_when_it_is_removed(machine: Machine, dist: Path) -> None:
    machine.install(machine.package(dist, NAME))
    machine.vm.run(
        f"echo '# mine' >> {OPTIONS}; mkdir -p /etc/vminterface; echo xterm > /etc/vminterface/terminal-command"
    )
    machine.remove(NAME)
    kept = f"{OPTIONS}.rpmsave" if machine.kind == "rpm" else OPTIONS
    assert machine.vm.run(f"tail -n 1 {kept}") == "# mine\n"
    assert {kept, "/etc/vminterface", "/etc/vminterface/terminal-command"} <= machine.left()


def test_its_handlers_give_way_to_those_of_a_package_that_comes_later(machine: Machine, dist: Path) -> None:
    machine.install(machine.package(dist, NAME))
    theirs = machine.stand_in(
        "their-agent", files={f"{PROGRAMS}/qubes.VMShell": STOCK, f"{PROGRAMS}/other.Service": STOCK}
    )
    machine.install(theirs)
    assert machine.vm.run(f"{PROGRAMS}/qubes.VMShell") == "stock\n"
    machine.remove("their-agent")
    assert set(machine.vm.run(f"ls {PROGRAMS}").split()) == set(SERVICES)
    assert "vminterface" in machine.vm.run(f"cat {PROGRAMS}/qubes.VMShell")


def test_its_unit_is_one_that_systemd_takes(machine: Machine, dist: Path) -> None:
    machine.install(machine.package(dist, NAME))
    done = machine.vm.run(f"systemd-analyze verify --man=no {UNIT} 2>&1 || true")
    assert [line for line in done.splitlines() if "vminterface" in line] == []
    assert machine.vm.run("find /usr/lib/vminterface -name '*.pyc' | head -n 1") != ""


@pytest.mark.parametrize("machines", ["rpm"], indirect=True)
def test_it_is_refused_where_python_is_too_old(machines: Machines, host: Dom0, dist: Path) -> None:
    machine = machines(host.daemon.root)
    machine.install(machine.stand_in("base", "/bin/sh, /usr/bin/python3, python3 = 3.9"))
    status, output = machine.manager("rpm -U", "", machine.package(dist, NAME))
    assert status != 0
    assert "python3 >= 3.11 is needed by vminterface-vm" in output
    assert machine.left() == set()
