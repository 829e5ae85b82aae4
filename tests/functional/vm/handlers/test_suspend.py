"""What happens in a VM before and after a suspend: a folder stands for its kernel's files, and nothing sleeps."""

from __future__ import annotations

import os
import shutil
import threading
import time
from pathlib import Path

import pytest

from tests.support.agentcall import call, within
from tests.support.handlers import VM, Reply
from vminterface.errors import VMInterfaceError
from vminterface.vm.handlers import suspendpost, suspendpre
from vminterface.vm.handlers.runtime.steps import Steps
from vminterface.vm.machine.machine import Machine

ALL = ["qubes.SuspendPreAll", "qubes.SuspendPostAll"]
EACH = ["qubes.SuspendPre", "qubes.SuspendPost"]


class Kernel:
    """A VM with stand-ins for the commands that would change the machine; each writes what it was asked to a log."""

    def __init__(self, top: Path) -> None:
        self.vm = VM(top / "vm")
        self._bin = top / "bin"
        self._bin.mkdir()
        self.log = top / "log"
        for name in ("ip", "modprobe", "systemctl", "busctl", "dbus-send"):
            self.stand_in(name)
        for name in ("env", "tee", "sh", "head", "tail", "sleep"):
            (self._bin / name).write_text(f'#!/bin/sh\nexec {shutil.which(name)} "$@"\n')
            (self._bin / name).chmod(0o755)
        self.vm.write("/proc/cmdline", "root=/dev/xvda quiet\n")
        self.vm.write(
            "/proc/modules", "iwlwifi 300000 1 iwlmvm, Live 0x0\niwlmvm 1 0 - Live 0x0\next4 1 0 - Live 0x0\n"
        )
        self.vm.write("/proc/meminfo", "MemTotal: 400000 kB\nSwapFree: 0 kB\n")
        self.vm.write("/proc/sys/vm/compact_memory")
        self.vm.write("/proc/sys/vm/drop_caches")

    def stand_in(self, name: str, script: str = "exit 0") -> None:
        program = self._bin / name
        program.unlink(missing_ok=True)  # never through a link to the machine's own
        program.write_text(f"#!/bin/sh\necho {name} \"$@\" >>'{self.log}'\n{script}\n")
        program.chmod(0o755)

    def without(self, name: str) -> None:
        (self._bin / name).unlink()

    def interface(self, name: str, device: str | None, flags: str = "0x1003") -> None:
        place = self.vm.root / f"sys/class/net/{name}"
        place.mkdir(parents=True)
        (place / "flags").write_text(f"{flags}\n")
        if device:
            (self.vm.root / "sys/devices" / device).mkdir(parents=True, exist_ok=True)
            (place / "device").symlink_to(f"../../../devices/{device}")

    def device(self, address: str, driver: str | None, subsystem: str, vendor: str, kind: str = "0x028000") -> None:
        place = self.vm.root / f"sys/bus/pci/devices/{address}"
        place.mkdir(parents=True)
        for name, text in (("subsystem_vendor", subsystem), ("vendor", vendor), ("class", kind)):
            (place / name).write_text(f"{text}\n")
        if driver:
            folder = self.vm.root / f"sys/bus/pci/drivers/{driver}"
            folder.mkdir(parents=True, exist_ok=True)
            for name in ("unbind", "bind"):
                (folder / name).touch()
            (place / "driver").symlink_to(f"../../drivers/{driver}")

    def call(self, service: str, *arguments: str, **environment: str) -> Reply:
        return call(self.vm, service, b"", *arguments, source="dom0", timeout=30.0, PATH=str(self._bin), **environment)

    def done(self) -> list[str]:
        """Return what the commands were asked since the last time."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return lines


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    return Kernel(tmp_path)


@pytest.fixture
def net(kernel: Kernel) -> Kernel:
    """A VM with a WLAN device and all that is not to be touched."""
    kernel.interface("wls6", "pci0000:00/0000:00:06.0")
    kernel.interface("ens7", "pci0000:00/0000:00:07.0", "0x1002")
    kernel.interface("eth0", "vif-0")
    kernel.interface("vif3.0", "vif-3-0")
    kernel.interface("lo", None)
    kernel.device("0000:00:06.0", "iwlwifi", "0x8086", "0x8086")
    kernel.device("0000:00:02.0", "i915", "0x17aa", "0x8086", "0x030000")
    kernel.device("0000:00:03.0", "xen-platform-pci", "0x5853", "0x5853")
    kernel.device("0000:00:04.0", "ehci-pci", "0x1af4", "0x8086")
    kernel.device("0000:00:08.0", None, "0x1234", "0x1234")
    kernel.vm.write("/etc/qubes-suspend-module-blacklist", "# comment\niwlmvm\n\n  iwlwifi\nnot-loaded\n")
    kernel.vm.write("/rw/config/suspend-module-blacklist", "#iwlmvm\n")
    return kernel


def remembered(kernel: Kernel) -> dict[str, str]:
    folder = kernel.vm.root / "run/vminterface/suspended"
    return {path.name: path.read_text() for path in folder.iterdir()} if folder.exists() else {}


def test_a_suspend_switches_off_and_remembers(net: Kernel) -> None:
    reply = net.call("qubes.SuspendPre")
    assert (reply.status, reply.stdout, reply.stderr) == (0, b"", "")
    assert net.done() == ["ip link set dev wls6 down", "modprobe -r iwlmvm", "modprobe -r iwlwifi"]
    assert net.vm.read("/sys/bus/pci/drivers/iwlwifi/unbind") == "0000:00:06.0"
    for untouched in ("i915", "xen-platform-pci", "ehci-pci"):
        assert net.vm.read(f"/sys/bus/pci/drivers/{untouched}/unbind") == ""
    assert remembered(net) == {
        "interfaces": "wls6\n",
        "pci-devices": "0000:00:06.0 iwlwifi\n",
        "modules": "iwlmvm\niwlwifi\n",
    }


def test_a_resume_switches_on_again_and_forgets(net: Kernel) -> None:
    net.call("qubes.SuspendPre")
    net.done()
    (net.vm.root / "sys/bus/pci/devices/0000:00:06.0/driver").unlink()
    reply = net.call("qubes.SuspendPost")
    assert (reply.status, reply.stdout, reply.stderr) == (0, b"", "")
    assert net.done() == ["modprobe iwlwifi", "modprobe iwlmvm", "ip link set dev wls6 up"]
    assert net.vm.read("/sys/bus/pci/drivers/iwlwifi/bind") == "0000:00:06.0"
    assert net.vm.read("/proc/sys/vm/compact_memory") == "1"
    assert net.vm.read("/proc/sys/vm/drop_caches") == ""
    assert remembered(net) == {}


def test_a_resume_without_a_suspend_does_nothing(net: Kernel) -> None:
    before = net.vm.content()
    assert net.call("qubes.SuspendPost").status == 0
    assert net.done() == []
    assert net.vm.content() == before


def test_a_second_suspend_forgets_nothing(net: Kernel) -> None:
    net.call("qubes.SuspendPre")
    (net.vm.root / "sys/bus/pci/devices/0000:00:06.0/driver").unlink()
    net.vm.write("/proc/modules", "")
    net.call("qubes.SuspendPre")
    assert remembered(net)["pci-devices"] == "0000:00:06.0 iwlwifi\n"
    assert remembered(net)["modules"] == "iwlmvm\niwlwifi\n"


def test_a_device_that_is_gone_or_has_its_driver_is_not_bound(net: Kernel) -> None:
    net.vm.write("/run/vminterface/suspended/pci-devices", "0000:00:06.0 iwlwifi\n0000:00:0a.0 gone\n")
    assert net.call("qubes.SuspendPost").status == 0
    assert net.vm.read("/sys/bus/pci/drivers/iwlwifi/bind") == ""
    assert remembered(net) == {}


def resume(kernel: Kernel) -> None:
    """Answer SuspendPost in this process."""
    with within(kernel.vm, "qubes.SuspendPost", b"") as (one, _):
        suspendpost.handle(one)


def test_an_interface_that_its_driver_makes_later_is_waited_for(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(kernel._bin))
    kernel.vm.write("/run/vminterface/suspended/modules", "iwlwifi\n")
    kernel.vm.write("/run/vminterface/suspended/interfaces", "wls6\n")
    timer = threading.Timer(0.5, kernel.interface, ["wls6", None])
    timer.start()
    resume(kernel)
    timer.join()
    assert kernel.done() == ["modprobe iwlwifi", "ip link set dev wls6 up"]
    assert remembered(kernel) == {}


def test_an_interface_that_does_not_come_is_kept_for_the_next_time(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(kernel._bin))
    monkeypatch.setattr(suspendpost, "INTERFACE_TIMEOUT", 0.3)
    kernel.vm.write("/run/vminterface/suspended/modules", "iwlwifi\n")
    kernel.vm.write("/run/vminterface/suspended/interfaces", "wls6\nens7\n")
    kernel.interface("ens7", None)
    resume(kernel)
    assert kernel.done() == ["modprobe iwlwifi", "ip link set dev ens7 up"]
    assert remembered(kernel) == {"interfaces": "wls6\n"}
    # Nothing has been switched on this time that could make one.
    monkeypatch.setattr(suspendpost, "INTERFACE_TIMEOUT", 100)
    resume(kernel)
    assert kernel.done() == []
    kernel.interface("wls6", None)
    resume(kernel)
    assert kernel.done() == ["ip link set dev wls6 up"]
    assert remembered(kernel) == {}


def test_waiting_for_interfaces_ends_with_the_time_of_all_steps(tmp_path: Path) -> None:
    steps = Steps(Machine(str(tmp_path)), 0.2)
    began = time.monotonic()
    assert not steps.wait(lambda: False, 100)
    assert time.monotonic() - began < 10
    steps.finish()


def test_a_device_whose_driver_has_another_name_now_is_probed(net: Kernel) -> None:
    net.vm.write("/sys/bus/pci/drivers_probe")
    net.vm.write("/run/vminterface/suspended/pci-devices", "0000:00:08.0 former\n")
    assert net.call("qubes.SuspendPost").status == 0
    assert net.vm.read("/sys/bus/pci/drivers_probe") == "0000:00:08.0"


def test_steps_that_fail_are_told_after_the_others_and_kept_for_the_next_time(net: Kernel) -> None:
    net.call("qubes.SuspendPre")
    net.done()
    (net.vm.root / "sys/bus/pci/devices/0000:00:06.0/driver").unlink()
    net.stand_in("modprobe", "echo no such module >&2; exit 1")
    reason = net.call("qubes.SuspendPost").refused("qubes.SuspendPost")
    assert reason.count("no such module") == 2
    assert net.done()[-1] == "ip link set dev wls6 up"
    assert net.vm.read("/sys/bus/pci/drivers/iwlwifi/bind") == "0000:00:06.0"
    assert remembered(net) == {"modules": "iwlmvm\niwlwifi\n"}


def test_what_could_not_be_switched_off_is_not_remembered(net: Kernel) -> None:
    net.stand_in("ip", "exit 2")
    net.stand_in("modprobe", "exit 1")
    (net.vm.root / "sys/bus/pci/drivers/iwlwifi/unbind").unlink()
    (net.vm.root / "sys/bus/pci/drivers/iwlwifi/unbind").mkdir()
    reason = net.call("qubes.SuspendPre").refused("qubes.SuspendPre")
    assert "ip ended with status 2" in reason
    assert "tee ended with status 1" in reason
    assert remembered(net) == {}


def test_a_vm_that_is_suspended_to_idle_keeps_its_devices(net: Kernel) -> None:
    net.vm.write("/proc/cmdline", "quiet qubes_exp_pm_use_suspend=1\n")
    assert net.call("qubes.SuspendPre").status == 0
    assert net.done() == []
    assert remembered(net) == {}


@pytest.mark.parametrize("hang", [False, True])
def test_what_may_be_switched_off_after_its_time_is_remembered(
    net: Kernel, monkeypatch: pytest.MonkeyPatch, hang: bool
) -> None:
    flags, driver = "sys/class/net/wls6/flags", "sys/bus/pci/devices/0000:00:06.0/driver"
    if hang:
        # The kernel has not begun yet, and will go on when nobody waits any more.
        net.stand_in("ip", "exec sleep 60")
        net.stand_in("tee", "exec sleep 60")
    else:
        net.stand_in("ip", f"echo 0x1002 >'{net.vm.root}/{flags}'; exit 2")
        net.stand_in("tee", f"PATH='{os.environ['PATH']}' rm '{net.vm.root}/{driver}'; exit 1")
    monkeypatch.setenv("PATH", str(net._bin))
    for act in (suspendpre._interfaces_down, suspendpre._unbind):
        steps = Steps(Machine(str(net.vm.root)), 0.5)
        act(steps)
        with pytest.raises(VMInterfaceError):
            steps.finish()
    assert remembered(net) == {"interfaces": "wls6\n", "pci-devices": "0000:00:06.0 iwlwifi\n"}


def test_a_line_may_name_several_modules(net: Kernel) -> None:
    net.vm.write("/etc/qubes-suspend-module-blacklist", "iwlmvm\t iwlwifi not-loaded\next4 # not this one\n")
    assert net.call("qubes.SuspendPre").status == 0
    assert net.done()[1:] == ["modprobe -r iwlmvm", "modprobe -r iwlwifi"]
    assert remembered(net)["modules"] == "iwlmvm\niwlwifi\n"


#: Unloads as modprobe does: a module that another one uses stays, and one takes those with it that it used alone.
MODPROBE = """
modules='{root}/proc/modules'
[ "$1" = -r ] || exit 0
case $2 in
    iwlwifi) if grep -q "^iwlmvm" "$modules"; then echo "FATAL: Module iwlwifi is in use." >&2; exit 1; fi ;;
    {held}) echo "FATAL: Module $2 is in use." >&2; exit 1 ;;
esac
{taken}
kept=$(grep -v "^$2" "$modules")
echo "$kept" >"$modules"
"""


@pytest.mark.parametrize("taken", ["", """[ "$2" != iwlmvm ] || set -- -r iwl"""])
def test_a_module_in_use_is_tried_again_once_the_others_are_gone(net: Kernel, taken: str) -> None:
    (net._bin / "grep").symlink_to(str(shutil.which("grep")))
    net.stand_in("modprobe", MODPROBE.format(root=net.vm.root, held="none", taken=taken))
    net.vm.write("/etc/qubes-suspend-module-blacklist", "iwlwifi\niwlmvm\n")
    reply = net.call("qubes.SuspendPre")
    assert (reply.status, reply.stderr) == (0, "")
    assert net.vm.read("/proc/modules").strip() == "ext4 1 0 - Live 0x0"
    assert sorted(remembered(net)["modules"].split()) == ["iwlmvm", "iwlwifi"]


def test_a_module_that_stays_loaded_is_named(net: Kernel) -> None:
    (net._bin / "grep").symlink_to(str(shutil.which("grep")))
    net.stand_in("modprobe", MODPROBE.format(root=net.vm.root, held="iwlmvm", taken=""))
    net.vm.write("/etc/qubes-suspend-module-blacklist", "iwlwifi\niwlmvm\n")
    reason = net.call("qubes.SuspendPre").refused("qubes.SuspendPre")
    assert "the kernel module iwlwifi is still loaded: modprobe ended with status 1: FATAL: Module iwlwifi" in reason
    assert "the kernel module iwlmvm is still loaded" in reason
    assert "modules" not in remembered(net)


@pytest.mark.parametrize("line", ["-r ext4", "ext4 --all", "--all", "../x", "a;reboot", "\x1b[0m"])
def test_a_line_that_is_no_module_is_told_and_not_used(net: Kernel, line: str) -> None:
    net.vm.write("/etc/qubes-suspend-module-blacklist", f"{line}\niwlmvm\n")
    assert "is not a valid name of a kernel module" in net.call("qubes.SuspendPre").refused("qubes.SuspendPre")
    assert [one for one in net.done() if "modprobe" in one] == ["modprobe -r iwlmvm"]


@pytest.mark.parametrize(("service", "word"), [("qubes.SuspendPre", "true"), ("qubes.SuspendPost", "false")])
def test_networkmanager_is_told_where_it_is_this_vms(kernel: Kernel, service: str, word: str) -> None:
    assert kernel.call(service).status == 0
    assert kernel.done() == []
    kernel.vm.write("/run/qubes-service/network-manager")
    name, path = "org.freedesktop.NetworkManager", "/org/freedesktop/NetworkManager"
    assert kernel.call(service).status == 0
    assert kernel.done() == [f"busctl --system --timeout=5 call {name} {path} {name} Sleep b {word}"]
    kernel.without("busctl")
    assert kernel.call(service).status == 0
    (said,) = kernel.done()
    assert said.startswith("dbus-send --system ")
    assert said.endswith(f" --dest={name} {path} {name}.Sleep boolean:{word}")


@pytest.mark.parametrize(("service", "word"), [("qubes.SuspendPre", "stop"), ("qubes.SuspendPost", "start")])
def test_networkmanager_that_cannot_be_told_is_stopped_or_started(kernel: Kernel, service: str, word: str) -> None:
    kernel.vm.write("/run/qubes-service/network-manager")
    kernel.stand_in("busctl", "echo Call failed: no such name >&2; exit 1")
    assert kernel.call(service).status == 0
    assert kernel.done()[-1] == f"systemctl {word} NetworkManager.service"
    kernel.stand_in("systemctl", "exit 5")
    assert "systemctl ended with status 5" in kernel.call(service).refused(service)


@pytest.mark.parametrize(("service", "state"), [("qubes.SuspendPre", "asleep"), ("qubes.SuspendPost", "awake")])
def test_networkmanager_that_is_so_already_is_left(kernel: Kernel, service: str, state: str) -> None:
    kernel.vm.write("/run/qubes-service/network-manager")
    kernel.stand_in("busctl", f"echo Call failed: Already {state} >&2; exit 1")
    assert kernel.call(service).status == 0
    assert len(kernel.done()) == 1


def test_networkmanager_sets_its_interfaces_up_itself(net: Kernel) -> None:
    net.vm.write("/run/qubes-service/network-manager")
    net.vm.write("/run/vminterface/suspended/interfaces", "wls6\n")
    assert net.call("qubes.SuspendPost").status == 0
    assert not [line for line in net.done() if line.startswith("ip ")]
    assert remembered(net) == {}


def test_a_minimal_netvm_drops_its_caches(net: Kernel) -> None:
    net.vm.write("/run/qubes-service/minimal-netvm")
    net.vm.write("/run/vminterface/suspended/modules", "iwlwifi\n")
    assert net.call("qubes.SuspendPost").status == 0
    assert net.vm.read("/proc/sys/vm/drop_caches") == "3"


@pytest.mark.parametrize(("free", "pushed"), [(1023, False), (1024, True)])
def test_memory_is_pushed_to_a_swap_space_that_takes_it(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch, free: int, pushed: bool
) -> None:
    kernel.stand_in("sh")
    monkeypatch.setenv("PATH", str(kernel._bin))
    monkeypatch.setattr(suspendpost, "PUSHED", 1 << 20)
    kernel.vm.write("/proc/meminfo", f"SwapFree:    {free} kB\n")
    suspendpost._make_room(Steps(Machine(str(kernel.vm.root)), 10))
    assert any("head -c 1048576" in line for line in kernel.done()) == pushed


def test_a_command_that_hangs_costs_its_deadline_and_no_more(net: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    net.stand_in("ip", "exec sleep 60")
    monkeypatch.setenv("PATH", str(net._bin))
    steps = Steps(Machine(str(net.vm.root)), 1)
    began = time.monotonic()
    assert not steps.run(["ip", "link"])
    assert not steps.run(["modprobe", "x"])
    assert time.monotonic() - began < 5
    assert net.done() == ["ip link"]


@pytest.mark.parametrize("service", ALL)
def test_the_admins_programs_run_in_order_and_others_do_not(kernel: Kernel, service: str) -> None:
    folder = "/etc/qubes/suspend-pre.d" if "Pre" in service else "/etc/qubes/suspend-post.d"
    note = kernel.log
    for name, mode in (("20-b.sh", 0o755), ("10-a.sh", 0o755), ("30-c.sh", 0o644), ("40-d", 0o755)):
        kernel.vm.write(f"{folder}/{name}", f"#!/bin/sh\necho {name}; echo {name} >>'{note}'\n", mode)
    (kernel.vm.root / folder.lstrip("/") / "50-e.sh").mkdir()
    reply = kernel.call(service)
    assert (reply.status, reply.stdout, reply.stderr) == (0, b"", "")
    assert kernel.done() == ["10-a.sh", "20-b.sh"]


@pytest.mark.parametrize("service", ALL)
def test_a_program_of_the_admin_that_fails_is_named_and_stops_no_other(kernel: Kernel, service: str) -> None:
    folder = "/etc/qubes/suspend-pre.d" if "Pre" in service else "/etc/qubes/suspend-post.d"
    kernel.vm.write(f"{folder}/1.sh", "#!/bin/sh\nexit 3\n", 0o755)
    kernel.vm.write(f"{folder}/2.sh", "no program", 0o755)
    kernel.vm.write(f"{folder}/3.sh", f"#!/bin/sh\necho 3 >>'{kernel.log}'\n", 0o755)
    reason = kernel.call(service).refused(service)
    assert f"{folder}/1.sh ended with status 3" in reason
    assert f"{folder}/2.sh: " in reason
    assert kernel.done() == ["3"]


def test_what_a_program_of_the_admin_leaves_behind_holds_nothing_up(kernel: Kernel) -> None:
    script = f"#!/bin/sh\nsleep 30 &\necho $! >'{kernel.log}'\n"
    kernel.vm.write("/etc/qubes/suspend-pre.d/1.sh", script, 0o755)
    began = time.monotonic()
    assert kernel.call("qubes.SuspendPreAll").status == 0
    assert time.monotonic() - began < 10
    os.kill(int(kernel.done()[0]), 9)


@pytest.mark.parametrize("service", [*ALL, *EACH])
def test_without_anything_to_do_a_call_succeeds_and_leaves_nothing(tmp_path: Path, service: str) -> None:
    vm = VM(tmp_path / "bare")
    before = vm.content()
    reply = call(vm, service)
    assert (reply.status, reply.stdout, reply.stderr) == (0, b"", "")
    assert vm.content() == before


@pytest.mark.parametrize("service", [*ALL, *EACH])
def test_an_argument_is_refused(net: Kernel, service: str) -> None:
    before = net.vm.content()
    net.call(service, "x", QREXEC_SERVICE_ARGUMENT="x").refused(service)
    assert net.vm.content() == before
