"""What a VM tells dom0 of itself after an installation: features, applications, and why one of them did not arrive."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.dom0 import Dom0
from tests.support.handlers import VM, Reply
from tests.support.qubesdb import Daemons
from vminterface.dom0.push.grants import grant_all

SERVICE = "qubes.PostInstall"
UNITS = """cups.socket enabled enabled
chronyd.service enabled enabled
crond.service disabled enabled
qubes-firewall.service enabled enabled
getty@.service enabled enabled
broken-line
"""


class World:
    """A VM with a QubesDB of its own, and a dom0 that logs what it is called for."""

    def __init__(self, top: Path, daemons: Daemons) -> None:
        self.vm = VM(top / "vm")
        self.daemons = daemons
        self.log = top / "log"
        (self.vm.root / "run/qubes").mkdir(parents=True)
        (self.vm.root / "run/qubes/qubesdb.sock").symlink_to(daemons.folder / "work/qubesdb.sock")
        self.program("systemctl", f"cat <<'END'\n{UNITS}END")
        self.dom0()

    def program(self, name: str, script: str) -> None:
        self.vm.write(f"bin/{name}", f"#!/bin/sh\n{script}\n", 0o755)

    def dom0(self, script: str = "exit 0") -> None:
        """Let dom0 answer calls by *script*, which has the service in ``$2``."""
        self.program("qrexec-client-vm", f'echo "$@" >>{self.log}; cat >{self.log}.$2; {script}')

    def call(self, *arguments: str) -> Reply:
        return self.vm.call(SERVICE, b"", *arguments, PATH=f"{self.vm.root}/bin:{os.environ['PATH']}")

    def called(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    def asked(self, folder: str = "features-request") -> dict[str, str]:
        with self.daemons.dom0("work") as store:
            found = store.tree(f"/{folder}")
        return {path.removeprefix(f"/{folder}/"): value.decode() for path, value in found.items()}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with Daemons(tmp_path / "dom0", "work") as daemons:
        yield World(tmp_path, daemons)


def test_a_template_without_qubes_packages_says_what_it_has(world: World) -> None:
    world.vm.write("etc/os-release", 'NAME="Fedora Linux"\nID=fedora\nVERSION_ID=43\nSUPPORT_END=2026-12-02\n')
    world.vm.write("etc/qubes-rpc/qubes.VMExec", "", 0o755)
    world.vm.write("etc/qubes-rpc/qubes.VMShell+WaitForSession", "", 0o755)
    world.vm.write("etc/qubes-rpc/README", "")
    (world.vm.root / "etc/qubes-rpc/example.Port").symlink_to("/dev/tcp/127.0.0.1/80")
    world.vm.write("boot/vmlinuz-6.9.1")
    world.vm.write("boot/config-6.9.1", "# CONFIG_XEN_BALLOON_MEMORY_HOTPLUG is not set\n")
    world.vm.write("boot/vmlinuz-6.12.5")
    world.vm.write("boot/config-6.12.5", "CONFIG_XEN_BALLOON_MEMORY_HOTPLUG=y\n")
    reply = world.call()
    assert (reply.status, reply.stdout, reply.stderr) == (0, b"", "")
    assert world.asked() == {
        "os-distribution": "fedora",
        "os-version": "43",
        "os-eol": "2026-12-02",
        "os": "Linux",
        "qrexec": "1",
        "vmexec": "1",
        "qubes-firewall": "1",
        "supported-service.clocksync": "1",
        "supported-service.cups": "1",
        "supported-service.qubes-firewall": "1",
        "supported-feature.memory-hotplug": "1",
        "supported-rpc.qubes.VMExec": "1",
        "supported-rpc.qubes.VMShell": "1",
    }
    assert world.called() == ["dom0 qubes.FeaturesRequest", "dom0 qubes.SyncAppMenus"]


def test_a_template_with_qubes_packages_says_their_release_and_services(world: World) -> None:
    world.vm.write("usr/share/qubes/marker-vm", "# This file marks\n4.3\n")
    world.vm.write("usr/bin/qubes-gui", "", 0o755)
    world.vm.write("etc/os-release", "ID=debian\nVERSION_ID='13'\n")
    world.vm.write(
        "usr/share/distro-info/debian.csv", "version,a,b,c,d,eol\n12,x,x,x,x,2026-06-10\n13,x,x,x,x,2028-08-09\n"
    )
    assert world.call().status == 0
    found = world.asked()
    assert (found["qubes-agent-version"], found["gui"], found["os-eol"]) == ("4.3", "1", "2028-08-09")
    assert found["supported-service.meminfo-writer"] == found["supported-service.minimal-netvm"] == "1"


def test_whonix_is_no_debian(world: World) -> None:
    world.vm.write("etc/os-release", "ID=debian\nVERSION_ID='13'\n")
    world.vm.write("usr/share/whonix/marker")
    world.vm.write("etc/whonix_version", "18\n")
    assert world.call().status == 0
    found = world.asked()
    assert (found["os-distribution"], found["os-distribution-like"], found["os-version"]) == ("whonix", "debian", "18")


def test_what_dom0_would_refuse_is_left_out_and_named(world: World) -> None:
    """One bad value costs a VM its whole request."""
    world.vm.write("etc/os-release", "ID='my/os'\nVERSION_ID='1;2'\nSUPPORT_END='2026-12-02'\n")
    world.vm.write(f"etc/qubes-rpc/example.{'Long' * 10}", "", 0o755)
    reply = world.call()
    assert reply.status == 0
    assert "'my/os' is not a valid value of the feature os-distribution" in reply.stderr
    assert "not a valid feature to ask for" in reply.stderr
    assert reply.stderr.count("\n") == 1
    assert not {"os-distribution", "os-version"} & set(world.asked())
    assert world.asked()["os-eol"] == "2026-12-02"


@pytest.mark.parametrize(("text", "services", "calls"), [("rw-only", {"example.Own"}, 1), ("none", set(), 1)])
def test_a_vm_of_a_template_tells_only_of_what_is_its_own(
    world: World, text: str, services: set[str], calls: int
) -> None:
    with world.daemons.dom0("work") as store:
        store.write("/qubes-vm-persistence", text.encode())
    world.vm.write("etc/qubes-rpc/qubes.VMExec", "", 0o755)
    world.vm.write("usr/local/etc/qubes-rpc/example.Own", "", 0o755)
    assert world.call().status == 0
    found = {name.removeprefix("supported-rpc.") for name in world.asked() if name.startswith("supported-rpc.")}
    assert found == services
    assert len(world.called()) == calls


def test_the_admins_programs_run_first_and_their_faults_keep_nothing_else(world: World) -> None:
    for name, script in (("20-a.sh", "exit 3"), ("30-b.sh", "exit 0")):
        world.vm.write(f"etc/qubes/post-install.d/{name}", f"#!/bin/sh\necho {name} >>{world.log}\n{script}\n", 0o755)
    world.vm.write("etc/qubes/post-install.d/README", "")
    world.vm.write("etc/qubes/post-install.d/40-off.sh", "#!/bin/sh\nexit 1\n")
    assert world.call().refused(SERVICE) == "/etc/qubes/post-install.d/20-a.sh ended with status 3"
    assert world.called() == ["20-a.sh", "30-b.sh", "dom0 qubes.FeaturesRequest", "dom0 qubes.SyncAppMenus"]


def test_an_older_dom0_hears_of_the_tools(world: World) -> None:
    world.vm.write("usr/bin/qubes-gui", "", 0o755)
    world.dom0("[ $2 != qubes.FeaturesRequest ] || exit 127")
    assert world.call().status == 0
    assert world.called() == ["dom0 qubes.FeaturesRequest", "dom0 qubes.NotifyTools", "dom0 qubes.SyncAppMenus"]
    assert world.asked("qubes-tools") == {"qrexec": "1", "gui": "1", "os": "Linux"}


def test_a_dom0_that_refuses_is_told_and_the_applications_still_go(world: World) -> None:
    world.dom0("[ $2 != qubes.FeaturesRequest ] || { echo Request refused >&2; exit 126; }")
    reason = world.call().refused(SERVICE)
    assert reason == "features: qubes.FeaturesRequest in dom0: the call was refused: Request refused"
    assert world.called()[-1] == "dom0 qubes.SyncAppMenus"


def test_a_dom0_without_a_menu_is_noted(world: World) -> None:
    world.dom0("[ $2 != qubes.SyncAppMenus ] || exit 127")
    reply = world.call()
    assert (reply.status, reply.stderr) == (
        0,
        f"{SERVICE}: dom0 does not accept applications: it has no qubes.SyncAppMenus\n",
    )


def test_in_a_xenstore_the_names_have_no_dots(tmp_path: Path) -> None:
    with Dom0(tmp_path / "x") as dom0:
        dom0.start_vm("work")
        with dom0.targets() as targets:
            grant_all(targets)
        vm = VM(tmp_path / "vm")
        vm.write("etc/qubes-rpc/qubes.VMExec", "", 0o755)
        for name in ("qrexec-client-vm", "systemctl"):
            vm.write(f"bin/{name}", "#!/bin/sh\ncat >/dev/null\n", 0o755)
        path = f"{vm.root}/bin:{os.environ['PATH']}"
        reply = vm.call(SERVICE, PATH=path, XENSTORED_PATH=dom0.daemon.socket(dom0.domids["work"]))
        assert (reply.status, reply.stderr) == (0, "")
        assert dom0.read("work", "features-request/supported-rpc@qubes@VMExec") == "1"
        assert dom0.read("work", "features-request/os") == "Linux"


def test_without_a_store_the_applications_still_go(world: World) -> None:
    world.daemons.stop()
    reason = world.call().refused(SERVICE)
    assert reason.startswith("features: ")
    assert world.called() == ["dom0 qubes.SyncAppMenus"]
