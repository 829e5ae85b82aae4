"""The emulated Xen host: dom0 and its VMs, as an admin sees them."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.dom0.saltdir import StateResult, parse_report
from lab.xen import paths
from lab.xen.emulator import LINUX_WORDS, Emulator, version
from lab.xen.image import Image
from vminterface.deadline import Deadline
from vminterface.errors import ConnectionLost, ProgramFailed, printable

#: For what hangs, not for what is slow: a busy machine has taken three times what an idle one does.
BOOT_SECONDS = 600.0
VM_SECONDS = 300.0
SALT_SECONDS = 600.0
COMMAND_SECONDS = 180.0
#: The domid of the VM ``$0`` that has got its console.
_WITH_CONSOLE = "domid=$(xl domid $0) && xenstore-read /local/domain/$domid/console/tty >/dev/null && echo $domid"
#: What a VM has to answer to a push: in an emulated machine a VM has a fraction of a slow processor.
ACKNOWLEDGE_SECONDS = 240


@dataclass(frozen=True, slots=True)
class VM:
    """A VM to make. ``netvm`` names the one that provides its network, ``ip`` is what the toolstack is told of it.

    ``extra`` is one of :data:`lab.xen.image.EXTRAS`, which this VM has besides what all have.
    """

    name: str
    netvm: str = ""
    ip: str = ""
    mac: str = ""
    provides: bool = False
    memory_mib: int = 288
    extra: str = ""


#: The VMs of the shipped pillar.
SHIPPED = (
    VM("sys-net", provides=True, memory_mib=320, extra="chrony"),
    VM("work", "sys-net", "10.137.0.12", "00:16:3e:5e:6c:0c", memory_mib=384, extra="screens"),
    VM("personal", "sys-net", "10.137.0.13", "00:16:3e:5e:6c:0d"),
)


class XenHost:
    """The host on *machine*; :meth:`boot`, or :func:`saved` and :meth:`restore`, come first."""

    def __init__(self, machine: Emulator) -> None:
        self.machine = machine
        self.domids: dict[str, int] = {}

    def boot(self) -> None:
        """Start the hypervisor and dom0. Raises DeadlineExceeded and ConnectionLost."""
        self.machine.boot(Deadline.after(BOOT_SECONDS))

    def dom0(self, *words: str, text: str = "", seconds: float = COMMAND_SECONDS) -> str:
        """Return what a command in dom0 prints. Raises ProgramFailed if it fails, and what the machine raises."""
        return _good(self.machine.call(words, text=text, seconds=seconds), "dom0")

    def vm(self, name: str, *words: str, text: str = "", seconds: float = COMMAND_SECONDS) -> str:
        """Return what a command in a VM prints. Raises ProgramFailed if it fails, and what the machine raises."""
        done = self.machine.call(words, text=text, seconds=seconds, domid=self.domids[name])
        return _good(done, name)

    def python(self, source: str, *arguments: str, seconds: float = COMMAND_SECONDS) -> str:
        """Return what Python in dom0 prints, with the library where it is installed."""
        return self.dom0(
            "env", "PYTHONPATH=/usr/local/lib/vminterface", "python3", "-c", source, *arguments, seconds=seconds
        )

    def create(self, vm: VM) -> int:
        """Make a VM and wait until it takes commands; return its domid."""
        config = _config(vm)
        path = f"/run/{vm.name}.cfg"
        self.dom0("tee", path, text=config)
        if vm.extra:
            self.dom0("sh", "-c", f"cat /boot/vm.cpio /boot/{vm.extra}.cpio >{_ramdisk(vm)}")
        self.dom0("xl", "create", "-p", "-q", path, seconds=VM_SECONDS)
        return self._started(vm.name, int(self.dom0("xl", "domid", vm.name)))

    def restarted(self, name: str) -> int:
        """Let a VM restart itself, and wait until it takes commands again; return its new domid."""
        deadline = Deadline.after(VM_SECONDS)
        self.vm(name, "sh", "-c", "{ sleep 0.5; reboot -f; } >/dev/null 2>&1 </dev/null &")
        while True:
            done = self.machine.call(["sh", "-c", _WITH_CONSOLE, name], seconds=COMMAND_SECONDS)
            if done.returncode == 0 and int(done.stdout) != self.domids[name]:
                return self._started(name, int(done.stdout))
            deadline.check(f"{name} has not restarted")
            time.sleep(0.5)

    def _started(self, name: str, domid: int) -> int:
        self.domids[name] = domid
        self.machine.open_console(domid)
        self.dom0("xl", "unpause", name)
        self.machine.wait_ready(domid, Deadline.after(VM_SECONDS))
        return domid

    def destroy(self, name: str) -> None:
        """End a VM at once."""
        self.dom0("xl", "destroy", name, seconds=VM_SECONDS)
        del self.domids[name]

    def pillar(self, vms: Mapping[str, Any]) -> None:
        """Let *vms* be the settings that the admin adds to the installed pillar, with the time that slow VMs need."""
        own = {"qubes": {"defaults": {"timeout": ACKNOWLEDGE_SECONDS}, "vms": dict(vms)}}
        self.dom0("tee", "/srv/pillar/own.sls", text=json.dumps(own) + "\n")
        self.dom0("tee", "/srv/pillar/top.sls", text="base:\n  dom0:\n    - vminterface\n    - own\n")

    def warm_salt(self) -> None:
        """Let Salt do once what need not be done in each run from now on: import its modules, and sync ours."""
        self.dom0("python3", "/lab/warm_salt.py", seconds=SALT_SECONDS)
        words = ["--local", "--out=quiet", "--retcode-passthrough", "state.highstate", "test=True"]
        self.dom0("salt-call", *words, seconds=SALT_SECONDS)
        own = "/etc/salt/minion.d"
        self.dom0("sh", "-c", f"mkdir {own} && cat >{own}/synced.conf", text="autoload_dynamic_modules: false\n")

    def cool_salt(self) -> None:
        """Undo :meth:`warm_salt`: from now on each run starts cold, and the next one syncs our modules."""
        self.dom0("sh", "-c", "kill $(cat /run/warm-salt.pid); rm -r /run/warm-salt /etc/salt/minion.d /var/cache/salt")

    def highstate(self) -> tuple[int, list[StateResult]]:
        """Run ``salt-call --local state.highstate`` in dom0; return its exit status and report."""
        words = ["salt-call", "--local", "--out=json", "--retcode-passthrough", "state.highstate"]
        done = self.machine.call(words, seconds=SALT_SECONDS)
        return done.returncode, parse_report(done.returncode, done.stdout, done.stderr)

    def off(self) -> None:
        """Switch the host off. Raises DeadlineExceeded."""
        with contextlib.suppress(ConnectionLost):
            self.machine.call(["poweroff", "-f"], seconds=COMMAND_SECONDS)
        self.machine.wait_off(Deadline.after(COMMAND_SECONDS))


def _good(done: subprocess.CompletedProcess[str], where: str) -> str:
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        words = printable(" ".join(done.args), 120)
        raise ProgramFailed(f"{where}: {words} failed (status {done.returncode}): {printable(said, 600)}")
    return done.stdout.strip()


def _ramdisk(vm: VM) -> str:
    """Return the VM's files, which the toolstack reads at each of its starts."""
    return f"/run/vm-{vm.extra}.cpio" if vm.extra else "/boot/vm.cpio"


def _config(vm: VM) -> str:
    """Return the VM's configuration (xl.cfg(5))."""
    lines = {
        "name": vm.name, "type": "pv", "memory": vm.memory_mib, "maxmem": vm.memory_mib, "vcpus": 1,
        "kernel": "/boot/vmlinux", "ramdisk": _ramdisk(vm),
        "extra": LINUX_WORDS + (" network_backend" if vm.provides else ""),
        "on_poweroff": "destroy", "on_reboot": "restart", "on_crash": "destroy",
    }  # fmt: skip
    if vm.netvm:
        lines["vif"] = [f"backend={vm.netvm},mac={vm.mac},ip={vm.ip}"]
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in lines.items())


def saved(image: Image, hear: Callable[[str], None], log: Callable[[str], None]) -> Path:
    """Return the folder of a saved host with the VMs of the shipped pillar; boot and save one where there is none."""

    def make(folder: Path) -> None:
        began = time.monotonic()
        with Emulator(image, hear) as machine:
            host = XenHost(machine)
            host.boot()
            for vm in SHIPPED:
                log(f"creating {vm.name}")
                host.create(vm)
            log("importing Salt, a first run in test mode")
            host.warm_salt()
            (folder / "domids.json").write_text(json.dumps(host.domids))
            log(f"saving, after {time.monotonic() - began:.0f} s")
            machine.save(folder / "state", Deadline.after(BOOT_SECONDS))

    return paths.cached("saved", _saved_mark(image), make)


def find_saved(image: Image) -> Path | None:
    """Return the folder that :func:`saved` has left, None where there is none."""
    return paths.find("saved", _saved_mark(image))


def _saved_mark(image: Image) -> str:
    sources = [Path(__file__).with_name(name) for name in ("emulator.py", "host.py")]
    return paths.mark(image.mark, version(), *sources)


def restored(folder: Path, machine: Emulator) -> XenHost:
    """Return the host that :func:`saved` left in *folder*, at work on *machine*."""
    machine.restore(folder / "state", Deadline.after(BOOT_SECONDS))
    host = XenHost(machine)
    host.domids = json.loads((folder / "domids.json").read_text())
    return host
