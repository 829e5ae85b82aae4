"""The package of dom0: Salt finds what it has, VMs get what the pillar says, and only the admin's files stay."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.paths import PROJECT
from tests.packages.conftest import OLDER, Machines
from tests.support.dom0 import Dom0
from tests.support.packages import Machine

pytestmark = pytest.mark.timeout(900)
NAME = "vminterface-dom0"
VERSION = (PROJECT / "version").read_text().strip()
MINION = "id: dom0\nfile_client: local\nenable_fqdns_grains: false\n"
TOP = "base:\n  dom0:\n    - vminterface\n"
PILLAR = "qubes:\n  vms:\n    work: {timezone: Asia/Tokyo}\n"
#: Salt's own, of which no part is this package's.
CACHE = "/var/cache/salt"


@pytest.fixture
def machine(machines: Machines, host: Dom0) -> Machine:
    made = machines(Path(host.path).parent)
    # Of Salt and of Qubes' own packages.
    made.vm.run("mkdir -p /etc/salt/pki/minion" + (" /srv/formulas/base" if made.kind == "rpm" else ""))
    salt_call = Path(sys.executable).with_name("salt-call")
    made.put("/usr/bin/salt-call", f'#!/bin/sh\nexec {salt_call} "$@"\n', "0755")
    made.put("/etc/salt/minion", MINION)
    made.put("/srv/salt/top.sls", TOP)
    made.put("/srv/pillar/top.sls", TOP)
    if made.kind == "rpm":
        # As Qubes' packages call Salt, and where its files are.
        made.put("/usr/bin/qubesctl", '#!/bin/sh\nexec salt-call --local "$@"\n', "0755")
        qubes = "file_roots: {base: [/srv/salt]}\npillar_roots: {base: [/srv/pillar, /srv/pillar/base]}\n"
        made.put("/etc/salt/minion.d/f_defaults.conf", qubes)
        made.install(made.stand_in("base", "/bin/sh, /usr/bin/python3, python3 = 3.13, salt, salt-minion"))
    else:
        made.install(made.stand_in("stand-in-salt", "salt-minion"))
    return made


def call(machine: Machine, *words: str) -> Any:
    command = ["salt-call", "--local", "--out=json", *words]
    return json.loads(machine.vm.run(f"{shlex.join(command)} 2>/dev/null"))["local"]


def pillar_of(machine: Machine) -> str:
    return "/srv/pillar/vminterface.sls" if machine.kind == "rpm" else "/etc/vminterface/pillar/vminterface.sls"


def test_it_serves_from_its_installation_to_its_removal_and_leaves_the_admins_files(
    machine: Machine, host: Dom0, dist: Path, older: Path
) -> None:
    vm = machine.vm
    host.agent("work")
    machine.install(machine.package(older, NAME))
    assert vm.run("vminterface --version") == f"vminterface {OLDER}\n"
    # Its scriptlets have let Salt sync the modules.
    synced = vm.run(f"find {CACHE} -name 'qubes_vm.py' -o -name vminterface").splitlines()
    assert {Path(path).parent.name for path in synced} >= {"modules", "states", "utils"}
    (line,) = (one for tag, one in call(machine, "state.apply").items() if "_|-vminterface-push_|-" in tag)
    assert (line["result"], line["comment"]) == (True, "0 VMs: nothing to do")

    vm.run(f"cat > {pillar_of(machine)} <<'END'\n{PILLAR}END")
    machine.install(machine.package(dist, NAME))
    assert machine.version(NAME) == VERSION
    # Each file there costs every salt-call.
    of_the_library = vm.run(f"find {CACHE} -path '*/extmods/utils/*' -name '*.py'").splitlines()
    assert [Path(path).name for path in of_the_library] == ["__init__.py"]
    assert vm.run(f"cat {pillar_of(machine)}") == PILLAR
    (line,) = (one for tag, one in call(machine, "state.apply").items() if "_|-vminterface-push_|-" in tag)
    assert (line["result"], line["comment"]) == (True, "work: timezone set")
    assert vm.run("vminterface get work timezone") == "work: timezone: Asia/Tokyo\n"
    assert vm.run(f"vminterface diff --pillar {pillar_of(machine)}") == "work is already as configured\n"

    vm.run("mkdir -p /srv/salt/_tops/base; ln -s /none /srv/salt/_tops/base/vminterface.top")
    machine.remove(NAME)
    if machine.kind == "rpm":
        vm.run("test ! -h /srv/salt/_tops/base/vminterface.top && rmdir /srv/salt/_tops/base /srv/salt/_tops")
        kept = f"{pillar_of(machine)}.rpmsave"
    else:
        vm.run("rm -r /srv/salt/_tops")
        kept = pillar_of(machine)
    assert vm.run(f"cat {kept}") == PILLAR
    assert vm.run(f"find {CACHE} -type f -path '*vminterface*' -o -type f -name '*qubes_vm*'") == ""
    if machine.kind == "deb":
        vm.run(f"cp {kept} /root/mine")
        machine.remove(NAME, purge=True)
    else:
        vm.run(f"rm {kept}")
    assert machine.left() == set()


def test_configuration_is_configuration(machine: Machine, dist: Path) -> None:
    package = machine.package(dist, NAME)
    expected = {"/etc/salt/minion.d/formula-vminterface.conf", pillar_of(machine)}
    if machine.kind == "rpm":
        _, output = machine.manager("rpm -qp --configfiles", "", package)
        listed = set(output.split())
    else:
        machine.install(package)
        listed = set(machine.vm.run(f"dpkg-query -W -f '${{Conffiles}}' {NAME}").split())
    assert expected <= listed
    assert all(path.startswith(("/etc/", "/srv/pillar/")) for path in listed if path.startswith("/"))


def test_its_formula_can_be_exported_and_its_pages_are_there(machine: Machine, dist: Path) -> None:
    machine.install(machine.package(dist, NAME))
    vm = machine.vm
    vm.run("vminterface formula --export /run/exported")
    exported = "_beacons _grains _modules _output _pillar _runners _states _utils vminterface"
    assert vm.run("ls /run/exported").split() == exported.split()
    pages = vm.run(f"cd /usr/share/doc/{NAME}*/docs && find . -type f").split()
    assert {"./pillar.md", "./how-to/install.md", "./pictures/push.svg"} <= set(pages)
    vm.run("test -e /usr/share/bash-completion/completions/vminterface -a -e /usr/share/man/man1/vminterface.1.gz")
    verified = vm.run("systemd-analyze verify --man=no /usr/lib/systemd/system/vminterface-*.* 2>&1 || true")
    assert [line for line in verified.splitlines() if "vminterface" in line] == []


@pytest.mark.parametrize("machines", ["rpm"], indirect=True)
def test_it_is_refused_without_salt(machines: Machines, host: Dom0, dist: Path) -> None:
    machine = machines(host.daemon.root)
    machine.install(machine.stand_in("base", "/bin/sh, /usr/bin/python3, python3 = 3.13"))
    status, output = machine.manager("rpm -U", "", machine.package(dist, NAME))
    assert status != 0
    assert "salt is needed by vminterface-dom0" in output
    assert machine.left() == set()
