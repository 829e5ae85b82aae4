"""``make demo-xen``: a real Xen host boots, and its VMs get what the shipped formula and pillar say.

Where the tests have booted and saved one of the same files, that one goes on.
Every claim that is printed is checked; the exit status is 0 only if all of them were true.
"""

from __future__ import annotations

import signal
import sys
import time

from lab.dom0.saltdir import by_vm
from lab.xen import image
from lab.xen.emulator import Emulator, version
from lab.xen.host import SHIPPED, XenHost, find_saved, restored
from vminterface.errors import VMInterfaceError, printable

#: What the shipped pillar gives each VM, as the VM shows it: abbreviation of its zone, address, services on.
EXPECTED = {
    "sys-net": (("CET", "CEST"), "", frozenset[str]()),
    "work": (("EST", "EDT"), "10.137.0.12", frozenset({"cups", "meminfo-writer"})),
    "personal": (("CET", "CEST"), "10.137.0.13", frozenset({"meminfo-writer"})),
}
GATEWAY = "10.137.0.5"


class Broken(Exception):
    """Something is not as it has to be."""


class Demo:
    """Tells what happens, with the seconds since its beginning."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def run(self) -> None:
        """Raises Broken, VMInterfaceError."""
        self.heading("the image: hypervisor, dom0 with Salt and this project, VMs with the agent")
        self.log(version())
        made = image.build(lambda step: self.log(step))
        folder = find_saved(made)
        with Emulator(made, self.hear) as machine:
            if folder:
                self.heading("resuming the host that the tests have booted and saved")
                host = restored(folder, machine)
                host.cool_salt()
            else:
                self.heading("booting Xen")
                host = self.booted(machine)
            self.log(host.dom0("sh", "-c", "xl info | grep -E 'xen_version|xen_caps|free_memory' | tr -s ' \\n' ' '"))
            print(indented(host.dom0("xl", "list")))
            # Besides what is shipped it says that VMs may take their time, as emulated ones do.
            host.pillar({})
            self.first_run(host)
            self.inspect(host)
            self.second_run(host)
            self.heading("switching off")
            self.log(f"QEMU had {machine.peak_mib} MiB at most")
            host.off()

    def booted(self, machine: Emulator) -> XenHost:
        host = XenHost(machine)
        host.boot()
        for vm in SHIPPED:
            domid = host.create(vm)
            where = f", its eth0 goes to {vm.netvm}" if vm.netvm else ", it provides network"
            self.log(f"{vm.name} is domain {domid}{where if vm.netvm or vm.provides else ''}")
        return host

    def first_run(self, host: XenHost) -> None:
        self.heading("in dom0: salt-call --local state.highstate")
        code, report = host.highstate()
        for line in report:
            self.log(line.comment)
        lines = by_vm(report, EXPECTED).values()
        for line in lines:
            self.log(f"{line.name}: {line.comment or 'set'}")
            for field, change in line.changes.items():
                old, new = (printable(str(change[side]), 40) for side in ("old", "new"))
                print(f"           {field:<29} {old} -> {new}")
        self.require(code == 0 and all(line.ok is True for line in report), "the run succeeded")
        self.require(all(line.changes for line in lines), "each VM had changes")

    def inspect(self, host: XenHost) -> None:
        self.heading("what each VM has now, as it sees it itself")
        for vm, (zones, address, services) in EXPECTED.items():
            date, name = host.vm(vm, "date", "+%F %H:%M %Z"), host.vm(vm, "hostname")
            listed = set(host.vm(vm, "ls", "/run/qubes-service").split())
            self.require(name == vm, f"{vm}: hostname says {name}")
            self.require(date.endswith(zones), f"{vm}: date says {date}")
            self.require(services <= listed, f"{vm}: services {' '.join(sorted(listed)) or '-'}")
            cups = "cups" in listed
            self.require(cups == ("cups" in services), f"{vm}: cups is {'on' if cups else 'off'}")
            if address:
                addresses = host.vm(vm, "ip", "-4", "-brief", "address", "show", "eth0")
                route = host.vm(vm, "ip", "-4", "route", "show", "default")
                self.require(address in addresses, f"{vm}: {' '.join(addresses.split())}")
                self.require(GATEWAY in route, f"{vm}: {route}")
                reached = host.vm(vm, "ping", "-c", "1", "-W", "10", GATEWAY, seconds=20)
                self.require(" 0% packet loss" in reached, f"{vm} reaches {GATEWAY}, which is sys-net, over its vif")

    def second_run(self, host: XenHost) -> None:
        self.heading("the same highstate again")
        code, report = host.highstate()
        for line in report:
            self.log(line.comment)
        self.require(code == 0 and all(line.ok is True for line in report), "the run succeeded")
        self.require(not any(line.changes for line in report), "nothing was changed, as nothing had to be")

    def heading(self, text: str) -> None:
        """Begin a step."""
        print(f"\n== {text}", flush=True)

    def log(self, text: str) -> None:
        """Tell of something that has happened."""
        print(f"  [{time.monotonic() - self._began:4.0f} s] {text}", flush=True)

    def hear(self, line: str) -> None:
        """Show what the machine's console says of its progress."""
        if line.startswith(("(XEN) Xen version", "dom0:", "domain ")):
            self.log(printable(line, 110))

    def require(self, condition: bool, claim: str) -> None:
        """Tell *claim* if it is true. Raises Broken."""
        if not condition:
            raise Broken(f"not as expected: {claim}")
        self.log(f"ok  {claim}")

    @property
    def seconds(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began


def indented(text: str) -> str:
    """Return *text* with a margin."""
    return "".join(f"           {line}\n" for line in text.splitlines())


def _interrupted(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def demo() -> int:
    """Run it all; return the exit status."""
    signal.signal(signal.SIGTERM, _interrupted)
    one = Demo()
    try:
        one.run()
    except (Broken, VMInterfaceError, OSError) as error:
        print(f"\ndemo FAILED: {error} ({one.seconds:.0f} s)", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndemo: interrupted", file=sys.stderr)
        return 130
    print(f"\ndemo ok: a real dom0 has configured {len(EXPECTED)} real VMs ({one.seconds:.0f} s)")
    return 0
