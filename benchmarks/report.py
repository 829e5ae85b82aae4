"""How fast dom0 learns what 200 VMs report, side by side with ``xenstore-ls`` once per VM, on the real xenstored.

    PYTHONPATH=_utils:. python benchmarks/report.py [--vms 200] [--rounds 7]

Each VM has the nodes that the toolstack makes and its memory, one in twenty three devices to offer. ``xenstore-ls``
prints a VM's nodes; ours takes what is wanted out of them, checked. Exit status 1 if the target is missed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.rows import Row, report
from lab.xenstored.fakexen import RealXenstored, missing
from vminterface.channel.store import Write
from vminterface.channel.xenstore.store import XenStore
from vminterface.dom0.inventory.targets import Targets
from vminterface.dom0.reports import devices as reports

TARGET = 50.0
#: What ``xl`` and Qubes' dom0 write for every VM, as a tree of nodes; its values do not matter here.
NODES = {
    "": "vm name domid data drivers attr error feature qubes-block-devices qubes-usb-devices",
    "memory/": "static-max target videoram",
    "control/": "shutdown feature-poweroff feature-reboot feature-suspend platform-feature-xs_reset_watches",
    "console/": "backend backend-id limit type output tty port ring-ref",
    "cpu/0/": "availability",
    "cpu/1/": "availability",
    "store/": "port ring-ref",
    "qubes-": "vm-type vm-updateable ip netmask gateway primary-dns secondary-dns timezone debug-mode",
    "qubes-service/": "meminfo-writer cups clocksync network-manager",
    "vminterface/": "agent ack/timezone ack/services ack/network",
    "device/vif/0/": "backend backend-id state handle mac mtu tx-ring-ref rx-ring-ref event-channel",
    **{
        f"device/vbd/{number}/": "backend backend-id state virtual-device device-type event-channel ring-ref protocol"
        for number in (51712, 51728, 51744, 51760)
    },
}
HOME = [folder + name for folder, names in NODES.items() for name in names.split()]
MEMORY = {"memory/meminfo": "210000", "memory/swapinfo": "0", "memory/static-max": "400000"}
#: One VM in so many has devices to offer.
WITH_DEVICES = 20
DEVICES = {
    **{
        f"qubes-block-devices/{name}/{key}": text
        for name in ("sda", "sda1")
        for key, text in {"desc": "Stick (X)", "size": "15376318464", "mode": "w", "parent": ""}.items()
    },
    "qubes-usb-devices/2-1/desc": "046d:c52b Logi Mouse 7",
    "qubes-usb-devices/2-1/usb-ver": "2",
    "qubes-usb-devices/2-1/interfaces": ":030102:",
}


def fill(store: XenStore, vms: int) -> None:
    writes = []
    for domid in range(1, vms + 1):
        home = f"/local/domain/{domid}"
        keys = dict.fromkeys(HOME, "1") | MEMORY | ({} if domid % WITH_DEVICES else DEVICES)
        keys["name"] = f"vm{domid}"
        writes += [Write(f"{home}/{key}", text.encode()) for key, text in keys.items()]
    store.batch(writes, timeout=60)


def one_pass(targets: Targets, vms: int) -> float:
    """Seconds for everybody's report, with the connection that is there."""
    began = time.perf_counter()
    found = reports.read(targets)
    took = time.perf_counter() - began
    devices = sum(len(report.block_devices) + len(report.usb_devices) for report in found.values())
    told = [report for report in found.values() if report.used_kb == 210000 and not report.warnings]
    if len(told) != vms or devices != 3 * (vms // WITH_DEVICES):
        raise SystemExit(f"{len(told)} of {vms} reports are whole, with {devices} devices")
    return took


def process_per_vm(program: str, path: str, vms: int) -> float:
    """Seconds for one ``xenstore-ls`` after the other."""
    environment = {**os.environ, "XENSTORED_PATH": path}
    began = time.perf_counter()
    for domid in range(1, vms + 1):
        command = [program, f"/local/domain/{domid}"]
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True, timeout=60)
    return time.perf_counter() - began


def main() -> int:
    parser = argparse.ArgumentParser(description="Speed of reading what all VMs report.")
    parser.add_argument("--vms", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    program = shutil.which("xenstore-ls")
    if missing() or program is None:
        print(missing() or "no program xenstore-ls (Debian package xenstore-utils)", file=sys.stderr)
        return 2
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as folder, RealXenstored(Path(folder) / "xen") as daemon:
        with XenStore.open(daemon.socket_path) as store:
            fill(store, arguments.vms)
        for _ in range(arguments.rounds):
            with Targets(lambda: XenStore.open(daemon.socket_path)) as targets:
                ours.append(one_pass(targets, arguments.vms))
            theirs.append(process_per_vm(program, daemon.socket_path, arguments.vms))
    ratio = statistics.median(b / a for a, b in zip(ours, theirs, strict=True))
    print(f"{arguments.vms} VMs, load {os.getloadavg()[0]:.2f}, medians of {arguments.rounds} rounds:")
    print(f"  qubes_vm.report, one pass   {statistics.median(ours) * 1000:8.1f} ms")
    print(f"  xenstore-ls once per VM     {statistics.median(theirs) * 1000:8.1f} ms")
    return report([Row("xenstore-ls of 200 VMs / report of them", ratio, TARGET, at_least=True)])


if __name__ == "__main__":
    sys.exit(main())
