"""What an agent costs its VM while nothing happens: CPU time, wake-ups and memory, from the kernel's own counts.

    PYTHONPATH=_utils:. python benchmarks/agent_rest.py [--seconds 30]

The agent is the real one, reports included, as a process of its own against the real xenstored, with the root ``/`` as
in a VM, in namespaces whose ``/run`` and ``/etc`` are new and whose ``/proc/meminfo`` does not move: on a machine that
does other things memory is never at rest. The host's name is its own too: an agent that cannot set it starts
``hostname`` again and again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.rows import Row, report
from lab.paths import PROJECT
from lab.xenstored.fakexen import missing
from tests.support.dom0 import Dom0
from vminterface.vm.report import memory

#: Percent of one CPU, wake-ups a second, MiB.
CPU, WAKE_UPS, MEMORY = 0.05, 1.0, 20.0
#: Seconds after which a VM's memory counts as calm, and some more.
SETTLE = memory.QUIET_AFTER * memory.PERIOD + (memory.CALM_AFTER - memory.QUIET_AFTER) * memory.QUIET_PERIOD + 5.0
VM = """
mount --bind "$1" /proc/meminfo && mount -t tmpfs none /etc && mount -t tmpfs none /run || exit 1
mkdir /run/qubes-service && touch /run/qubes-service/meminfo-writer || exit 1
shift
exec "$@"
"""


def counts(pid: int) -> tuple[float, int]:
    """Return the seconds of CPU that the process has had, and how often its threads have waited."""
    seconds, waits = 0.0, 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        seconds += int((task / "schedstat").read_text().split()[0]) / 1e9
        lines = (task / "status").read_text().splitlines()
        waits += sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))
    return seconds, waits


def resident(pid: int) -> float:
    """Return the MiB of memory that the process has."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def main() -> int:
    parser = argparse.ArgumentParser(description="Cost of an agent at rest.")
    parser.add_argument("--seconds", type=float, default=30.0)
    arguments = parser.parse_args()
    if missing():
        print(missing(), file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder, Dom0(Path(folder, "xen")) as host:
        domid = host.start_vm("work")
        home = f"/local/domain/{domid}"
        with host.store() as store:
            for name in ("memory/meminfo", "memory/swapinfo", "vminterface"):
                store.write(f"{home}/{name}", b"")
                store.set_permissions(f"{home}/{name}", [f"n{domid}"])
            store.write(f"{home}/qubes-timezone", b"UTC")
        still = Path(folder, "meminfo")
        still.write_text(Path("/proc/meminfo").read_text())
        agent = subprocess.Popen(
            ["unshare", "-rmnu", "sh", "-c", VM, "sh", str(still), sys.executable, "-m", "vminterface", "agent"],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": str(PROJECT / "_utils"),
                 "XENSTORED_PATH": host.daemon.socket(domid)},
        )  # fmt: skip
        try:
            time.sleep(SETTLE)
            (seconds, waits), began = counts(agent.pid), time.monotonic()
            time.sleep(arguments.seconds)
            (seconds_after, waits_after), passed = counts(agent.pid), time.monotonic() - began
            mib = resident(agent.pid)
        finally:
            agent.terminate()
            agent.wait()
    return report(
        [
            Row("an agent at rest, of a CPU", 100 * (seconds_after - seconds) / passed, CPU, "%"),
            Row("an agent at rest, wake-ups a second", (waits_after - waits) / passed, WAKE_UPS),
            Row("an agent's resident memory", mib, MEMORY, "MiB"),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
