"""How long it takes from a push until the VM's agent has applied and acknowledged it.

    PYTHONPATH=_utils:. python benchmarks/push_latency.py [--pushes 200] [--vms 200]

One key, one VM, one push after the other, with a real agent, on the real xenstored and on the lab's QubesDB: from the
call of ``push`` in a process that is there already to its outcome. Then one push to many VMs, each with a real agent
that has been there for a while: dom0's own CPU time of the first push that these agents see, and beside it that of all
agents, which share the machine; later ones; and the same with one agent stopped (SIGSTOP): what the other VMs take.

dom0 has a process of its own here. This one plays the guests' kernels, in Python's threads, which would take their time
out of a push in the same process, and would count as its own.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from benchmarks.rows import Row, report
from lab.xenstored.fakexen import missing
from tests.support.dom0 import Dom0
from tests.support.qubesdb import QubesHost
from tests.support.realagent import RealAgent
from vminterface.channel.xenstore.store import XenStore
from vminterface.deadline import Deadline
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.inventory.targets import Targets
from vminterface.dom0.push.outcome import Outcome
from vminterface.dom0.push.push import push
from vminterface.vm.agent import presence
from vminterface.vm.machine.machine import Machine

#: Milliseconds of the middle one of a hundred pushes, and of the last but one.
P50, P99 = 5.0, 25.0
#: Seconds of a push to many VMs; of dom0's CPU in the first one.
MANY, FIRST_CPU = 1.0, 0.5
#: Seconds that a stopped agent has.
PATIENCE = 4.0
#: Where a push keeps its locks and what it has done.
FOLDERS = ("VMINTERFACE_LOCK_DIR", "VMINTERFACE_LOG_DIR")
ZONES = ("Europe/Warsaw", "Asia/Tokyo")

OpenTargets = Callable[[], Targets]


def one_key(vms: Sequence[str], number: int, timeout: float = 60.0) -> list[VMSettings]:
    """Return what changes one key of each of *vms* against what the push of another *number* made it."""
    return [VMSettings.parse(vm, {"timezone": ZONES[number % 2], "timeout": timeout}) for vm in vms]


def checked(outcomes: Sequence[Outcome], but: str = "") -> None:
    """Raise SystemExit unless all VMs but that one have it acknowledged: their comments say no more than that."""
    for one in outcomes:
        if one.vm != but and one.comment() != f"{one.vm}: timezone set":
            raise SystemExit(one.comment())


@dataclass(frozen=True)
class Pushed:
    """What a push took: seconds until its end, until the last VM but a stopped one was done, and of dom0's CPU."""

    seconds: float
    others: float
    cpu: float


def pushed(open_targets: OpenTargets, vms: Sequence[str], number: int, timeout: float = 60.0, but: str = "") -> Pushed:
    """Push one key to each of *vms*, of which *but* is stopped, if any, and uses up its time."""
    desired = one_key(vms, number, timeout)
    cpu, began = time.process_time(), time.monotonic()
    with open_targets() as targets:
        outcomes = push(desired, targets)
    seconds, cpu = time.monotonic() - began, time.process_time() - cpu
    checked(outcomes, but)
    if but and next(one for one in outcomes if one.vm == but).ok:
        raise SystemExit(f"{but} is stopped, and was not waited for")
    others = max(one.ended - began for one in outcomes if one.vm != but and one.ended is not None)
    return Pushed(seconds, others, cpu)


def latencies(open_targets: OpenTargets, vm: str, pushes: int) -> list[float]:
    """Return the milliseconds of each of some pushes to one VM, after a few more that nobody counts."""
    return [1000 * pushed(open_targets, [vm], number).seconds for number in range(pushes + 10)][10:]


def of_xenstore(path: str) -> OpenTargets:
    """Return what finds the VMs of the xenstored whose socket is *path*."""
    return partial(Targets, partial(XenStore.open, path))


def of_qubesdbs(folder: Path) -> OpenTargets:
    """Return what finds the VMs whose QubesDBs are in *folder*, on a host without a XenStore."""
    return partial(Targets, partial(XenStore.open, str(folder / "no-xenstore")), qubesdb_folder=str(folder))


def of_one(channel: str, taken: Sequence[float]) -> list[Row]:
    """Return the rows of a channel."""
    p99 = statistics.quantiles(taken, n=100)[98]
    what = f"push, applied, acknowledged, {channel}"
    return [Row(f"{what}: p50", statistics.median(taken), P50, "ms"), Row(f"{what}: p99", p99, P99, "ms")]


def agent(host: Dom0 | QubesHost, name: str, root: Path, stack: ExitStack) -> RealAgent:
    """Start the agent of a VM, which knows the zones."""
    made = stack.enter_context(RealAgent(host, name, root / name))
    for zone in ZONES:
        made.zone(zone)
    return made


def until_at_work(agents: Sequence[RealAgent], seconds: float = 600.0) -> None:
    """Wait until all of them reply, as they do once they have read their stores."""
    deadline = Deadline.after(seconds)
    for one in agents:
        presence.version(Machine(str(one.root)), deadline)


def many(host: Dom0, dom0: Executor, folder: Path, vms: int) -> list[Row]:
    """Measure pushes to many VMs at once."""
    names, targets = [f"vm{number}" for number in range(vms)], of_xenstore(host.path)
    with ExitStack() as stack:
        agents = []
        for name in names:
            host.start_vm(name)
            agents.append(agent(host, name, folder, stack))
        until_at_work(agents)
        before = sum(map(_cpu, agents))
        first = dom0.submit(pushed, targets, names, 0).result()
        theirs = sum(map(_cpu, agents)) - before
        again = [dom0.submit(pushed, targets, names, number).result() for number in (1, 2, 3)]
        stopped = agents[0].process.pid
        os.kill(stopped, signal.SIGSTOP)
        try:
            beside = [dom0.submit(pushed, targets, names, number, PATIENCE, names[0]).result() for number in (4, 5, 6)]
        finally:
            os.kill(stopped, signal.SIGCONT)
    print(f"  first push to {vms} VMs: {first.seconds:.2f} s, in which their agents had {theirs:.2f} s of CPU")
    others = min(one.others for one in beside)
    return [
        Row(f"push of one key to {vms} VMs", min(one.seconds for one in again), MANY, "s"),
        Row(f"push of one key to {vms} VMs, one agent stopped: the others", others, MANY, "s"),
        Row(f"first push to {vms} agents: dom0's CPU", first.cpu, FIRST_CPU, "s"),
    ]


def _cpu(one: RealAgent) -> float:
    total = 0.0
    for task in Path(f"/proc/{one.process.pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0]) / 1e9
    return total


def main() -> int:
    parser = argparse.ArgumentParser(description="From a push to its acknowledgement.")
    parser.add_argument("--pushes", type=int, default=200)
    parser.add_argument("--vms", type=int, default=200)
    arguments = parser.parse_args()
    if missing():
        print(missing(), file=sys.stderr)
        return 2
    found: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for variable in FOLDERS:
            os.environ[variable] = str(folder / variable)
        with ProcessPoolExecutor(1, get_context("spawn")) as dom0:
            with Dom0(folder / "xen") as host, ExitStack() as stack:
                host.start_vm("work")
                until_at_work([agent(host, "work", folder / "xenstore", stack)])
                taken = dom0.submit(latencies, of_xenstore(host.path), "work", arguments.pushes).result()
                found += of_one("XenStore", taken)
            with QubesHost(folder / "qdb") as qubes, ExitStack() as stack:
                qubes.start_vm("work")
                until_at_work([agent(qubes, "work", folder / "qubesdb", stack)])
                taken = dom0.submit(latencies, of_qubesdbs(qubes.folder), "work", arguments.pushes).result()
                found += of_one("QubesDB", taken)
            with Dom0(folder / "xen-many") as host:
                found += many(host, dom0, folder / "many", arguments.vms)
    return report(found)


if __name__ == "__main__":
    sys.exit(main())
