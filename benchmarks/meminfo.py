"""What a VM's report of its memory costs while nothing changes: CPU time, as a share of one CPU.

    PYTHONPATH=_utils:. python benchmarks/meminfo.py [--seconds 10]

The report runs as it does in the agent, in a process of its own, against the real xenstored. It reads the real
``/proc/meminfo`` each time and then goes by what that said first, so that nothing changes on a busy machine either.
Beside it: reading every 100 ms whether memory moves or not. Exit status 1 if the target is missed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import threading
import time
from pathlib import Path

from benchmarks.rows import Row, report
from lab.xenstored.fakexen import RealXenstored, missing
from vminterface.channel.xenstore.store import XenStore
from vminterface.vm.machine.machine import Machine
from vminterface.vm.report import memory

#: Of one CPU.
TARGET = 0.001
GUEST = 1
#: Seconds that the report has to settle before it is measured.
SETTLE = 3.0


class AlwaysOn(Machine):
    """This machine, with the service that switches the report on."""

    def exists(self, path: str) -> bool:
        return path == memory.SERVICE or super().exists(path)


def measure(socket: str, seconds: float, steady: bool, reply: multiprocessing.Queue[tuple[float, int]]) -> None:
    """Run the report and put down its share of a CPU and the number of its readings."""
    if steady:
        memory.QUIET_PERIOD = memory.PERIOD
    readings = 0
    first: dict[str, str] = {}
    read = memory._text_of

    def frozen(place: str) -> str:
        return first.setdefault(place, read(place))

    memory._text_of = frozen
    stop = threading.Event()

    class Counting(memory.MemoryReport):
        def step(self, store: object) -> float:
            nonlocal readings
            readings += 1
            return super().step(store)  # type: ignore[arg-type]

    with XenStore.open(socket, window=16) as store:
        thread = threading.Thread(target=Counting(AlwaysOn()).serve, args=(store, stop, print))
        thread.start()
        time.sleep(SETTLE)
        before, readings_before = time.process_time(), readings
        time.sleep(seconds)
        share = (time.process_time() - before) / seconds
        reply.put((share, readings - readings_before))
        stop.set()
        thread.join()


def main() -> int:
    parser = argparse.ArgumentParser(description="Cost of a VM's report of its memory at rest.")
    parser.add_argument("--seconds", type=float, default=10.0)
    arguments = parser.parse_args()
    if missing():
        print(missing(), file=sys.stderr)
        return 2
    shares = {}
    with tempfile.TemporaryDirectory() as folder, RealXenstored(Path(folder) / "xen") as daemon:
        daemon.create(GUEST)
        home = f"/local/domain/{GUEST}"
        with XenStore.open(daemon.socket_path) as dom0:
            for name in ("memory/meminfo", "memory/swapinfo"):
                dom0.write(f"{home}/{name}", b"")
                dom0.set_permissions(f"{home}/{name}", [f"n{GUEST}"])
        for name, steady in (("as the agent reads", False), ("every 100 ms", True)):
            reply: multiprocessing.Queue[tuple[float, int]] = multiprocessing.Queue()
            process = multiprocessing.Process(
                target=measure, args=(daemon.socket(GUEST), arguments.seconds, steady, reply)
            )
            process.start()
            shares[name], readings = reply.get(timeout=SETTLE + arguments.seconds + 30)
            process.join()
            rate = readings / arguments.seconds
            print(f"  {name:20} {100 * shares[name]:6.3f} % of a CPU, {rate:.1f} readings a second")
    share = 100 * shares["as the agent reads"]
    return report([Row("the report of memory at rest, of a CPU", share, 100 * TARGET, "%")])


if __name__ == "__main__":
    sys.exit(main())
