"""The first part of a demo: three VMs, the shipped formula and pillar, and one value that one VM must refuse."""

from __future__ import annotations

import os
import shutil
import textwrap
from pathlib import Path
from typing import Any

from lab.control import Lab
from lab.demo import refusal
from lab.demo.checks import Broken, fields, heading, print_changes, print_report, require, time_in
from lab.dom0.saltdir import SaltDir, by_vm
from lab.linux.namespaces import why_no_network
from vminterface.dom0.inventory.targets import Targets
from vminterface.errors import printable

#: What the shipped pillar gives each VM, as the VM shows it: zone, address, a service that is on, one that is not.
EXPECTED = {
    "sys-net": ("Europe/Warsaw", "", "", "cups"),
    "work": ("America/Indiana/Indianapolis", "10.137.0.12", "cups", "clocksync"),
    "personal": ("Europe/Warsaw", "10.137.0.13", "meminfo-writer", "cups"),
}
REFUSING = "personal"
ZONES = "/usr/share/zoneinfo/Australia"
ZONE = "Australia/Eucla"


class Settings:
    """The steps, in their order, on the lab *lab* with the Salt of *salt*; *folder* is dom0's own."""

    def __init__(self, lab: Lab, salt: SaltDir, status: dict[str, Any], folder: Path) -> None:
        self.lab = lab
        self.salt = salt
        self.status = status
        self.folder = folder
        self.changed = 0
        #: What cannot be shown here, each with the reason.
        self.left_out: list[str] = []
        #: What the demo's admin adds to the shipped pillar.
        self.own: dict[str, dict[str, Any]] = {vm: {} for vm in EXPECTED}

    def run(self, *, whole: bool) -> None:
        """Do it all, or only the first two runs. Raises Broken, VMInterfaceError."""
        self.first_run()
        self.second_run()
        if whole:
            self.one_vm_refuses()
            self.mended()

    def first_run(self) -> None:
        heading("salt-call --local state.highstate")
        if not self.status["network"]:
            self.leave_out("network", [vm for vm, (_, address, _, _) in EXPECTED.items() if address], self.no_network())
        if not self.status["network"]:
            self.leave_out("provides_network", ["sys-net"], self.no_network())
        elif shutil.which("nft", path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None:
            reason = "the program nft is missing (Debian package nftables)"
            self.leave_out("provides_network", ["sys-net"], reason)
        self.salt.add_to_pillar({"qubes": {"vms": self.own}})
        code, report = self.salt.highstate()
        lines = by_vm(report, EXPECTED)
        print_report(report)
        for line in lines.values():
            print_changes(line)
        self.changed = sum(len(line.changes) for line in lines.values())
        require(code == 0 and all(r.ok is True for r in report), "the run succeeded in all three VMs")
        require(all(line.changes for line in lines.values()), "each VM had changes")
        heading("What each VM has now, as it sees it itself")
        self.print_all()

    def leave_out(self, field: str, vms: list[str], reason: str) -> None:
        """Take *field* from what the shipped pillar gives *vms*."""
        for vm in vms:
            self.own[vm] |= {field: None}
        self.left_out.append(f"{field} of {' and '.join(vms)}: {reason}")
        print(f"  (without {self.left_out[-1]})")

    def no_network(self) -> str:
        """Return why no VM has a network here."""
        return (
            why_no_network() if self.status["namespaces"] else "VMs are only folders here, as no namespaces are allowed"
        )

    def second_run(self) -> None:
        heading("The same again")
        code, report = self.salt.highstate()
        print_report(report)
        require(code == 0 and all(r.ok is True for r in report), "the run succeeded")
        require(not any(result.changes for result in report), "nothing was changed, as nothing had to be")

    def one_vm_refuses(self) -> None:
        heading(f"A zone that dom0 knows and {REFUSING} has not: {ZONE} for every VM")
        self.hide_zone()
        refusal.record_push(self.lab, self.folder, "work", REFUSING, ZONE)
        for own in self.own.values():
            own["timezone"] = ZONE
        self.salt.add_to_pillar({"qubes": {"vms": self.own}})
        code, report = self.salt.highstate()
        lines = by_vm(report, EXPECTED)
        print_report(report)
        require(code != 0, "salt-call says by its exit status that something failed")
        error = lines[REFUSING].comment
        require(
            lines[REFUSING].ok is False and REFUSING in error and ZONE in error and "\n" not in error,
            f"the fault is one sentence that names {REFUSING} and the zone",
        )
        require(not lines[REFUSING].changes, f"no change is claimed for {REFUSING}")
        others = [vm for vm in EXPECTED if vm != REFUSING]
        require(
            all(lines[vm].ok is True and fields(lines[vm]) == {"timezone"} for vm in others),
            f"{' and '.join(others)} have the new zone",
        )
        self.require_zones({vm: EXPECTED[vm][0] if vm == REFUSING else ZONE for vm in EXPECTED})
        with Targets() as targets:
            target = targets.one(REFUSING)
            held = target.store.read(target.path("qubes-timezone")).decode("ascii")
        require(held == EXPECTED[REFUSING][0], f"dom0 has put the key of {REFUSING} back to {held}")

    def mended(self) -> None:
        heading(f"{REFUSING} gets the zone's file, and the same pillar again")
        self.restore_zone()
        code, report = self.salt.highstate()
        print_report(report)
        require(code == 0 and all(r.ok is True for r in report), "the run succeeded")
        lines = by_vm(report, EXPECTED)
        require(
            {vm for vm, line in lines.items() if line.changes} == {REFUSING}
            and fields(lines[REFUSING]) == {"timezone"},
            f"only {REFUSING} was changed, and only its time zone",
        )
        self.require_zones(dict.fromkeys(EXPECTED, ZONE))

    def print_all(self) -> None:
        """Print a table of what the VMs say of themselves and hold it against the shipped pillar."""
        print(f"  {'VM':<9} {'hostname':<9} {'date':<21} {'ip route show default':<29} ls /run/qubes-service")
        facts = {vm: self.facts(vm) for vm in EXPECTED}
        for vm, (host, date, route, services) in facts.items():
            listed = textwrap.wrap(" ".join(services), 46)
            print(f"  {vm:<9} {host:<9} {date:<21} {route.removeprefix('default ') or '-':<29} {listed[0]}")
            for line in listed[1:]:
                print(f"{line:>{73 + len(line)}}")
        for vm, (host, date, route, services) in facts.items():
            zone, address, on, off = EXPECTED[vm]
            require(host == vm, f"{vm}: the host name is its own")
            self.require_zone(vm, date, zone)
            require((not on or on in services) and off not in services, f"{vm}: services as the pillar says")
            if self.status["network"] and address:
                own = self.in_vm(vm, "ip", "-4", "-brief", "address", "show", "eth0")
                require(address in own and "10.137.0.5" in route, f"{vm}: eth0 has {address}, via 10.137.0.5")

    def require_zones(self, zones: dict[str, str]) -> None:
        """Hold each VM's clock against *zones*."""
        for vm, zone in zones.items():
            self.require_zone(vm, self.facts(vm)[1], zone)

    @staticmethod
    def require_zone(vm: str, date: str, zone: str) -> None:
        """Raises Broken unless *date*, as the VM shows it, is in *zone*."""
        name = time_in(zone, "%Z")
        require(date.endswith(f" {name}"), f"{vm}: `date` there says {date}, which is {zone}")

    def facts(self, vm: str) -> tuple[str, str, str, list[str]]:
        """Return host name, date, default route and services, as programs in the VM show them."""
        root = self.status["vms"][vm]["root"]
        if self.status["namespaces"]:
            date = self.in_vm(vm, "date", "+%F %H:%M %Z")
            services = self.in_vm(vm, "ls", "/run/qubes-service").split()
            host = self.in_vm(vm, "hostname")
        else:
            zone = os.readlink(f"{root}/etc/localtime").partition("zoneinfo/")[2]
            date = time_in(zone, "%F %H:%M %Z")
            services = sorted(os.listdir(f"{root}/run/qubes-service"))
            host = Path(root, "etc/hostname").read_text().strip()
        route = self.in_vm(vm, "ip", "-4", "route", "show", "default") if self.status["network"] else ""
        return host, date, route, services

    def in_vm(self, vm: str, *command: str) -> str:
        """Return what *command* prints in *vm*. Raises Broken if it fails."""
        done = self.lab.run(vm, *command)
        if done.returncode != 0:
            raise Broken(f"{vm}: {' '.join(command)} failed: {printable(done.stderr)}")
        return done.stdout.strip()

    def hide_zone(self) -> None:
        """Take a folder of time zones from the VM that is to refuse, as if it had an older zone database."""
        if self.status["namespaces"]:
            self.in_vm(REFUSING, "mount", "-t", "tmpfs", "none", ZONES)
        else:
            folder = Path(self.status["vms"][REFUSING]["root"] + ZONES)
            folder.rename(folder.with_name("hidden"))

    def restore_zone(self) -> None:
        """Give it back."""
        if self.status["namespaces"]:
            self.in_vm(REFUSING, "umount", ZONES)
        else:
            folder = Path(self.status["vms"][REFUSING]["root"] + ZONES)
            folder.with_name("hidden").rename(folder)
