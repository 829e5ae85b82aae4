"""What a push to many VMs costs dom0, with one change each and with none, and how that grows from 100 to 1,000 VMs.

    PYTHONPATH=_utils:. python benchmarks/push_growth.py [--vms 1000] [--rounds 3]

CPU time of this process, as the store, the real xenstored, has its own. No agent is there, as a thousand of them would
measure the machine; so nothing is waited for. Rounds with and without changes take turns, medians are compared.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.push_latency import FOLDERS, ZONES
from benchmarks.rows import Row, report
from lab.xenstored.fakexen import missing
from tests.support.dom0 import Dom0
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.push.outcome import Outcome
from vminterface.dom0.push.push import push

#: What changes may cost over none, and ten times the VMs over ten times a tenth of them.
CHANGES, GROWTH = 2.0, 1.3


def settings(vms: int, zone: str) -> list[VMSettings]:
    """Return a zone and twenty services for each VM."""
    services = {f"service-{n}": n % 2 == 0 for n in range(20)}
    raw = {"timezone": zone, "services": services, "confirm": False}
    return [VMSettings.parse(f"vm{n}", raw) for n in range(vms)]


def push_all(host: Dom0, desired: list[VMSettings]) -> list[Outcome]:
    """Push over a connection of its own."""
    with host.targets() as targets:
        return push(desired, targets)


def seconds(host: Dom0, desired: list[VMSettings], changes: int) -> float:
    """Push; return the seconds of CPU that this process took. Every VM has so many changes."""
    began = time.process_time()
    outcomes = push_all(host, desired)
    taken = time.process_time() - began
    if wrong := [one for one in outcomes if not one.ok or len(one.changes) != changes]:
        raise SystemExit(f"{wrong[0].comment()} (expected {changes} changes)")
    return taken


def measured(host: Dom0, vms: int, rounds: int) -> tuple[float, float]:
    """Return the seconds of a push without and with a change of each VM, medians."""
    without, with_one = [], []
    push_all(host, settings(vms, ZONES[0]))
    for number in range(1, rounds + 1):
        with_one.append(seconds(host, settings(vms, ZONES[number % 2]), 1))
        without.append(seconds(host, settings(vms, ZONES[number % 2]), 0))
    none, one = statistics.median(without), statistics.median(with_one)
    print(f"  {vms} VMs: {none:.3f} s of CPU without changes, {one:.3f} s with one of each")
    return none, one


def main() -> int:
    parser = argparse.ArgumentParser(description="Pushes to many VMs, with and without changes.")
    parser.add_argument("--vms", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if missing():
        print(missing(), file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for variable in FOLDERS:
            os.environ[variable] = str(folder / variable)
        with Dom0(folder / "xen") as host:
            for number in range(arguments.vms):
                host.start_vm(f"vm{number}")
            push_all(host, settings(arguments.vms, ZONES[0]))
            _, tenth = measured(host, arguments.vms // 10, arguments.rounds)
            none, one = measured(host, arguments.vms, arguments.rounds)
    vms = f"{arguments.vms} VMs"
    return report(
        [
            Row(f"push to {vms}, one change each / no change, CPU", one / none, CHANGES),
            Row(f"push to {vms}, one change each / 10 of a tenth", one / (10 * tenth), GROWTH),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
