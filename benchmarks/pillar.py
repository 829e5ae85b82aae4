"""How long a pillar of 10,000 VMs takes to be checked, as before a push or by ``vminterface check``, and its memory.

    PYTHONPATH=_utils:. python benchmarks/pillar.py [--vms 10000] [--rounds 3]

What is measured is the CPU time from the mapping, as Salt or a YAML reader hands it out, to the settings and what is to
be said of them, and the largest size of a process that does no more than that. Beside it a tenth of the VMs: their time
tells how it grows.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

from benchmarks.rows import Row, report

#: Seconds, and MiB, of 10,000 VMs; how much more than ten times the time of a tenth.
SECONDS, MEMORY, GROWTH = 1.5, 80.0, 1.3
_SERVICES = ("cups", "crond", "meminfo-writer", "clocksync", "network-manager", "updates-proxy-setup")


def pillar(vms: int) -> dict[str, Any]:
    """Return a pillar with 20 keys for each VM, none of whose mappings is another's."""
    return {
        "qubes": {
            "vms": {
                f"vm{n}": {
                    "type": "AppVM", "updateable": False, "persistence": "rw-only", "default_user": "user",
                    "timezone": "Europe/Warsaw", "keyboard": "pl+dvorak", "debug": False,
                    "services": {service: number % 2 == 0 for number, service in enumerate(_SERVICES)},
                    "network": {
                        "ip": f"10.{137 + n // 62500}.{n // 250 % 250}.{n % 250}", "netmask": "255.255.255.255",
                        "gateway": "10.137.255.1", "dns": ["10.139.1.1", "10.139.1.2"],
                        "mac": f"00:16:3e:{n >> 16 & 255:02x}:{n >> 8 & 255:02x}:{n & 255:02x}",
                    },
                }
                for n in range(1, vms + 1)
            }
        }
    }  # fmt: skip


def one(vms: int) -> int:
    """Check a pillar of so many VMs; print the seconds of CPU, and this process's largest size in MiB."""
    from vminterface.dom0.desired import hints
    from vminterface.dom0.desired.settings import parse_pillar

    data = pillar(vms)
    began = time.process_time()
    settings = parse_pillar(data)
    notes = [note for of_vm in settings for note in hints.of(of_vm)]
    seconds = time.process_time() - began
    assert len(settings) == vms
    assert not notes, notes[0]
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return 0


def measured(vms: int, rounds: int) -> tuple[float, float]:
    """Return the seconds and the MiB, medians of processes of their own."""
    words = [sys.executable, __file__, "--one", str(vms)]
    runs = [subprocess.run(words, check=True, capture_output=True, text=True).stdout.split() for _ in range(rounds)]
    seconds, mib = (statistics.median(float(run[part]) for run in runs) for part in (0, 1))
    print(f"  {vms} VMs: {seconds:.3f} s of CPU, {mib:.0f} MiB")
    return seconds, mib


def main() -> int:
    parser = argparse.ArgumentParser(description="A pillar of many VMs, checked.")
    parser.add_argument("--vms", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        return one(arguments.one)
    tenth, _ = measured(arguments.vms // 10, arguments.rounds)
    seconds, mib = measured(arguments.vms, arguments.rounds)
    return report(
        [
            Row(f"pillar of {arguments.vms} VMs checked, CPU", seconds, SECONDS * arguments.vms / 10_000, "s"),
            Row(f"pillar of {arguments.vms} VMs checked, memory", mib, MEMORY, "MiB"),
            Row(f"pillar of {arguments.vms} VMs / 10 of a tenth", seconds / (10 * tenth), GROWTH),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
